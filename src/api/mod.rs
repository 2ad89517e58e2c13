//! The doors: REST, and live streams.
//!
//! Operations are handlers of poem-openapi, in `rest`; the document is made from them. Before each stands its guard,
//! which reads the same descriptions; sockets are plain routes behind the same guard. [`Front`] stands before all;
//! [`serve`] stands before the front.

mod guard;
mod middleware;
mod openapi;
mod patient;
mod problem;
mod query;
mod refusal;
mod rest;
mod seats;
mod server;
mod stream;

pub use middleware::Front;
pub use openapi::{openapi_document, openapi_json, openapi_yaml};
pub use server::serve;
pub use stream::{asyncapi_document, asyncapi_json};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::web::RemoteAddr;

use self::guard::Guarded;
use self::problem::{Code, Problem};
use self::seats::{Seats, SocketSeat};
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::market::Market;
use crate::telemetry::http::OperationMetrics;

/// The bounds of the doors.
#[derive(Clone, Copy, Debug)]
pub struct ApiConfig {
    /// The longest body of a request.
    pub max_body_bytes: u64,
    /// The longest path and query of a request.
    pub max_url_bytes: usize,
    /// The most HTTP connections at a time; the next ones wait.
    pub max_connections: usize,
    /// The most sockets and event streams at a time; the next ones are refused.
    pub max_sockets: usize,
    /// The most of them from one address.
    pub max_sockets_per_address: usize,
    /// The most topics of one socket.
    pub max_topics: usize,
    /// A client that misses more bytes of trades and candles without ever catching up is cut off.
    pub max_behind_bytes: u64,
    /// Whether anyone may change something: the service listens on loopback.
    pub open_to_change: bool,
    /// How long a client may take nothing of an answer before its connection is given up.
    pub patience: Duration,
    /// From the request to end until sockets are closed and the door is shut, so that balancers see it.
    pub notice: Duration,
    /// How long requests in flight may take after that.
    pub grace: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            max_url_bytes: 32 * 1024,
            max_connections: 8_192,
            max_sockets: 8_192,
            max_sockets_per_address: 2_048,
            max_topics: 1_024,
            max_behind_bytes: 4 * 1024 * 1024,
            open_to_change: false,
            patience: Duration::from_secs(30),
            notice: Duration::from_secs(1),
            grace: Duration::from_secs(4),
        }
    }
}

/// What the process says of itself.
#[derive(Clone, Debug)]
pub struct About {
    pub version: &'static str,
    /// `all`, `api` or `collector`.
    pub role: &'static str,
    /// The kind of the store: `sqlite`.
    pub store: &'static str,
    /// The kind of the cache: `memory`.
    pub cache: &'static str,
    /// Its metrics, as `/metrics` shows them: what [`crate::telemetry::metrics::install`] gave.
    pub metrics: PrometheusHandle,
}

/// What every door can reach.
pub struct Doors {
    market: Arc<Market>,
    hub: Arc<Hub>,
    life: Lifecycle,
    clock: Clock,
    about: About,
    config: ApiConfig,
    seats: Arc<Seats>,
}

impl Doors {
    /// A seat for a client that stays.
    fn take_seat(&self, remote: &RemoteAddr, kind: &'static str) -> Result<SocketSeat, Problem> {
        if self.life.draining().is_cancelled() {
            return Err(Problem::new(Code::NotReady, "shutting down: connect elsewhere"));
        }
        self.seats.take(remote.as_socket_addr().map(SocketAddr::ip), kind)
    }
}

/// Builds all doors. The recorder of metrics must be installed before.
#[must_use]
pub fn build(
    market: Arc<Market>,
    hub: Arc<Hub>,
    life: Lifecycle,
    clock: Clock,
    about: About,
    config: ApiConfig,
) -> Front {
    let seats = Seats::new(config.max_sockets, config.max_sockets_per_address);
    let doors = Arc::new(Doors { market, hub, life, clock: clock.clone(), about, config, seats });
    let rest = openapi::service(Guarded { api: rest::api(&doors), clock: clock.clone() });
    let route = stream::routes(&doors).nest_no_strip("/", rest);
    Front { route, clock, config, unmatched: OperationMetrics::new("unmatched") }
}
