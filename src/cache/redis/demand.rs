//! Demand across all replicas.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::RedisLink;
use super::scripts;
use crate::cache::{CacheError, Demand, MAX_DEMAND_PER_EXCHANGE};
use crate::clock::Clock;
use crate::model::{ExchangeId, Symbol};

pub(super) struct RedisDemand {
    link: Arc<RedisLink>,
    clock: Clock,
}

impl RedisDemand {
    pub const fn new(link: Arc<RedisLink>, clock: Clock) -> Self {
        Self { link, clock }
    }
}

#[async_trait]
impl Demand for RedisDemand {
    async fn add(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        let key = self.link.exchange_key(exchange, "demand");
        let keys = [key.as_str()];
        let millis = self.clock.to_real_time(ttl).as_millis().max(1).to_string();
        let arguments = vec![symbol.as_str().into(), millis.into(), MAX_DEMAND_PER_EXCHANGE.to_string().into()];
        let added = scripts::run::<i64>(&self.link.client, &scripts::ADD_DEMAND, &keys, arguments);
        if self.link.run(added).await? == 0 {
            return Err(CacheError(format!(
                "there is demand for {MAX_DEMAND_PER_EXCHANGE} markets of {exchange} already"
            )));
        }
        Ok(())
    }

    async fn symbols(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        let key = self.link.exchange_key(exchange, "demand");
        let keys = [key.as_str()];
        let listed = scripts::run::<Vec<String>>(&self.link.client, &scripts::LIST_DEMAND, &keys, vec![]);
        let mut symbols: Vec<Symbol> =
            self.link.run(listed).await?.iter().filter_map(|text| text.parse().ok()).collect();
        symbols.sort_unstable();
        Ok(symbols)
    }
}
