//! Shared store in PostgreSQL 14 or newer, for any number of replicas.
//!
//! A batch is one transaction with a few statements, independent of its number of rows: rows and ranges are array
//! parameters. A writer locks the series row in `series`, so that no two writers merge the ledger of one series at the
//! same time.

mod failover;
mod listing;
mod numeric;
mod open;
mod page;
mod sql_store;
mod store;
mod write;

pub use self::store::{Options, PostgresStore};
