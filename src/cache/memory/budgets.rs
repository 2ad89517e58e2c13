//! Budgets of a single process: its own rate limiters know the whole usage.

use std::time::Duration;

use async_trait::async_trait;

use crate::cache::{BudgetDecision, BudgetRequest, Budgets, CacheError};
use crate::model::ExchangeId;

pub struct MemoryBudgets;

#[async_trait]
impl Budgets for MemoryBudgets {
    async fn spend(&self, _: BudgetRequest<'_>) -> Result<BudgetDecision, CacheError> {
        Ok(BudgetDecision::Granted)
    }

    async fn ban(&self, _: ExchangeId, _: &str, _: Duration) -> Result<(), CacheError> {
        Ok(())
    }
}
