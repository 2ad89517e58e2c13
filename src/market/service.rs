use std::sync::Arc;

use futures_util::stream::BoxStream;

use super::*;

/// Answers the questions of every door.
pub struct Market {}

impl Market {
    /// Finds a market by any spelling of its symbol, or by the exchange's own id. Without an exchange, the first
    /// enabled one that lists it, in registry order.
    ///
    /// # Errors
    /// `InvalidParameters`, `UnknownExchange`, `UnknownSymbol`, `NotReady`.
    pub async fn find(&self, exchange: Option<&str>, symbol: &str) -> Result<Listed, MarketError> {
        todo!()
    }

    /// The enabled exchange of that name.
    ///
    /// # Errors
    /// `UnknownExchange`.
    pub fn exchange_id(&self, name: &str) -> Result<ExchangeId, MarketError> {
        todo!()
    }

    /// The latest ticker; from memory where it is live, else asked from the exchange.
    ///
    /// # Errors
    /// `UpstreamUnavailable`, `UpstreamRateLimited`.
    pub async fn ticker(&self, listed: &Listed) -> Result<TickerAnswer, MarketError> {
        todo!()
    }

    /// One page of candles. What is unknown is asked for within a time budget.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `StoreUnavailable`.
    pub async fn history(&self, listed: &Listed, query: &CandleQuery) -> Result<HistoryPage, MarketError> {
        todo!()
    }

    /// All pages of a range, in order, each of at most [`HISTORY_LIMIT_MAX`] candles.
    pub fn history_pages(
        self: Arc<Self>,
        listed: Listed,
        query: CandleQuery,
    ) -> BoxStream<'static, Result<HistoryPage, MarketError>> {
        todo!()
    }

    /// A page of instruments, ordered by exchange and symbol.
    ///
    /// # Errors
    /// `InvalidParameters` for a cursor that is none.
    pub async fn instruments(&self, query: &InstrumentQuery) -> Result<InstrumentPage, MarketError> {
        todo!()
    }

    /// What the ledger says of a range of a series.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn coverage(
        &self,
        listed: &Listed,
        interval: Interval,
        range: TimeRange,
    ) -> Result<CoverageAnswer, MarketError> {
        todo!()
    }

    /// The states of all enabled exchanges, in registry order.
    pub async fn exchanges(&self) -> Vec<ExchangeState> {
        todo!()
    }

    /// Makes a collector collect a market that someone listens to. To be repeated while they do.
    pub async fn want(&self, listed: &Listed) {
        todo!()
    }

    /// How the whole is doing.
    pub async fn health(&self) -> Health {
        todo!()
    }
}
