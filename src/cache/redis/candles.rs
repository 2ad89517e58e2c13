//! Live candles in Redis.

use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::HashesInterface;
use fred::prelude::Value;

use super::link::RedisLink;
use super::ownership::LocalOwnership;
use super::send_queue::{Op, SendQueue, VALUE_TTL};
use super::{codec, scripts};
use crate::cache::memory::candles::MemoryCandles;
use crate::cache::{CacheError, LIVE_CANDLES_PER_SERIES, LiveCandles, Version};
use crate::model::{Candle, ExchangeId, Series, TimeRange};

/// Live candles: those of local exchanges in memory, the others in Redis.
pub(super) struct RedisCandles {
    memory: MemoryCandles,
    link: Arc<RedisLink>,
    outgoing: Arc<SendQueue>,
    ownership: Arc<LocalOwnership>,
}

impl RedisCandles {
    pub fn start(link: &Arc<RedisLink>, outgoing: &Arc<SendQueue>, ownership: &Arc<LocalOwnership>) -> Arc<Self> {
        let candles = Arc::new(Self {
            memory: MemoryCandles::default(),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            ownership: Arc::clone(ownership),
        });
        tokio::spawn(Arc::clone(&candles).rewrite_after_reconnect());
        candles
    }

    /// Writes the candles of local exchanges again after each reconnect, because Redis may have lost them.
    async fn rewrite_after_reconnect(self: Arc<Self>) {
        let mut reconnects = self.link.reconnects();
        while reconnects.changed().await.is_ok() {
            for exchange in ExchangeId::all() {
                if self.ownership.is_local(exchange) {
                    for (series, candle, version) in self.memory.all(exchange) {
                        self.outgoing.put_low_priority(self.write_op(&series, &candle, version)).await;
                    }
                }
            }
        }
    }

    fn write_op(&self, series: &Series, candle: &Candle, version: Version) -> Op {
        let name = format!("{}:{}", series.symbol, series.interval);
        let arguments = vec![
            candle.timestamp.millis().to_string().into(),
            version.token.to_string().into(),
            version.seq.to_string().into(),
            if candle.closed { "1" } else { "0" }.into(),
            Value::Bytes(codec::candle_json(candle).into()),
            LIVE_CANDLES_PER_SERIES.to_string().into(),
            VALUE_TTL.as_millis().to_string().into(),
            name.into(),
        ];
        let keys = vec![self.link.candles_key(series), self.link.exchange_key(series.exchange, "series")];
        Op::Run { script: &scripts::PUT_CANDLE, keys, arguments }
    }
}

#[async_trait]
impl LiveCandles for RedisCandles {
    async fn put(&self, series: &Series, candle: Candle, version: Version) -> Result<(), CacheError> {
        self.outgoing.put(self.write_op(series, &candle, version));
        self.memory.put(series, candle, version).await
    }

    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError> {
        if self.ownership.is_local(series.exchange) {
            return self.memory.get(series, range).await;
        }
        let values: Vec<String> = self.link.run(self.link.client.hvals(self.link.candles_key(series))).await?;
        let mut candles: Vec<Candle> = values.iter().filter_map(|value| codec::decode_candle(value)).collect();
        candles.retain(|candle| range.contains(candle.timestamp));
        candles.sort_unstable_by_key(|candle| candle.timestamp);
        Ok(candles)
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.memory.clear(exchange).await?;
        let key = self.link.exchange_key(exchange, "series");
        let keys = [key.as_str()];
        let key_prefix = self.link.exchange_key(exchange, "candles:");
        let cleared = scripts::run::<i64>(&self.link.client, &scripts::CLEAR_CANDLES, &keys, vec![key_prefix.into()]);
        self.link.run(cleared).await.map(drop)
    }
}
