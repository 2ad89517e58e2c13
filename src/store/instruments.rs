//! The listings of exchanges.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::{ExchangeId, Instrument, MarketKind, Timestamp};

/// Stores the instruments that exchanges list.
#[async_trait]
pub trait InstrumentStore: Send + Sync + 'static {
    /// Replaces the listing of an exchange's markets of one kind; those of other kinds do not change. Instruments that
    /// are no longer listed stay stored with the status [`Delisted`](crate::model::InstrumentStatus::Delisted). If a
    /// symbol is listed twice, the later entry is stored.
    ///
    /// # Errors
    /// [`StoreError`]; [`Corrupt`](StoreError::Corrupt) if an instrument is of another kind.
    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The listings of an exchange's markets of all kinds, delisted instruments included, ordered by symbol. Empty if
    /// none was ever read.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError>;
}

/// The instruments of an exchange, delisted ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub instruments: Vec<Instrument>,
    /// When the exchange was queried; for several market kinds, the oldest time.
    pub read_at: Timestamp,
}
