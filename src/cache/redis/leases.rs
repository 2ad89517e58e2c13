//! Leases in Redis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::RedisLink;
use super::scripts;
use crate::cache::{CacheError, Lease, Leases};
use crate::clock::Clock;

pub(super) struct RedisLeases {
    link: Arc<RedisLink>,
    clock: Clock,
}

impl RedisLeases {
    pub const fn new(link: Arc<RedisLink>, clock: Clock) -> Self {
        Self { link, clock }
    }

    fn key(&self, name: &str, part: &str) -> String {
        self.link.key(&format!("{{{name}}}:{part}"))
    }

    fn millis(&self, ttl: Duration) -> String {
        self.clock.to_real_time(ttl).as_millis().max(1).to_string()
    }
}

#[async_trait]
impl Leases for RedisLeases {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        let (lease, token) = (self.key(name, "lease"), self.key(name, "token"));
        let keys = [lease.as_str(), token.as_str()];
        let acquired =
            scripts::run::<i64>(&self.link.client, &scripts::ACQUIRE_LEASE, &keys, vec![self.millis(ttl).into()]);
        let token = u64::try_from(self.link.run(acquired).await?).unwrap_or_default();
        Ok((token > 0).then(|| Lease { name: name.to_owned(), token }))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, CacheError> {
        let key = self.key(&lease.name, "lease");
        let keys = [key.as_str()];
        let arguments = vec![lease.token.to_string().into(), self.millis(ttl).into()];
        let renewed = scripts::run::<i64>(&self.link.client, &scripts::RENEW_LEASE, &keys, arguments);
        Ok(self.link.run(renewed).await? == 1)
    }

    async fn release(&self, lease: &Lease) -> Result<(), CacheError> {
        let key = self.key(&lease.name, "lease");
        let keys = [key.as_str()];
        let arguments = vec![lease.token.to_string().into()];
        self.link
            .run(scripts::run::<i64>(&self.link.client, &scripts::DELETE_IF_EQUAL, &keys, arguments))
            .await
            .map(drop)
    }
}
