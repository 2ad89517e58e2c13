//! What a collector works with.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::CollectConfig;
use crate::exchanges::Exchange;
use crate::model::Symbol;
use crate::store::Store;

/// What a collector collects, and from where.
pub struct CollectorSpec {
    pub exchange: &'static dyn Exchange,
    pub symbols: Vec<Symbol>,
    pub source: DataSource,
    pub context: CollectorContext,
    pub stop: CancellationToken,
}

/// Where data comes from, and where it is stored.
#[derive(Clone)]
pub struct DataSource {
    /// REST origins, tried in order.
    pub rest_origins: Vec<String>,
    /// WebSocket origins, tried in order.
    pub ws_origins: Vec<String>,
    /// Where data are stored. Simulated candles never go to the store of real ones.
    pub store: Arc<dyn Store>,
    /// Whether the origins are those of the simulator.
    pub simulated: bool,
}

/// What all collectors of a process share.
#[derive(Clone)]
pub struct CollectorContext {
    pub cache: Cache,
    pub clock: Clock,
    pub limits: CollectConfig,
}
