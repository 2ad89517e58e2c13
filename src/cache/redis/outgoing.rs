//! What a collector tells Redis, without ever waiting for it: a bounded queue, sent in the order in which it was filled,
//! as much at once as there is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::error::Error;
use fred::interfaces::{KeysInterface, PubsubInterface};
use fred::prelude::{Expiration, Value};
use fred::types::scripts::Script;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::link::Link;
use super::scripts;
use crate::clock::Clock;
use crate::telemetry::cache::CacheDropped;

/// How much may wait. What does not fit is let go: events leave a jump in their numbers, which listeners are told of;
/// values are told again with the next change, or when Redis is back.
const MOST: usize = 16_384;

/// How much is sent before its answers are awaited.
const AT_ONCE: usize = 512;

/// How long values live that are not written again.
pub(super) const LIFETIME: Duration = Duration::from_hours(24);

/// One thing to tell.
pub(super) enum Op {
    Publish { channel: String, frame: Bytes },
    Run { script: &'static Script, keys: Vec<String>, arguments: Vec<Value> },
    Set { key: String, value: Bytes },
}

/// The near end of the queue.
pub(super) struct Outgoing(mpsc::Sender<Op>);

impl Outgoing {
    pub fn start(link: Arc<Link>) -> Arc<Self> {
        let (sender, mut ops) = mpsc::channel(MOST);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(AT_ONCE);
            while ops.recv_many(&mut batch, AT_ONCE).await > 0 {
                if !link.is_up() {
                    CacheDropped { count: batch.len() }.emit();
                    batch.clear();
                    continue;
                }
                // Polled in their order, so sent in their order.
                let failed: Vec<Error> = join_all(batch.drain(..).map(|op| send(&link, op)))
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                    .collect();
                if let Some(first) = failed.first() {
                    let error = link.failed(first);
                    CacheDropped { count: failed.len() }.emit();
                    tracing::debug!(%error, "not told to other replicas");
                }
            }
        });
        Arc::new(Self(sender))
    }

    /// Puts something into the queue, and waits until the half of it is empty that is for news.
    pub async fn put_patiently(&self, op: Op) {
        let clock = Clock::system();
        while self.0.capacity() < MOST / 2 && !self.0.is_closed() {
            clock.sleep(Duration::from_millis(2)).await;
        }
        self.put(op);
    }

    /// Puts something into the queue, if there is room.
    pub fn put(&self, op: Op) {
        if self.0.try_send(op).is_err() {
            CacheDropped { count: 1 }.emit();
        }
    }
}

async fn send(link: &Link, op: Op) -> Result<(), Error> {
    match op {
        Op::Publish { channel, frame } => link.client.publish::<i64, _, _>(channel, frame).await.map(drop),
        Op::Run { script, keys, arguments } => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            scripts::run::<i64>(&link.client, script, &keys, arguments).await.map(drop)
        }
        Op::Set { key, value } => {
            let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
            link.client.set::<(), _, _>(key, value, Some(Expiration::PX(lifetime)), None, false).await
        }
    }
}
