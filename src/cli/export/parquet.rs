//! Apache Parquet output: exact decimals, and the coverage in the file metadata.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::builder::{Decimal128Builder, Int32Builder, Int64Builder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use rust_decimal::Decimal;

use super::partial_file::PartialFile;
use super::report::Report;
use crate::model::Candle;

/// Decimal precision and scale of a number column.
const PRECISION: u8 = 38;
const SCALE: u8 = 18;

/// Rows per row group, which is encoded in memory before it is written.
const GROUP_ROWS: usize = 65_536;

/// Maximum dictionary size. A column with more distinct values is written without one, because it would take most of
/// the memory.
const DICTIONARY_BYTES: usize = 128 * 1024;

/// The column that readers filter by.
const TIMESTAMP: &str = "timestamp";

/// The decimal columns, in order.
const NUMBERS: [&str; 6] = ["open", "high", "low", "close", "volume", "quote_volume"];

/// Writes candles to a Parquet file.
pub(super) struct ParquetWriter {
    partial_file: PartialFile,
    writer: ArrowWriter<File>,
    schema: SchemaRef,
}

impl ParquetWriter {
    pub fn new(partial_file: PartialFile) -> anyhow::Result<Self> {
        let schema = Arc::new(schema());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            // Statistics of decimal columns would keep each batch in memory until the end of the file.
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_statistics_enabled(ColumnPath::from(TIMESTAMP), EnabledStatistics::Page)
            .set_created_by(concat!("candlewick ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(partial_file.file()?, Arc::clone(&schema), Some(properties))
            .with_context(|| partial_file.write_error())?;
        Ok(Self { partial_file, writer, schema })
    }

    pub fn partial_file(&self) -> &PartialFile {
        &self.partial_file
    }

    pub fn write(&mut self, candles: &[Candle]) -> anyhow::Result<()> {
        let batch = batch(&self.schema, candles)?;
        self.writer.write(&batch).with_context(|| self.partial_file.write_error())
    }

    pub fn finish(mut self, report: &Report) -> anyhow::Result<()> {
        let series = &report.series;
        let mut coverage = vec![b'{'];
        report.coverage_fields(&mut coverage);
        coverage.push(b'}');
        let coverage = String::from_utf8(coverage).context("the coverage is not valid UTF-8")?;
        let metadata = [
            ("exchange", series.exchange.to_string()),
            ("symbol", series.symbol.to_string()),
            ("interval", series.interval.to_string()),
            ("start", report.range.start().to_string()),
            ("end", report.range.end().to_string()),
            ("created_at", report.created_at.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("coverage", coverage),
        ];
        for (key, value) in metadata {
            self.writer.append_key_value_metadata(KeyValue::new(format!("candlewick.{key}"), value));
        }
        self.writer.close().with_context(|| self.partial_file.write_error())?;
        self.partial_file.publish()
    }
}

fn schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![Field::new(TIMESTAMP, time, false)];
    let number = DataType::Decimal128(PRECISION, SCALE.cast_signed());
    fields.extend(NUMBERS.map(|name| Field::new(name, number.clone(), name == "quote_volume")));
    fields.push(Field::new("trades", DataType::Int64, true));
    fields.push(Field::new("revision", DataType::Int32, false));
    Schema::new(fields)
}

fn batch(schema: &SchemaRef, candles: &[Candle]) -> anyhow::Result<RecordBatch> {
    let mut times = TimestampMillisecondBuilder::with_capacity(candles.len()).with_timezone("UTC");
    let number = || -> anyhow::Result<Decimal128Builder> {
        Ok(Decimal128Builder::with_capacity(candles.len()).with_precision_and_scale(PRECISION, SCALE.cast_signed())?)
    };
    let mut numbers = [number()?, number()?, number()?, number()?, number()?, number()?];
    let mut trades = Int64Builder::with_capacity(candles.len());
    let mut revisions = Int32Builder::with_capacity(candles.len());
    for candle in candles {
        times.append_value(candle.timestamp.millis());
        let Candle { open, high, low, close, volume, quote_volume, .. } = *candle;
        let values = [Some(open), Some(high), Some(low), Some(close), Some(volume), quote_volume];
        for ((column, value), name) in numbers.iter_mut().zip(values).zip(NUMBERS) {
            let exact = value.map(|value| unscaled(value).with_context(|| overflow_message(candle, name, value)));
            column.append_option(exact.transpose()?);
        }
        let count = candle.trades.map(i64::try_from).transpose();
        trades.append_option(count.with_context(|| format!("the trades of {}", candle.timestamp))?);
        let revision = i32::try_from(candle.revision);
        revisions.append_value(revision.with_context(|| format!("the revision of {}", candle.timestamp))?);
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times.finish())];
    columns.extend(numbers.map(|mut column| Arc::new(column.finish()) as ArrayRef));
    columns.push(Arc::new(trades.finish()));
    columns.push(Arc::new(revisions.finish()));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The unscaled decimal; `None` if the number does not fit precision and scale.
fn unscaled(value: Decimal) -> Option<i128> {
    const LIMIT: i128 = 10_i128.pow(PRECISION as u32);
    let value = value.normalize();
    let shift = u32::from(SCALE).checked_sub(value.scale())?;
    let units = value.mantissa().checked_mul(10_i128.pow(shift))?;
    (-LIMIT < units && units < LIMIT).then_some(units)
}

fn overflow_message(candle: &Candle, name: &str, value: Decimal) -> String {
    format!(
        "`{name}` of the candle at {} is {value}: more digits than Parquet's decimal({PRECISION}, {SCALE}) can hold; use csv or \
         ndjson",
        candle.timestamp
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Option<i128> {
        unscaled(text.parse().unwrap())
    }

    #[test]
    fn scales_exactly_or_rejects() {
        assert_eq!(exact("67012.34"), Some(67_012_340_000_000_000_000_000));
        assert_eq!(exact("-0.000000000000000001"), Some(-1));
        assert_eq!(exact("1.0000000000000000000"), Some(10_i128.pow(18)), "trailing zeros do not count");
        assert_eq!(exact("0.0000000000000000001"), None);
        assert_eq!(exact("99999999999999999999"), Some(99_999_999_999_999_999_999 * 10_i128.pow(18)));
        assert_eq!(exact("100000000000000000000"), None);
        assert_eq!(exact("79228162514264337593543950335"), None);
    }
}
