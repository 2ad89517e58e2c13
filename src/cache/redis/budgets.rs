//! What replicas behind one address use of the exchanges' limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::Link;
use super::scripts;
use crate::cache::{Budgets, CacheError, Spend, Spent};
use crate::clock::Clock;
use crate::model::ExchangeId;

/// The window is counted in so many grains; `SPEND` counts a few more, since requests do not take the same time to
/// arrive.
const GRAINS: u32 = 100;

pub(super) struct RedisBudgets {
    link: Arc<Link>,
    group: String,
    clock: Clock,
}

impl RedisBudgets {
    pub const fn new(link: Arc<Link>, group: String, clock: Clock) -> Self {
        Self { link, group, clock }
    }

    fn millis(&self, time: Duration) -> String {
        self.clock.outside(time).as_millis().to_string()
    }
}

#[async_trait]
impl Budgets for RedisBudgets {
    async fn spend(&self, spend: Spend<'_>) -> Result<Spent, CacheError> {
        let key = |what: &str| self.link.of(spend.exchange, &format!("{what}:{}:{}", self.group, spend.scope));
        let (budget, ban) = (key("budget"), key("ban"));
        let grain = (self.clock.outside(spend.window) / GRAINS).as_millis().max(1);
        let arguments = vec![
            spend.weight.to_string().into(),
            spend.most.to_string().into(),
            grain.to_string().into(),
            spend.used.to_string().into(),
            self.millis(spend.banned).into(),
        ];
        let keys = [budget.as_str(), ban.as_str()];
        let answer = scripts::run::<(i64, i64)>(&self.link.client, &scripts::SPEND, &keys, arguments);
        let (what, millis) = self.link.run(answer).await?;
        let time = self.clock.inside(Duration::from_millis(u64::try_from(millis).unwrap_or_default()));
        Ok(match what {
            0 => Spent::Now,
            1 => Spent::Later(time),
            _ => Spent::Banned(time),
        })
    }

    async fn ban(&self, exchange: ExchangeId, scope: &str, pause: Duration) -> Result<(), CacheError> {
        let key = self.link.of(exchange, &format!("ban:{}:{scope}", self.group));
        let keys = [key.as_str()];
        let arguments = vec![self.millis(pause).into()];
        self.link.run(scripts::run::<i64>(&self.link.client, &scripts::BAN, &keys, arguments)).await.map(drop)
    }
}
