//! What collectors tell about exchanges.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::cache::{CacheError, ExchangeStates};
use crate::model::{ExchangeId, ExchangeState};

/// One state an exchange, in registry order.
#[derive(Default)]
pub struct States(RwLock<BTreeMap<ExchangeId, ExchangeState>>);

#[async_trait]
impl ExchangeStates for States {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError> {
        self.0.write().insert(state.exchange, state);
        Ok(())
    }

    async fn get(&self, exchange: ExchangeId) -> Result<Option<ExchangeState>, CacheError> {
        Ok(self.0.read().get(&exchange).cloned())
    }

    async fn all(&self) -> Result<Vec<ExchangeState>, CacheError> {
        Ok(self.0.read().values().cloned().collect())
    }
}
