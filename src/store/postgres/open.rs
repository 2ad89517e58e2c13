//! Opening a store: the pool, and the tables.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, SqlSafeStr};
use tokio_util::sync::CancellationToken;

use super::renewal::{Renewal, follow_primary, hosts, is_writable};
use super::{Options, PostgresStore};
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::ids::SeriesIds;

/// How long to wait for a free connection, or for a new one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that starts together with this process has so long to come up.
const COMES_UP_WITHIN: Duration = Duration::from_secs(30);

/// How often it is tried meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Every version of the tables, oldest first. What was released is never edited.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "initial", include_str!("../../../migrations/postgres/0001_initial.sql")),
    (2, "backfills", include_str!("../../../migrations/postgres/0002_backfills.sql")),
    (3, "api_keys", include_str!("../../../migrations/postgres/0003_api_keys.sql")),
    (4, "instrument_status", include_str!("../../../migrations/postgres/0004_instrument_status.sql")),
];

/// SQLSTATE of what waiting does not mend: a wrong password, no such role, no such database.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const NO_ENTRY: [&str; 4] = ["28P01", "28000", "3D000", "42501"];

pub(super) async fn open(url: &str, options: &Options) -> Result<PostgresStore, StoreError> {
    let mut hosts = hosts(url).map_err(|error| {
        StoreError::Open(format!(
            "`store.url` is no PostgreSQL URL ({error}); write postgres://USER:PASSWORD@HOST/NAME"
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
    let place = hosts.iter().map(place).collect::<Vec<_>>().join(", ");
    let primary = come_up(&hosts, &place).await?;
    let connect = hosts[primary].clone();
    migrate(&connect, &place).await?;
    let renewal = Renewal::new(&place);
    let (before, after) = (renewal.clone(), renewal.clone());
    let pool = PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(PATIENCE)
        // Who waits in vain gets an error; who waits a while is no news.
        .acquire_slow_threshold(PATIENCE)
        // The driver's own tests wait as long as the network does: for a server that is gone, a quarter of an hour.
        .test_before_acquire(false)
        .before_acquire(move |connection, seen| {
            let renewal = before.clone();
            Box::pin(async move { renewal.may_use(connection, seen).await })
        })
        .after_release(move |connection, seen| {
            let renewal = after.clone();
            Box::pin(async move { renewal.may_keep(connection, seen).await })
        })
        .connect_lazy_with(connect);
    let following = (hosts.len() > 1).then(|| {
        let stop = CancellationToken::new();
        let following = follow_primary(pool.clone(), hosts, primary, renewal);
        tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        stop.drop_guard()
    });
    Ok(PostgresStore { pool, ids: SeriesIds::default(), _following: following })
}

/// A host as it is named to people.
fn place(host: &PgConnectOptions) -> String {
    let database = host.get_database().unwrap_or_else(|| host.get_username());
    format!("{}:{}/{database}", host.get_host(), host.get_port())
}

/// Waits until a server takes connections that can write, and gives its place among the hosts.
async fn come_up(hosts: &[PgConnectOptions], place: &str) -> Result<usize, StoreError> {
    let clock = Clock::system();
    let deadline = clock.now() + COMES_UP_WITHIN;
    loop {
        let mut last = "it names no host".to_owned();
        let mut final_errors = 0;
        for (index, host) in hosts.iter().enumerate() {
            let asked = async { is_writable(&mut host.connect().await?).await };
            let error = match clock.timeout(PATIENCE, asked).await {
                Ok(Ok(true)) => return Ok(index),
                Ok(Ok(false)) => {
                    "it is read-only: it is a standby, or was made read-only".clone_into(&mut last);
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::PoolTimedOut,
            };
            final_errors += usize::from(is_final(&error));
            last = reason(&error);
        }
        if clock.now() >= deadline || final_errors == hosts.len() {
            return Err(StoreError::Open(format!(
                "cannot use PostgreSQL at {place}: {last}; see that it runs there and that `store.url` (or DATABASE_URL) \
                 names a database and a user that may make tables in it"
            )));
        }
        tracing::warn!(place, error = last, "PostgreSQL does not answer yet: trying again");
        clock.sleep(LOOK).await;
    }
}

fn is_final(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| NO_ENTRY.contains(&&*code)) || matches!(error, sqlx::Error::Configuration(_))
}

/// Makes the tables. Replicas that start together take turns by an advisory lock, and only the first makes them.
async fn migrate(connect: &PgConnectOptions, place: &str) -> Result<(), StoreError> {
    let known = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    // A migration may take its time: a connection of its own, without a limit.
    let connect = connect.clone().options([("statement_timeout", "0")]);
    let one: PgPool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(connect);
    let migrated = Migrator::with_migrations(known.to_vec()).run(&one).await;
    one.close().await;
    migrated.map_err(|error| {
        StoreError::Open(match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => format!(
                "the database {place} was made by another version of candlewick ({error}); \
                 run that version, or name another database in `store.url`"
            ),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                format!("cannot set up the database {place}: {}", reason(&error))
            }
            _ => format!("cannot set up the database {place}: {error}"),
        })
    })
}

/// The database's own words, without the driver's.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(inside) => inside.message().to_owned(),
        sqlx::Error::PoolTimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_migration_of_both_folders_is_embedded_in_order() {
        let folder = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name);
            let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        let embedded: Vec<_> = MIGRATIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(folder("postgres"), embedded);
        assert_eq!(folder("sqlite"), folder("postgres"), "one list of versions");
    }
}
