//! Runs migrations.

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Database, Pool, SqlSafeStr};

use super::error::reason;
use crate::store::error::StoreError;

/// Runs the pending ones of these migrations (version, name and statements) on `database`, which is its name for
/// messages. `hint` says what to do if that fails.
///
/// # Errors
/// [`StoreError::Open`].
pub async fn migrate<D: Database>(
    pool: &Pool<D>,
    migrations: &[(i64, &'static str, &'static str)],
    database: &str,
    hint: &str,
) -> Result<(), StoreError>
where
    D::Connection: Migrate,
{
    let migrations = migrations.iter().map(|(version, name, sql)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(pool).await.map_err(|error| {
        StoreError::Open(match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => format!(
                "the database {database} was created by another version of candlewick ({error}); \
                 run that version, or name another database in `store.url`"
            ),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                format!("cannot set up the database {database}: {}; {hint}", reason(&error))
            }
            _ => format!("cannot set up the database {database}: {error}; {hint}"),
        })
    })
}
