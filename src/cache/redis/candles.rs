//! Candles that the store does not have yet.

use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::HashesInterface;
use fred::prelude::Value;

use super::link::Link;
use super::outgoing::{LIFETIME, Op, Outgoing};
use super::{Home, codec, scripts};
use crate::cache::memory::candles::Candles;
use crate::cache::{CacheError, LIVE_CANDLES, LiveCandles, Position};
use crate::model::{Candle, ExchangeId, Series, TimeRange};

/// Live candles: of what is collected here in memory, of the others in Redis.
pub(super) struct RedisCandles {
    memory: Candles,
    link: Arc<Link>,
    outgoing: Arc<Outgoing>,
    home: Arc<Home>,
}

impl RedisCandles {
    pub fn start(link: &Arc<Link>, outgoing: &Arc<Outgoing>, home: &Arc<Home>) -> Arc<Self> {
        let candles = Arc::new(Self {
            memory: Candles::default(),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            home: Arc::clone(home),
        });
        tokio::spawn(Arc::clone(&candles).tell_again());
        candles
    }

    /// When Redis is back it may have forgotten: what this process collects it tells again.
    async fn tell_again(self: Arc<Self>) {
        let mut revived = self.link.revived();
        while revived.changed().await.is_ok() {
            for exchange in ExchangeId::ALL {
                if self.home.collects(exchange) {
                    for (series, candle, position) in self.memory.all(exchange) {
                        self.outgoing.put_patiently(self.write(&series, &candle, position)).await;
                    }
                }
            }
        }
    }

    fn write(&self, series: &Series, candle: &Candle, position: Position) -> Op {
        let name = format!("{}:{}", series.symbol, series.interval);
        let arguments = vec![
            candle.timestamp.millis().to_string().into(),
            position.token.to_string().into(),
            position.seq.to_string().into(),
            if candle.closed { "1" } else { "0" }.into(),
            Value::Bytes(codec::candle_json(candle).into()),
            LIVE_CANDLES.to_string().into(),
            LIFETIME.as_millis().to_string().into(),
            name.into(),
        ];
        let keys = vec![self.link.candles(series), self.link.of(series.exchange, "series")];
        Op::Run { script: &scripts::PUT_CANDLE, keys, arguments }
    }
}

#[async_trait]
impl LiveCandles for RedisCandles {
    async fn put(&self, series: &Series, candle: Candle, position: Position) -> Result<(), CacheError> {
        self.outgoing.put(self.write(series, &candle, position));
        self.memory.put(series, candle, position).await
    }

    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError> {
        if self.home.collects(series.exchange) {
            return self.memory.get(series, range).await;
        }
        let kept: Vec<String> = self.link.run(self.link.client.hvals(self.link.candles(series))).await?;
        let mut candles: Vec<Candle> = kept.iter().filter_map(|value| codec::kept_candle(value)).collect();
        candles.retain(|candle| range.contains(candle.timestamp));
        candles.sort_unstable_by_key(|candle| candle.timestamp);
        Ok(candles)
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.memory.clear(exchange).await?;
        let key = self.link.of(exchange, "series");
        let keys = [key.as_str()];
        let of_candles = self.link.of(exchange, "candles:");
        let cleared = scripts::run::<i64>(&self.link.client, &scripts::CLEAR_CANDLES, &keys, vec![of_candles.into()]);
        self.link.run(cleared).await.map(drop)
    }
}
