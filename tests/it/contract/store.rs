//! What every [`CandleStore`] must do. A backend is a function that opens it, and one line for each suite below.

mod backfills;
mod candles;
mod keys;
mod ledger;
mod listing;
mod together;

use std::sync::Arc;
use std::time::Duration;

use candlewick::model::{Candle, CoveredRange, ExchangeId, Interval, Knowledge, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, SeriesWrite, Take};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use tempfile::TempDir;

use crate::support::servers;

type Store = Arc<dyn CandleStore>;

/// A place for data that is empty when it is made.
struct Backend {
    open: Box<dyn Fn() -> BoxFuture<'static, Store> + Send + Sync>,
    _home: Option<TempDir>,
}

async fn sqlite_memory() -> Backend {
    let open = || -> BoxFuture<'static, Store> {
        Box::pin(async { Arc::new(SqliteStore::in_memory().await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _home: None }
}

async fn sqlite_file() -> Backend {
    let home = TempDir::new().unwrap();
    let url = format!("sqlite://{}/new/folder/candles.db", home.path().display());
    let open = move || -> BoxFuture<'static, Store> {
        let url = url.clone();
        Box::pin(async move { Arc::new(SqliteStore::open(&url).await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _home: Some(home) }
}

async fn postgres_server() -> Backend {
    let url = servers::database().await;
    let open = move || -> BoxFuture<'static, Store> {
        let url = url.clone();
        let options = Options { connections: 8, statement_timeout: Duration::from_secs(5) };
        Box::pin(async move { Arc::new(PostgresStore::open(&url, &options).await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _home: None }
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

macro_rules! keeps_candles {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            candles:
                an_empty_store_knows_nothing
                what_is_written_is_read
                the_same_rows_again_change_nothing
                a_changed_row_is_replaced_and_its_revision_raised
                nothing_of_a_refused_batch_is_written
                the_first_or_the_last_rows_come_ascending
                ranges_are_half_open
                series_do_not_mix
                any_number_of_rows_is_written
                of_one_candle_in_a_batch_the_last_word_stays
                what_is_old_is_forgotten;
            ledger:
                the_ledger_agrees_with_the_model
                a_part_of_the_ledger_has_a_bound
                order_and_repetition_do_not_matter
                claims_without_rows_are_kept;
            backfills:
                a_backfill_is_kept_and_changed
                of_backfills_that_ended_the_newest_are_kept;
            keys:
                a_key_is_kept_and_revoked
                of_revoked_keys_the_latest_are_kept;
            listing:
                a_listing_is_replaced_and_what_is_gone_stays_inactive;
            together:
                readers_see_only_whole_batches
                a_page_is_of_one_moment
                writers_at_the_same_time_lose_nothing
                a_closed_store_says_so;
        }
    };
}

macro_rules! lasts {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend, together: all_is_there_after_opening_again two_handles_share_what_is_stored; }
    };
}

keeps_candles!(memory, sqlite_memory);
keeps_candles!(file, sqlite_file);
lasts!(file_reopened, sqlite_file);
keeps_candles!(postgres, postgres_server);
lasts!(postgres_reopened, postgres_server);

const EVER: (i64, i64) = (0, 1_000_000);

fn series(symbol: &str) -> Series {
    Series { exchange: ExchangeId::Binance, symbol: symbol.parse().unwrap(), interval: Interval::M1 }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_secs(minute * 60)
}

fn minutes((start, end): (i64, i64)) -> TimeRange {
    TimeRange::new(minute(start), minute(end))
}

fn claim(range: (i64, i64), state: Knowledge) -> CoveredRange {
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

/// The candles of a range with a claim for all of it.
fn fetched(series: &Series, range: (i64, i64)) -> SeriesWrite {
    SeriesWrite { series: series.clone(), candles: candles(range), claims: vec![claim(range, Knowledge::Fetched)] }
}

fn rows(series: &Series, candles: Vec<Candle>) -> [SeriesWrite; 1] {
    [SeriesWrite { series: series.clone(), candles, claims: Vec::new() }]
}

async fn all(store: &Store, series: &Series) -> Vec<Candle> {
    store.candles(series, minutes(EVER), Take::First(u32::MAX)).await.unwrap()
}
