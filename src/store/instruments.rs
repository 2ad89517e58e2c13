//! The listings of exchanges.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::{ExchangeId, Instrument, Timestamp};

/// Stores the instruments that exchanges list.
#[async_trait]
pub trait InstrumentStore: Send + Sync + 'static {
    /// Replaces the listing of an exchange. Instruments that are no longer listed stay stored with the status
    /// [`Delisted`](crate::model::InstrumentStatus::Delisted). If a symbol is listed twice, the later entry is stored.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The listing of an exchange, delisted instruments included, ordered by symbol, and the time when it was read.
    /// Empty if it was never read.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError>;
}

/// The instruments of an exchange, delisted ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub instruments: Vec<Instrument>,
    /// When the exchange was queried.
    pub read_at: Timestamp,
}
