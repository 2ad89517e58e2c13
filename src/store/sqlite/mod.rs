//! Embedded store: one SQLite file in WAL mode, or a database in memory.
//!
//! SQLite allows one writer at a time, so a single connection writes. Readers use a small pool and do not wait for the
//! writer. Committed data survive a crash of the process.

mod candle_limit;
mod decimal;
mod listing;
mod multi_row;
mod open;
mod page;
mod sql_store;
mod store;
mod write;

#[cfg(test)]
mod tests;

pub use self::store::SqliteStore;
