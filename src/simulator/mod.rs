//! Exchanges on the other side of the wire: their native dialects on loopback, seeded prices, scripted faults.
//!
//! Shares nothing with `exchanges`, so that one mistake cannot hide on both sides. All dialects are served on one port;
//! their paths tell them apart. What they tell is a function of the seed and the [`Clock`]: [`Market`] is the truth that
//! tests compare with.

mod accept;
mod binance;
mod bybit;
mod catalog;
mod coinbase;
mod door;
mod faults;
mod kraken;
mod limits;
mod listed;
mod market;
mod noise;
mod okx;
mod socket;
mod spoil;
mod stats;
mod tape;

pub use catalog::Listing;
pub use faults::{BadScript, Fault, FaultKind, parse_script};
pub use listed::MAX_MARKETS;
pub use market::Market;
pub use stats::ExchangeStats;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use poem::Server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::model::{ExchangeId, Symbol, Timestamp};

use accept::{Gate, Wires};
use door::Door;
use limits::TooMany;
use stats::{Counters, count};

/// What a simulator shall be.
#[derive(Clone, Debug, Default)]
pub struct SimulatorConfig {
    /// The same seed makes the same market, to the byte.
    pub seed: u64,
    /// Faults relative to the simulator's start.
    pub faults: Vec<Fault>,
    /// How many markets each exchange lists, up to [`MAX_MARKETS`]; with 0, or fewer than those of the catalog, these alone.
    pub markets: usize,
}

/// Simulated exchanges; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Shared>);

/// What all connections share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    market: Market,
    faults: faults::Schedule,
    limits: limits::Limits,
    /// How far each exchange's clock is ahead of `clock`, in milliseconds, in the order of [`ExchangeId::ALL`].
    clock_offsets: [AtomicI64; ExchangeId::ALL.len()],
    /// In the order of [`ExchangeId::ALL`].
    counters: [Counters; ExchangeId::ALL.len()],
}

impl Shared {
    /// What time it is at an exchange, by its own clock.
    fn now(&self, exchange: ExchangeId) -> Timestamp {
        let offset = self.clock_offsets[exchange as usize].load(Ordering::Relaxed);
        Timestamp::from_millis(self.clock.now().millis().saturating_add(offset))
    }

    /// Takes a request at `now` where an exchange allows `limit` of a `kind` in any window of so many milliseconds.
    ///
    /// # Errors
    /// It is one too many: in how many milliseconds one would pass. It is counted.
    fn admit(
        &self,
        from: IpAddr,
        exchange: ExchangeId,
        kind: &str,
        allowed: (usize, i64),
        now: i64,
    ) -> Result<(), i64> {
        self.limits.window(from, exchange, kind, allowed, now).map_err(|TooMany { wait, banned }| {
            let counters = &self.counters[exchange as usize];
            count(&counters.limit_violations);
            if banned {
                count(&counters.bans);
            }
            wait
        })
    }
}

impl Simulator {
    /// Makes simulated exchanges; nothing is served yet.
    #[must_use]
    pub fn new(config: SimulatorConfig, clock: Clock) -> Self {
        let simulator = Self(Arc::new(Shared {
            market: Market::with_markets(config.seed, config.markets),
            clock,
            faults: faults::Schedule::default(),
            limits: limits::Limits::default(),
            clock_offsets: Default::default(),
            counters: Default::default(),
        }));
        config.faults.into_iter().for_each(|fault| simulator.inject(fault));
        simulator
    }

    /// Serves until `stop` is cancelled; WebSocket clients then get a close frame with 1001. May be called again, and
    /// on several listeners at once.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let (wires, sockets) = (Wires::default(), TaskTracker::new());
        let clock = self.0.clock.clone();
        let gate = Gate::new(listener, wires.clone(), clock.clone());
        let door =
            Door { shared: Arc::clone(&self.0), wires: wires.clone(), sockets: sockets.clone(), stop: stop.clone() };
        let goodbye = async {
            stop.cancelled().await;
            sockets.close();
            // Whoever does not take their leave in time is cut.
            let _ = clock.timeout(Duration::from_secs(2), sockets.wait()).await;
            wires.cut_all();
        };
        let server = Server::new_with_acceptor(gate).run_with_graceful_shutdown(door, stop.cancelled(), None);
        let (ended, ()) = tokio::join!(server, goodbye);
        ended
    }

    /// Schedules a fault relative to now.
    pub fn inject(&self, fault: Fault) {
        let lasting = self.0.faults.add(fault, self.0.now(fault.exchange));
        let lateness = match fault.fault {
            FaultKind::LateTrade => tape::LATENESS,
            FaultKind::CorrectCandle => tape::CORRECTED_AFTER,
            _ => return,
        };
        if let Some(range) = lasting {
            self.0.market.add_late(fault.exchange, range, lateness);
        }
    }

    /// Ends all faults of a kind that were scheduled.
    pub fn end_fault(&self, exchange: ExchangeId, kind: FaultKind) {
        self.0.faults.end(exchange, kind);
    }

    /// Sets an exchange's own clock `millis` ahead of the simulator's (behind it where negative): in REST, in its streams, in
    /// the `Date` header and in what it says of its time. Set it before anything is connected.
    pub fn set_clock_offset(&self, exchange: ExchangeId, millis: i64) {
        self.0.clock_offsets[exchange as usize].store(millis, Ordering::Relaxed);
    }

    /// Takes a market off an exchange's listing, or puts it back: the exchange knows no such symbol until then.
    pub fn set_listed(&self, exchange: ExchangeId, symbol: &Symbol, listed: bool) {
        self.0.market.set_listed(exchange, symbol, listed);
    }

    /// The truth that the exchanges tell.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.0.market
    }

    /// What was asked of an exchange so far.
    #[must_use]
    pub fn stats(&self, exchange: ExchangeId) -> ExchangeStats {
        self.0.counters[exchange as usize].read()
    }
}
