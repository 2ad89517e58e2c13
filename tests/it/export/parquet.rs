//! Contents of a Parquet export, read with the parquet library.

use std::fs::File;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};

use super::*;

on_each_store! { parquet_file_has_exact_rows_and_coverage }

/// The candles of a record batch.
fn candles(batch: &RecordBatch) -> Vec<Candle> {
    let number = |row: usize, name: &str| {
        let column = batch.column_by_name(name).unwrap().as_primitive::<Decimal128Type>();
        let exact = || Decimal::from_i128_with_scale(column.value(row) / 10_i128.pow(8), 10).normalize();
        column.is_valid(row).then(|| {
            assert_eq!(column.value(row) % 10_i128.pow(8), 0, "these candles have at most ten decimal places");
            exact()
        })
    };
    let candle = |row: usize| {
        let times = batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampMillisecondType>();
        let trades = batch.column_by_name("trades").unwrap().as_primitive::<Int64Type>();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        Candle {
            timestamp: Timestamp::from_millis(times.value(row)),
            open: number(row, "open").unwrap(),
            high: number(row, "high").unwrap(),
            low: number(row, "low").unwrap(),
            close: number(row, "close").unwrap(),
            volume: number(row, "volume").unwrap(),
            quote_volume: number(row, "quote_volume"),
            trades: trades.is_valid(row).then(|| trades.value(row).unsigned_abs()),
            closed: true,
            revision: revisions.value(row).unsigned_abs(),
        }
    };
    (0..batch.num_rows()).map(candle).collect()
}

async fn parquet_file_has_exact_rows_and_coverage(fixture: StoreFixture) {
    fixture.write_candles(0..MINUTES, vec![claim(0, MINUTES, CoverageState::Fetched)]).await;
    // The last minute is revised, and the minute after it is unknown.
    let changed = Candle { volume: Decimal::new(5, 1), ..candle(MINUTES - 1) };
    let write = SeriesWrite { series: series(), candles: vec![changed], claims: Vec::new() };
    fixture.store.write(&[write]).await.unwrap();
    let until = minute(MINUTES + 1).to_string();
    let (_, stderr) = expect_success(fixture.export(&["--until", &until, "--output", "btc.parquet"]));
    assert!(stderr.contains("10,500 candles") && stderr.contains("with 1 gap:"), "{stderr}");
    assert_eq!(fixture.files(), ["btc.parquet"], "the coverage is in the file");

    let file = File::open(fixture.folder.path().join("btc.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let time = reader.schema().field(0).data_type().to_string();
    assert!(time.starts_with("Timestamp(") && time.contains("UTC"), "{time}");
    assert_eq!(reader.schema().field(1).data_type().to_string(), "Decimal128(38, 18)");
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let metadata = |key: &str| metadata.iter().find(|one| one.key == key).and_then(|one| one.value.clone()).unwrap();
    assert_eq!(metadata("candlewick.exchange"), "binance");
    assert_eq!(metadata("candlewick.symbol"), "BTC/USDT");
    assert_eq!(metadata("candlewick.interval"), "1m");
    assert_eq!(metadata("candlewick.version"), env!("CARGO_PKG_VERSION"));
    assert!(Timestamp::parse(&metadata("candlewick.created_at")).is_ok());
    let coverage: Value = serde_json::from_str(&metadata("candlewick.coverage")).unwrap();
    let (first, last) = (minute(0).millis(), minute(MINUTES).millis());
    assert_eq!(
        coverage,
        json!({
            "complete": false,
            "ranges": [{"start": first, "end": last, "state": "fetched"}],
            "gaps": [{"start": last, "end": last + 60_000, "reason": "unknown"}],
        })
    );

    let rows: Vec<Candle> = reader.build().unwrap().flat_map(|batch| candles(&batch.unwrap())).collect();
    let mut expected: Vec<Candle> = (0..MINUTES).map(candle).collect();
    *expected.last_mut().unwrap() = Candle { revision: 1, ..changed };
    assert_eq!(rows, expected);

    // A number with more digits than the column holds is an error that names it, and no file remains.
    let long = Candle { volume: Decimal::new(1, 19), ..candle(0) };
    fixture.store.write(&[SeriesWrite { series: series(), candles: vec![long], claims: Vec::new() }]).await.unwrap();
    let output = fixture.export(&["--until", &until, "--output", "long.parquet"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(stderr.contains("`volume` of the candle at 2024-01-01T00:00:00.000Z is 0.0000000000000000001"), "{stderr}");
    assert_eq!(fixture.files(), ["btc.parquet"]);
}
