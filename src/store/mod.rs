//! Persistent data: closed candles, the coverage ledger, listings, backfills and API keys.
//!
//! There is one trait per entity, and [`Store`] for all of them. Every backend must pass the contract tests in
//! `tests/it/contract/store.rs`.

mod backfills;
mod candles;
mod error;
mod ids;
mod instruments;
mod keys;
mod ledger;
mod metered;
pub mod postgres;
mod sql;
pub mod sqlite;

use async_trait::async_trait;

pub use self::backfills::{BackfillFilter, BackfillStore, MAX_STORED_BACKFILLS};
pub use self::candles::{CandleStore, SeriesWrite, StoredPage, Take};
pub use self::error::StoreError;
pub use self::instruments::{InstrumentStore, Listing};
pub use self::keys::{KeyStore, MAX_STORED_REVOKED_KEYS};
pub use self::metered::MeteredStore;

/// A store of all entities.
#[async_trait]
pub trait Store: CandleStore + InstrumentStore + BackfillStore + KeyStore {
    /// Checks that the store answers.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// Flushes buffers and closes files and connections.
    async fn close(&self);
}
