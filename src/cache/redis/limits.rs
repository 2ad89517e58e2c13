//! Usage of the clients' rate limits across all replicas.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::RedisLink;
use super::scripts;
use crate::cache::{CacheError, ClientLimits};
use crate::clock::Clock;

pub(super) struct RedisLimits {
    link: Arc<RedisLink>,
    clock: Clock,
}

impl RedisLimits {
    pub const fn new(link: Arc<RedisLink>, clock: Clock) -> Self {
        Self { link, clock }
    }

    fn micros(&self, time: Duration) -> String {
        self.clock.to_real_time(time).as_micros().to_string()
    }
}

#[async_trait]
impl ClientLimits for RedisLimits {
    fn is_shared(&self) -> bool {
        true
    }

    async fn record_usage(&self, client: &str, used: Duration, max: Duration) -> Result<Duration, CacheError> {
        let key = self.link.key(&format!("limit:{client}"));
        let (keys, arguments) = ([key.as_str()], vec![self.micros(used).into(), self.micros(max).into()]);
        let added = scripts::run::<i64>(&self.link.client, &scripts::ADD_USAGE, &keys, arguments);
        let micros = u64::try_from(self.link.run(added).await?).unwrap_or_default();
        Ok(self.clock.to_clock_time(Duration::from_micros(micros)))
    }
}
