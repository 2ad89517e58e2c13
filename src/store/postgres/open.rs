//! Opens a store: connection pool and migrations.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use tokio_util::sync::CancellationToken;

use super::failover::{Failover, follow_primary, hosts, is_writable};
use super::store::{Options, PostgresStore};
use crate::clock::Clock;
use crate::store::error::StoreError;
use crate::store::ids::SeriesIds;
use crate::store::sql::{ACQUIRE_TIMEOUT, migrations, reason};

/// How long to wait at startup for a server that may be starting as well.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of connection attempts at startup.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// All migrations, oldest first. A released migration is never edited.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "initial", include_str!("../../../migrations/postgres/0001_initial.sql")),
    (2, "backfills", include_str!("../../../migrations/postgres/0002_backfills.sql")),
    (3, "api_keys", include_str!("../../../migrations/postgres/0003_api_keys.sql")),
    (4, "instrument_status", include_str!("../../../migrations/postgres/0004_instrument_status.sql")),
    (5, "market_kinds", include_str!("../../../migrations/postgres/0005_market_kinds.sql")),
];

const HINT: &str = "check that `store.url` (or DATABASE_URL) names a user that may create tables there";

/// SQLSTATE codes for which retrying is useless: wrong password, unknown role, unknown database, missing privilege.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const FATAL_SQLSTATES: [&str; 4] = ["28P01", "28000", "3D000", "42501"];

impl PostgresStore {
    /// Opens `postgres://user:password@host:port/database` and runs pending migrations; replicas that start at the same
    /// time run them one after another. Of several hosts (`host1:port,host2:port`) it uses the one that accepts writes.
    ///
    /// # Errors
    /// [`StoreError::Open`], which names the server and says what to do.
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        let mut hosts = hosts(url).map_err(|error| {
            StoreError::Open(format!(
                "`store.url` is not a PostgreSQL URL ({error}); write postgres://USER:PASSWORD@HOST/NAME"
            ))
        })?;
        let timeout = options.statement_timeout.as_millis().to_string();
        for host in &mut hosts {
            *host = host
                .clone()
                .application_name("candlewick")
                .options([("statement_timeout", timeout.as_str())])
                .disable_statement_logging();
        }
        let address = hosts.iter().map(address).collect::<Vec<_>>().join(", ");
        let primary = wait_for_primary(&hosts, &address).await?;
        let connect = hosts[primary].clone();
        migrate(&connect, &address).await?;
        let failover = Failover::new(&address);
        let (before, after) = (failover.clone(), failover.clone());
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // No log line for slow acquires: a timeout is an error anyway.
            .acquire_slow_threshold(ACQUIRE_TIMEOUT)
            // The driver's test has no timeout of its own: with a lost server it waits for TCP, about 15 minutes.
            .test_before_acquire(false)
            .before_acquire(move |connection, metadata| {
                let failover = before.clone();
                Box::pin(async move { failover.is_usable(connection, metadata).await })
            })
            .after_release(move |connection, metadata| {
                let failover = after.clone();
                Box::pin(async move { failover.is_reusable(connection, metadata).await })
            })
            .connect_lazy_with(connect);
        let primary_monitor = (hosts.len() > 1).then(|| {
            let stop = CancellationToken::new();
            let monitor = follow_primary(pool.clone(), hosts, primary, failover);
            tokio::spawn(stop.clone().run_until_cancelled_owned(monitor));
            stop.drop_guard()
        });
        Ok(Self { pool, ids: SeriesIds::default(), _primary_monitor: primary_monitor })
    }
}

/// Address for messages: `host:port/database`.
fn address(host: &PgConnectOptions) -> String {
    let database = host.get_database().unwrap_or_else(|| host.get_username());
    format!("{}:{}/{database}", host.get_host(), host.get_port())
}

/// Waits until a host accepts writes and returns its index.
async fn wait_for_primary(hosts: &[PgConnectOptions], address: &str) -> Result<usize, StoreError> {
    let clock = Clock::system();
    let deadline = clock.now() + STARTUP_TIMEOUT;
    loop {
        let mut last_error = "the URL names no host".to_owned();
        let mut fatal_errors = 0;
        for (index, host) in hosts.iter().enumerate() {
            let check = async { is_writable(&mut host.connect().await?).await };
            let error = match clock.timeout(ACQUIRE_TIMEOUT, check).await {
                Ok(Ok(true)) => return Ok(index),
                Ok(Ok(false)) => {
                    "the server is read-only (a standby, or `default_transaction_read_only` is set)"
                        .clone_into(&mut last_error);
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::PoolTimedOut,
            };
            fatal_errors += usize::from(is_fatal(&error));
            last_error = reason(&error);
        }
        if clock.now() >= deadline || fatal_errors == hosts.len() {
            return Err(StoreError::Open(format!(
                "cannot use PostgreSQL at {address}: {last_error}; check that it runs there and that `store.url` (or \
                 DATABASE_URL) names a database and a user that may create tables in it"
            )));
        }
        tracing::warn!(address, error = last_error, "PostgreSQL is not available yet: retrying");
        clock.sleep(RETRY_INTERVAL).await;
    }
}

fn is_fatal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| FATAL_SQLSTATES.contains(&&*code)) || matches!(error, sqlx::Error::Configuration(_))
}

/// Runs pending migrations. An advisory lock serialises replicas that start at the same time; only the first one has
/// something to run.
async fn migrate(connect: &PgConnectOptions, address: &str) -> Result<(), StoreError> {
    // A migration may run long: it uses its own connection without a statement timeout.
    let connect = connect.clone().options([("statement_timeout", "0")]);
    let pool: PgPool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(connect);
    let migrated = migrations::migrate(&pool, &MIGRATIONS, address, HINT).await;
    pool.close().await;
    migrated
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn migrations_match_both_folders_in_order() {
        let folder = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name);
            let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        let embedded: Vec<_> = MIGRATIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(folder("postgres"), embedded);
        assert_eq!(folder("sqlite"), folder("postgres"), "both backends have the same versions");
    }
}
