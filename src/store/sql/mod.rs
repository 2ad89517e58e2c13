//! What the stores in SQL databases share: the traits of stores are implemented here, on top of [`SqlStore`]. What
//! differs is in the folder of each database: connections, transactions, how candles and listings are written, and how
//! a page is read.

mod backfills;
pub mod candles;
mod columns;
mod database;
mod error;
mod instruments;
mod keys;
pub mod migrations;
pub mod retention;
mod store;

pub use self::columns::{Columns, StoredDecimal};
pub use self::database::{SqlDatabase, Value, bind};
pub use self::error::{ACQUIRE_TIMEOUT, corrupt, reason, store_error};
pub use self::store::SqlStore;
