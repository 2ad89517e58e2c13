//! The doors: REST, and live streams.
//!
//! Operations are handlers of poem-openapi, in `rest`; the document is made from them. Before each stands its guard,
//! which reads the same descriptions; sockets are plain routes behind the same guard. [`Front`] stands before all;
//! [`serve`] stands before the front.

mod access;
mod compress;
mod guard;
mod headers;
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

pub use access::{AccessConfig, Keyring};
pub use middleware::Front;
pub use openapi::{openapi_document, openapi_json, openapi_yaml};
pub use server::serve;
pub use stream::{asyncapi_document, asyncapi_json};

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::access::{Client, Gate, Identity, Limits};
use self::guard::Guarded;
use self::headers::Cors;
use self::problem::{Code, Problem};
use self::seats::{Full, Seat, Seats};
use crate::cache::ClientLimits;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::market::Market;
use crate::telemetry::http::OperationMetrics;

/// The bounds of the doors.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The longest body of a request.
    pub max_body_bytes: u64,
    /// The longest path and query of a request.
    pub max_url_bytes: usize,
    /// The most HTTP connections at a time; the next ones wait.
    pub max_connections: usize,
    /// The most of them from one address, unless it is a trusted proxy's; more are closed at once.
    pub max_connections_per_address: usize,
    /// The most sockets and event streams at a time; the next ones are refused.
    pub max_sockets: usize,
    /// The most of them of one client.
    pub max_sockets_each: usize,
    /// The most topics of one socket.
    pub max_topics: usize,
    /// A client that misses more bytes of trades and candles without ever catching up is cut off.
    pub max_behind_bytes: u64,
    /// Who is let in.
    pub access: AccessConfig,
    /// Which sites' pages may read answers: origins, or `*`.
    pub cors_origins: Vec<String>,
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
            max_connections_per_address: 4_096,
            max_sockets: 8_192,
            max_sockets_each: 2_048,
            max_topics: 1_024,
            max_behind_bytes: 4 * 1024 * 1024,
            access: AccessConfig::default(),
            cors_origins: Vec::new(),
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
    gate: Arc<Gate>,
    seats: Arc<Seats<Identity>>,
}

/// A client that stays.
struct Stay {
    _seat: Seat<Identity>,
    /// Cancelled when it shall leave.
    leave: CancellationToken,
    _ends: DropGuard,
}

impl Doors {
    /// A seat for a client that stays, as long as the process runs and its key is good.
    ///
    /// # Errors
    /// `not_ready` while the process ends or has no seat left; `rate_limited` where the client has as many as it may.
    fn take_seat(&self, client: &Client, kind: &'static str) -> Result<Stay, Problem> {
        if self.life.draining().is_cancelled() {
            return Err(Problem::new(Code::NotReady, "shutting down: connect elsewhere"));
        }
        let seat = self.seats.take(&client.identity, kind).map_err(|full| match full {
            Full::All => Problem::new(Code::NotReady, "too many sockets are open here: try again later"),
            Full::Own(own) => {
                let detail = format!("{own} sockets of yours are open: close some, or put more topics on one");
                Problem::new(Code::RateLimited, detail)
            }
        })?;
        let leave = self.life.draining().child_token();
        if let Some(key) = &client.key {
            self.life.spawn(Arc::clone(&self.gate).watch(Arc::clone(key), leave.clone()));
        }
        Ok(Stay { _seat: seat, leave: leave.clone(), _ends: leave.drop_guard() })
    }
}

/// What the doors open to.
pub struct Behind {
    pub market: Arc<Market>,
    pub hub: Arc<Hub>,
    /// The keys that are good here; whoever builds the doors keeps them up to date.
    pub keys: Arc<Keyring>,
    /// What clients use at other replicas.
    pub limits: Arc<dyn ClientLimits>,
}

/// Builds all doors. The recorder of metrics must be installed before.
#[must_use]
pub fn build(behind: Behind, life: Lifecycle, clock: Clock, about: About, config: ApiConfig) -> Front {
    let Behind { market, hub, keys, limits } = behind;
    let seats = Seats::new(config.max_sockets, config.max_sockets_each);
    let limits = Limits::new(clock.clone(), limits);
    life.spawn(Arc::clone(&limits).share(life.stopping().clone()));
    let gate = Arc::new(Gate::new(config.access.clone(), keys, limits, clock.clone()));
    let cors = Cors::new(&config.cors_origins);
    let doors = Doors {
        market,
        hub,
        life,
        clock: clock.clone(),
        about,
        config: config.clone(),
        gate: Arc::clone(&gate),
        seats,
    };
    let doors = Arc::new(doors);
    let rest = openapi::service(Guarded { api: rest::api(&doors), gate: Arc::clone(&gate) });
    let route = stream::routes(&doors).nest_no_strip("/", rest);
    Front { route, clock, config, gate, cors, unmatched: OperationMetrics::new("unmatched") }
}
