//! A database of the previous version (migrations 1 to 4), with the rows that it wrote, opened by this version.

use std::slice;

use candlewick::model::{
    ApiKey, Backfill, BackfillState, Candle, CoverageState, CoveredRange, ExchangeId, Instrument, InstrumentStatus,
    Interval, KeyDigest, KeyScope, MarketKind, Series, TimeRange,
};
use candlewick::store::{BackfillFilter, Listing, SeriesWrite, Take};
use rust_decimal::Decimal;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqlSafeStr};

use super::{ALL_TIME, Backend, Store, all, claim, minute, minutes, series};

/// Reads the migrations of the previous version.
macro_rules! migrations {
    ($($database:literal: $($version:literal $name:literal),+;)+) => {
        fn migrations(database: &str) -> Migrator {
            let all = match database {
                $($database => vec![$((
                    $version,
                    $name,
                    include_str!(concat!("../../../../migrations/", $database, "/000", $version, "_", $name, ".sql")),
                )),+],)+
                other => panic!("{other} has no migrations"),
            };
            let all = all.into_iter().map(|(version, name, sql)| {
                Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
            });
            Migrator::with_migrations(all.collect())
        }
    };
}

migrations! {
    "sqlite": 1 "initial", 2 "backfills", 3 "api_keys", 4 "instrument_status";
    "postgres": 1 "initial", 2 "backfills", 3 "api_keys", 4 "instrument_status";
}

/// The rows, as the previous version wrote them; `digest` is the literal of a digest of 32 bytes.
fn inserts(digest: &str) -> [String; 7] {
    [
        "INSERT INTO series (exchange, symbol, interval) \
         VALUES ('binance', 'BTC/USDT', '1m'), ('kraken', '币安人生/USD', '1h')"
            .to_owned(),
        "INSERT INTO candles VALUES \
            (1, 0, '67000.1', '67001', '66999.00000001', '67000', '0.5', '33500', 7, 0), \
            (1, 60000, '67000', '67000', '67000', '67000', '0', NULL, NULL, 3), \
            (1, 180000, '1', '1', '1', '1', '1', '1', 1, 0), \
            (2, 3600000, '0.0000012', '0.0000012', '0.0000012', '0.0000012', '12345678', NULL, 2, 1)"
            .to_owned(),
        "INSERT INTO coverage VALUES (1, 0, 120000, 'observed'), (1, 120000, 180000, 'empty'), \
            (1, 180000, 240000, 'fetched'), (2, 0, 3600000, 'unavailable'), (2, 3600000, 7200000, 'derived')"
            .to_owned(),
        "INSERT INTO instruments (exchange, symbol, native, stream_native, price_step, amount_step, status) VALUES \
            ('binance', 'BTC/USDT', 'BTCUSDT', NULL, '0.01', '0.00001', 'trading'), \
            ('binance', 'OLD/USDT', 'OLDUSDT', NULL, NULL, NULL, 'delisted'), \
            ('kraken', 'BTC/USD', 'XBTUSD', 'BTC/USD', '0.1', NULL, 'halted')"
            .to_owned(),
        "INSERT INTO listings VALUES ('binance', 420000), ('kraken', 480000)".to_owned(),
        "INSERT INTO backfills VALUES \
            ('b1', 'binance', 'BTC/USDT', '1m', 0, 600000, 'running', NULL, 60000, 120000), \
            ('b2', 'kraken', 'BTC/USD', '1h', 0, 3600000, 'failed', 'no such market', 120000, 180000)"
            .to_owned(),
        format!(
            "INSERT INTO api_keys VALUES \
                ('0a1b2c3d', {digest}, 'a bot''s \"key\"', 'read stream', 60, 60000, NULL, NULL), \
                ('ffffffff', {digest}, 'old', 'admin', NULL, 120000, 240000, 180000)"
        ),
    ]
}

