//! The options and the state of a store.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::DropGuard;

use crate::store::ids::SeriesIds;

/// Options of [`PostgresStore::open`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Maximum number of connections.
    pub connections: u32,
    /// Maximum run time of a statement on the server.
    pub statement_timeout: Duration,
}

/// A [`Store`](crate::store::Store) in PostgreSQL.
pub struct PostgresStore {
    pub(super) pool: PgPool,
    pub(super) ids: SeriesIds,
    /// Stops the task that follows the primary among several hosts.
    pub(super) _primary_monitor: Option<DropGuard>,
}
