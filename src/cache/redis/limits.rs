//! What clients used of their limits at all replicas.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::Link;
use super::scripts;
use crate::cache::{CacheError, ClientLimits};
use crate::clock::Clock;

pub(super) struct RedisLimits {
    link: Arc<Link>,
    clock: Clock,
}

impl RedisLimits {
    pub const fn new(link: Arc<Link>, clock: Clock) -> Self {
        Self { link, clock }
    }

    fn micros(&self, time: Duration) -> String {
        self.clock.outside(time).as_micros().to_string()
    }
}

#[async_trait]
impl ClientLimits for RedisLimits {
    fn is_shared(&self) -> bool {
        true
    }

    async fn used(&self, client: &str, used: Duration, most: Duration) -> Result<Duration, CacheError> {
        let key = self.link.key(&format!("limit:{client}"));
        let (keys, arguments) = ([key.as_str()], vec![self.micros(used).into(), self.micros(most).into()]);
        let answer = scripts::run::<i64>(&self.link.client, &scripts::USE_LIMIT, &keys, arguments);
        let micros = u64::try_from(self.link.run(answer).await?).unwrap_or_default();
        Ok(self.clock.inside(Duration::from_micros(micros)))
    }
}
