//! Which markets someone listens to now, on any replica.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::Link;
use super::scripts;
use crate::cache::{CacheError, Demand, MOST_WANTED};
use crate::clock::Clock;
use crate::model::{ExchangeId, Symbol};

pub(super) struct RedisDemand {
    link: Arc<Link>,
    clock: Clock,
}

impl RedisDemand {
    pub const fn new(link: Arc<Link>, clock: Clock) -> Self {
        Self { link, clock }
    }
}

#[async_trait]
impl Demand for RedisDemand {
    async fn want(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        let key = self.link.of(exchange, "demand");
        let keys = [key.as_str()];
        let millis = self.clock.outside(ttl).as_millis().max(1).to_string();
        let arguments = vec![symbol.as_str().into(), millis.into(), MOST_WANTED.to_string().into()];
        let wanted = scripts::run::<i64>(&self.link.client, &scripts::WANT, &keys, arguments);
        if self.link.run(wanted).await? == 0 {
            return Err(CacheError(format!("{MOST_WANTED} markets of {exchange} are wanted already")));
        }
        Ok(())
    }

    async fn wanted(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        let key = self.link.of(exchange, "demand");
        let keys = [key.as_str()];
        let wanted = scripts::run::<Vec<String>>(&self.link.client, &scripts::WANTED, &keys, vec![]);
        let mut symbols: Vec<Symbol> =
            self.link.run(wanted).await?.iter().filter_map(|text| text.parse().ok()).collect();
        symbols.sort_unstable();
        Ok(symbols)
    }
}
