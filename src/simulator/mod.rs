//! Simulated exchanges: native REST and WebSocket protocols on loopback, seeded prices, scripted faults.
//!
//! Shares no code with `exchanges`, so that one mistake cannot be on both sides. One port serves the protocols of all
//! exchanges; the URL path selects the protocol. All data are a function of the seed and the [`Clock`]. Tests compare
//! the collected data with [`Market`].

mod acceptor;
mod catalog;
mod corrupt;
mod endpoint;
mod exchange;
mod faults;
mod generated;
mod limits;
mod listing_view;
mod market;
mod noise;
mod registry;
mod rest;
mod setup;
mod shared;
mod socket;
mod stats;
mod trades;

macro_rules! folders {
    ($($constant:ident $id:ident $name:literal;)*) => { $(mod $id;)* };
}

venues!(folders);

pub use catalog::Listing;
pub use faults::{Fault, FaultKind, ScriptError, parse_script};
pub use generated::MAX_MARKETS;
pub use market::Market;
pub use stats::ExchangeStats;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use poem::Server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::model::{ExchangeId, Symbol};

use acceptor::{ConnectionAcceptor, OpenConnections};
use endpoint::HttpEndpoint;
use shared::Shared;

/// Settings of a simulator.
#[derive(Clone, Debug, Default)]
pub struct SimulatorConfig {
    /// The same seed gives byte-identical market data.
    pub seed: u64,
    /// Faults relative to the simulator's start.
    pub faults: Vec<Fault>,
    /// Minimum number of markets per exchange, up to [`MAX_MARKETS`]. The markets of the catalog are always listed.
    pub markets: usize,
}

/// Simulated exchanges. Clones share their state.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Shared>);

impl Simulator {
    /// Creates the simulated exchanges. [`Simulator::serve`] serves them.
    #[must_use]
    pub fn new(config: SimulatorConfig, clock: Clock) -> Self {
        let market = Market::with_markets(config.seed, config.markets);
        let simulator = Self(Arc::new(Shared::new(market, clock)));
        config.faults.into_iter().for_each(|fault| simulator.inject(fault));
        simulator
    }

    /// Serves until `stop` is cancelled; WebSocket clients then receive a close frame with code 1001. Can be called
    /// again, and for several listeners at the same time.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let (connections, sockets) = (OpenConnections::default(), TaskTracker::new());
        let clock = self.0.clock.clone();
        let acceptor = ConnectionAcceptor::new(listener, connections.clone(), clock.clone());
        let endpoint = HttpEndpoint {
            shared: Arc::clone(&self.0),
            connections: connections.clone(),
            sockets: sockets.clone(),
            stop: stop.clone(),
        };
        let shutdown = async {
            stop.cancelled().await;
            sockets.close();
            // Connections that do not complete the closing handshake in time are closed without it.
            let _ = clock.timeout(Duration::from_secs(2), sockets.wait()).await;
            connections.close_all();
        };
        let server = Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(endpoint, stop.cancelled(), None);
        let (served, ()) = tokio::join!(server, shutdown);
        served
    }

    /// Schedules a fault relative to now.
    pub fn inject(&self, fault: Fault) {
        let active_range = self.0.faults.add(fault, self.0.now(fault.exchange));
        let delay = match fault.fault {
            FaultKind::LateTrade => trades::LATE_TRADE_DELAY,
            FaultKind::CorrectCandle => trades::CORRECTION_DELAY,
            _ => return,
        };
        if let Some(range) = active_range {
            self.0.market.add_late_trades(fault.exchange, range, delay);
        }
    }

    /// Ends all scheduled faults of a kind.
    pub fn end_fault(&self, exchange: ExchangeId, kind: FaultKind) {
        self.0.faults.end(exchange, kind);
    }

    /// Sets an exchange's clock `millis` ahead of the simulator's clock, or behind it if negative. Applies to REST,
    /// streams, the `Date` header and the server time endpoint. Call it before anything connects.
    pub fn set_clock_offset(&self, exchange: ExchangeId, millis: i64) {
        self.0.clock_offsets[exchange].store(millis, Ordering::Relaxed);
    }

    /// Removes a market from an exchange's listing or restores it. A removed symbol is unknown to the exchange.
    pub fn set_listed(&self, exchange: ExchangeId, symbol: &Symbol, listed: bool) {
        self.0.market.set_listed(exchange, symbol, listed);
    }

    /// Reference data that all exchanges serve.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.0.market
    }

    /// Counters of an exchange since the simulator was created.
    #[must_use]
    pub fn stats(&self, exchange: ExchangeId) -> ExchangeStats {
        self.0.counters[exchange].read()
    }
}
