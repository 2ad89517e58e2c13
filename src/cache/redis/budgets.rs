//! Budgets that replicas behind one public address share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::link::RedisLink;
use super::scripts;
use crate::cache::{BudgetDecision, BudgetRequest, Budgets, CacheError};
use crate::clock::Clock;
use crate::model::ExchangeId;

/// Number of time slots per window. `SPEND_BUDGET` counts six more, because requests take different times to arrive.
const SLOTS: u32 = 100;

pub(super) struct RedisBudgets {
    link: Arc<RedisLink>,
    group: String,
    clock: Clock,
}

impl RedisBudgets {
    pub const fn new(link: Arc<RedisLink>, group: String, clock: Clock) -> Self {
        Self { link, group, clock }
    }

    fn millis(&self, time: Duration) -> String {
        self.clock.to_real_time(time).as_millis().to_string()
    }
}

#[async_trait]
impl Budgets for RedisBudgets {
    async fn spend(&self, request: BudgetRequest<'_>) -> Result<BudgetDecision, CacheError> {
        let key =
            |kind: &str| self.link.exchange_key(request.exchange, &format!("{kind}:{}:{}", self.group, request.scope));
        let (budget, ban) = (key("budget"), key("ban"));
        let slot = (self.clock.to_real_time(request.window) / SLOTS).as_millis().max(1);
        let arguments = vec![
            request.weight.to_string().into(),
            request.max_per_window.to_string().into(),
            slot.to_string().into(),
            request.used_locally.to_string().into(),
            self.millis(request.ban_remaining).into(),
        ];
        let keys = [budget.as_str(), ban.as_str()];
        let result = scripts::run::<(i64, i64)>(&self.link.client, &scripts::SPEND_BUDGET, &keys, arguments);
        let (decision, millis) = self.link.run(result).await?;
        let time = self.clock.to_clock_time(Duration::from_millis(u64::try_from(millis).unwrap_or_default()));
        Ok(match decision {
            0 => BudgetDecision::Granted,
            1 => BudgetDecision::RetryAfter(time),
            _ => BudgetDecision::Banned(time),
        })
    }

    async fn ban(&self, exchange: ExchangeId, scope: &str, pause: Duration) -> Result<(), CacheError> {
        let key = self.link.exchange_key(exchange, &format!("ban:{}:{scope}", self.group));
        let keys = [key.as_str()];
        let arguments = vec![self.millis(pause).into()];
        self.link.run(scripts::run::<i64>(&self.link.client, &scripts::BAN, &keys, arguments)).await.map(drop)
    }
}
