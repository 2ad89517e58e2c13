//! Bounded queue of writes to Redis, so that a collector never waits for Redis. Sent in order, in batches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::error::Error;
use fred::interfaces::{KeysInterface, PubsubInterface};
use fred::prelude::{Expiration, Value};
use fred::types::scripts::Script;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::link::RedisLink;
use super::scripts;
use crate::clock::Clock;
use crate::telemetry::cache::CacheEventsDropped;

/// Maximum number of queued writes. Further ones are dropped. A dropped event leaves a gap in the sequence numbers,
/// which subscribers detect; a dropped value is written again with its next change or after a reconnect.
const CAPACITY: usize = 16_384;

/// Maximum number of writes sent before their replies are awaited.
const MAX_BATCH: usize = 512;

/// Lifetime of values since their last write.
pub(super) const VALUE_TTL: Duration = Duration::from_hours(24);

/// One write.
pub(super) enum Op {
    Publish { channel: String, frame: Bytes },
    Run { script: &'static Script, keys: Vec<String>, arguments: Vec<Value> },
    Set { key: String, value: Bytes },
}

/// The sending end of the queue.
pub(super) struct SendQueue(mpsc::Sender<Op>);

impl SendQueue {
    pub fn start(link: Arc<RedisLink>) -> Arc<Self> {
        let (sender, mut ops) = mpsc::channel(CAPACITY);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            while ops.recv_many(&mut batch, MAX_BATCH).await > 0 {
                if !link.is_up() {
                    CacheEventsDropped { count: batch.len() }.emit();
                    batch.clear();
                    continue;
                }
                // `join_all` polls in order, so the writes are sent in order.
                let failed: Vec<Error> = join_all(batch.drain(..).map(|op| send(&link, op)))
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                    .collect();
                if let Some(first) = failed.first() {
                    let error = link.record_error(first);
                    CacheEventsDropped { count: failed.len() }.emit();
                    tracing::debug!(%error, "not sent to other replicas");
                }
            }
        });
        Arc::new(Self(sender))
    }

    /// Queues a write once at least half of the queue is free: that half is reserved for new data.
    pub async fn put_low_priority(&self, op: Op) {
        let clock = Clock::system();
        while self.0.capacity() < CAPACITY / 2 && !self.0.is_closed() {
            clock.sleep(Duration::from_millis(2)).await;
        }
        self.put(op);
    }

    /// Queues a write, or drops it if the queue is full.
    pub fn put(&self, op: Op) {
        if self.0.try_send(op).is_err() {
            CacheEventsDropped { count: 1 }.emit();
        }
    }
}

async fn send(link: &RedisLink, op: Op) -> Result<(), Error> {
    match op {
        Op::Publish { channel, frame } => link.client.publish::<i64, _, _>(channel, frame).await.map(drop),
        Op::Run { script, keys, arguments } => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            scripts::run::<i64>(&link.client, script, &keys, arguments).await.map(drop)
        }
        Op::Set { key, value } => {
            let ttl = i64::try_from(VALUE_TTL.as_millis()).unwrap_or(i64::MAX);
            link.client.set::<(), _, _>(key, value, Some(Expiration::PX(ttl)), None, false).await
        }
    }
}