/// Creates the database of the previous version.
pub async fn create_sqlite(path: &std::path::Path) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    migrations("sqlite").run(&mut connection).await.unwrap();
    for insert in inserts(&format!("X'{}'", "ab".repeat(32))) {
        sqlx::query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// Creates the database of the previous version.
pub async fn create_postgres(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    migrations("postgres").run(&mut connection).await.unwrap();
    for insert in inserts(&format!("'\\x{}'", "ab".repeat(32))) {
        sqlx::query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn candle(at: i64, [open, high, low, close, volume]: [&str; 5]) -> Candle {
    Candle {
        timestamp: minute(at),
        open: number(open),
        high: number(high),
        low: number(low),
        close: number(close),
        volume: number(volume),
        quote_volume: None,
        trades: None,
        closed: true,
        revision: 0,
    }
}

fn btc_candles() -> [Candle; 3] {
    let first = candle(0, ["67000.1", "67001", "66999.00000001", "67000", "0.5"]);
    [
        Candle { quote_volume: Some(number("33500")), trades: Some(7), ..first },
        Candle { revision: 3, ..candle(1, ["67000", "67000", "67000", "67000", "0"]) },
        Candle { quote_volume: Some(Decimal::ONE), trades: Some(1), ..candle(3, ["1"; 5]) },
    ]
}

fn hourly() -> Series {
    Series { exchange: ExchangeId::KRAKEN, symbol: "币安人生/USD".parse().unwrap(), interval: Interval::H1 }
}

async fn ranges(store: &Store, series: &Series) -> Vec<CoveredRange> {
    store.coverage(series, minutes(ALL_TIME)).await.unwrap().ranges().to_vec()
}

fn binance_instruments() -> [Instrument; 2] {
    let instrument = |symbol: &str, native| Instrument::new(ExchangeId::BINANCE, symbol.parse().unwrap(), native);
    [
        Instrument {
            price_step: Some(number("0.01")),
            amount_step: Some(number("0.00001")),
            ..instrument("BTC/USDT", "BTCUSDT")
        },
        Instrument { status: InstrumentStatus::Delisted, ..instrument("OLD/USDT", "OLDUSDT") },
    ]
}

pub async fn candles_and_claims_are_kept(backend: Backend) {
    // Opened twice: the second time there is nothing to migrate.
    for _ in 0..2 {
        let store = (backend.open)().await;
        assert_eq!(all(&store, &series("BTC/USDT")).await, btc_candles());
        let hour = Candle {
            trades: Some(2),
            revision: 1,
            ..candle(60, ["0.0000012", "0.0000012", "0.0000012", "0.0000012", "12345678"])
        };
        assert_eq!(all(&store, &hourly()).await, [hour]);
        assert_eq!(
            ranges(&store, &series("BTC/USDT")).await,
            [
                claim((0, 2), CoverageState::Observed),
                claim((2, 3), CoverageState::Empty),
                claim((3, 4), CoverageState::Fetched),
            ]
        );
        assert_eq!(
            ranges(&store, &hourly()).await,
            [claim((0, 60), CoverageState::Unavailable), claim((60, 120), CoverageState::Derived)]
        );
        let page = store.page(&series("BTC/USDT"), minutes(ALL_TIME), Take::Last(2)).await.unwrap();
        assert_eq!(page.candles, btc_candles()[1..]);
        store.close().await;
    }
}

pub async fn new_rows_join_old_ones(backend: Backend) {
    let store = (backend.open)().await;
    let [first, _, last] = btc_candles();
    let revised = Candle { close: first.open, ..first };
    let write = SeriesWrite {
        series: series("BTC/USDT"),
        candles: vec![revised, Candle { timestamp: minute(4), ..last }],
        claims: vec![claim((0, 1), CoverageState::Fetched), claim((4, 5), CoverageState::Fetched)],
    };
    let changed = store.write(&[write]).await.unwrap();
    assert_eq!(changed, [(series("BTC/USDT"), Candle { revision: 1, ..revised })]);
    assert_eq!(all(&store, &series("BTC/USDT")).await.len(), 4);
    let known = ranges(&store, &series("BTC/USDT")).await;
    assert_eq!(known.last(), Some(&claim((3, 5), CoverageState::Fetched)));
    // A contract's series is separate from that of the spot market.
    assert_eq!(all(&store, &series("BTC/USDT:USDT")).await, []);
}

pub async fn listings_are_kept_as_spot_markets(backend: Backend) {
    let store = (backend.open)().await;
    let instruments = binance_instruments();
    let expected = Listing { instruments: instruments.to_vec(), read_at: minute(7) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
    let kraken = store.instruments(ExchangeId::KRAKEN).await.unwrap();
    assert_eq!(kraken.read_at, minute(8));
    let halted = Instrument {
        stream_native: Some("BTC/USD".to_owned()),
        price_step: Some(number("0.1")),
        status: InstrumentStatus::Halted,
        ..Instrument::new(ExchangeId::KRAKEN, "BTC/USD".parse().unwrap(), "XBTUSD")
    };
    assert_eq!(kraken.instruments, [halted]);
    // The next listing updates the old rows.
    let [btc, old] = instruments;
    let btc = Instrument { min_notional: Some(Decimal::from(5)), ..btc };
    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, slice::from_ref(&btc), minute(9)).await.unwrap();
    let expected = Listing { instruments: vec![btc, old], read_at: minute(9) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
}

pub async fn backfills_and_keys_are_kept(backend: Backend) {
    let store = (backend.open)().await;
    let running = Backfill {
        id: "b1".to_owned(),
        series: series("BTC/USDT"),
        range: TimeRange::new(minute(0), minute(10)),
        state: BackfillState::Running,
        detail: None,
        created_at: minute(1),
        updated_at: minute(2),
    };
    let failed = Backfill {
        id: "b2".to_owned(),
        series: Series { symbol: "BTC/USD".parse().unwrap(), ..hourly() },
        range: TimeRange::new(minute(0), minute(60)),
        state: BackfillState::Failed,
        detail: Some("no such market".to_owned()),
        created_at: minute(2),
        updated_at: minute(3),
    };
    assert_eq!(store.backfills(BackfillFilter::Open(ExchangeId::BINANCE)).await.unwrap(), slice::from_ref(&running));
    assert_eq!(store.backfills(BackfillFilter::Newest).await.unwrap(), [failed, running]);
    let key = ApiKey {
        id: "0a1b2c3d".to_owned(),
        digest: KeyDigest([0xab; 32]),
        name: "a bot's \"key\"".to_owned(),
        scopes: vec![KeyScope::Read, KeyScope::Stream],
        per_minute: Some(60),
        created_at: minute(1),
        expires_at: None,
        revoked_at: None,
    };
    let revoked = ApiKey {
        id: "ffffffff".to_owned(),
        name: "old".to_owned(),
        scopes: vec![KeyScope::Admin],
        per_minute: None,
        created_at: minute(2),
        expires_at: Some(minute(4)),
        revoked_at: Some(minute(3)),
        ..key.clone()
    };
    assert_eq!(store.keys().await.unwrap(), [key, revoked]);
}
