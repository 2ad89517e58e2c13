//! A value for each exchange.

use std::ops::{Index, IndexMut};

use super::ExchangeId;

/// A value for each exchange, including exchanges that are not registered yet.
#[derive(Debug)]
pub struct PerExchange<T>([T; ExchangeId::MAX]);

impl<T> PerExchange<T> {
    /// The values in registry order. `Default` creates default values.
    #[must_use]
    pub const fn new(values: [T; ExchangeId::MAX]) -> Self {
        Self(values)
    }
}

impl<T: Default> Default for PerExchange<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Index<ExchangeId> for PerExchange<T> {
    type Output = T;
    fn index(&self, exchange: ExchangeId) -> &T {
        &self.0[exchange.index()]
    }
}

impl<T> IndexMut<ExchangeId> for PerExchange<T> {
    fn index_mut(&mut self, exchange: ExchangeId) -> &mut T {
        &mut self.0[exchange.index()]
    }
}
