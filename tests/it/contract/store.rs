//! Contract suites for every [`Store`](candlewick::store::Store), one file per trait. A new backend needs a function
//! that opens it and one line for each suite.

mod backfills;
mod candles;
mod concurrency;
mod instruments;
mod keys;
mod ledger;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use candlewick::model::{Candle, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{SeriesWrite, Take};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use tempfile::TempDir;

use crate::support::servers;

type Store = Arc<dyn candlewick::store::Store>;

/// A new, empty database and how to open a store on it.
struct Backend {
    open: Box<dyn Fn() -> BoxFuture<'static, Store> + Send + Sync>,
    _folder: Option<TempDir>,
}

async fn sqlite_memory() -> Backend {
    let open = || -> BoxFuture<'static, Store> {
        Box::pin(async { Arc::new(SqliteStore::in_memory().await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _folder: None }
}

async fn sqlite_file() -> Backend {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/new/folder/candles.db", folder.path().display());
    Backend { _folder: Some(folder), ..sqlite_at(url) }
}

fn sqlite_at(url: String) -> Backend {
    let open = move || -> BoxFuture<'static, Store> {
        let url = url.clone();
        Box::pin(async move { Arc::new(SqliteStore::open(&url).await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _folder: None }
}

async fn postgres_server() -> Backend {
    postgres_at(servers::database().await)
}

fn postgres_at(url: String) -> Backend {
    let open = move || -> BoxFuture<'static, Store> {
        let url = url.clone();
        let options = Options { connections: 8, statement_timeout: Duration::from_secs(5) };
        Box::pin(async move { Arc::new(PostgresStore::open(&url, &options).await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _folder: None }
}

async fn upgraded_sqlite() -> Backend {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("candles.db");
    upgrade::create_sqlite(&path).await;
    let url = format!("sqlite://{}", path.display());
    Backend { _folder: Some(folder), ..sqlite_at(url) }
}

async fn upgraded_postgres() -> Backend {
    let url = servers::database().await;
    upgrade::create_postgres(&url).await;
    postgres_at(url)
}

macro_rules! cases {
    ($name:ident, $backend:ident, $($file:ident: $($case:ident)*;)*) => {
        mod $name {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$file::$case(super::$backend().await).await;
                }
            )*)*
        }
    };
}

macro_rules! store_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            candles:
                empty_store_has_no_rows_or_claims
                written_candles_are_read_back
                rewriting_same_rows_changes_nothing
                changed_row_is_replaced_with_higher_revision
                rejected_batch_writes_nothing
                first_or_last_rows_are_ascending
                ranges_are_half_open
                series_are_separate
                writes_any_number_of_rows
                last_duplicate_in_batch_wins
                delete_before_removes_old_rows_and_claims;
            ledger:
                coverage_matches_model
                coverage_page_is_limited
                merging_claims_is_order_independent_and_idempotent
                claims_without_rows_are_stored;
            backfills:
                backfill_is_stored_and_updated
                only_newest_ended_backfills_are_retained;
            keys:
                key_is_stored_and_revoked
                existing_id_is_refused
                only_latest_revoked_keys_are_retained;
            instruments:
                missing_instruments_become_delisted
                listing_replaces_only_its_own_kind;
            concurrency:
                batches_are_atomic_for_readers
                page_is_a_consistent_snapshot
                concurrent_writers_lose_nothing
                closed_store_returns_unavailable;
        }
    };
}

macro_rules! persistence_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend, concurrency: data_persists_after_reopening two_handles_share_data; }
    };
}

/// Databases of the previous version, opened by this one.
macro_rules! upgrade_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            upgrade:
                candles_and_claims_are_kept
                new_rows_join_old_ones
                listings_are_kept_as_spot_markets
                backfills_and_keys_are_kept;
        }
    };
}

store_cases!(memory, sqlite_memory);
store_cases!(file, sqlite_file);
persistence_cases!(file_reopened, sqlite_file);
store_cases!(postgres, postgres_server);
persistence_cases!(postgres_reopened, postgres_server);
upgrade_cases!(file_upgraded, upgraded_sqlite);
upgrade_cases!(postgres_upgraded, upgraded_postgres);

const ALL_TIME: (i64, i64) = (0, 1_000_000);

fn series(symbol: &str) -> Series {
    Series { exchange: ExchangeId::BINANCE, symbol: symbol.parse().unwrap(), interval: Interval::M1 }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_secs(minute * 60)
}

fn minutes((start, end): (i64, i64)) -> TimeRange {
    TimeRange::new(minute(start), minute(end))
}

fn claim(range: (i64, i64), state: CoverageState) -> CoveredRange {
    CoveredRange { range: minutes(range), state }
}

fn candle(at: i64) -> Candle {
    let price = Decimal::new(6_700_000 + at, 2);
    Candle {
        timestamp: minute(at),
        open: price,
        high: price + Decimal::ONE,
        low: price - Decimal::ONE,
        close: price,
        volume: Decimal::new(at, 8),
        quote_volume: Some(price * Decimal::new(at, 8)),
        trades: Some(at.unsigned_abs()),
        closed: true,
        revision: 0,
    }
}

fn candles((start, end): (i64, i64)) -> Vec<Candle> {
    (start..end).map(candle).collect()
}

/// A write of all candles of a range, with a `fetched` claim for the range.
fn fetched(series: &Series, range: (i64, i64)) -> SeriesWrite {
    SeriesWrite { series: series.clone(), candles: candles(range), claims: vec![claim(range, CoverageState::Fetched)] }
}

fn rows(series: &Series, candles: Vec<Candle>) -> [SeriesWrite; 1] {
    [SeriesWrite { series: series.clone(), candles, claims: Vec::new() }]
}

async fn all(store: &Store, series: &Series) -> Vec<Candle> {
    store.candles(series, minutes(ALL_TIME), Take::First(u32::MAX)).await.unwrap()
}
