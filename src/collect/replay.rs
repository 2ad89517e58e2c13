//! Tests that the same events, processed twice, give the same rows byte for byte.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::derive::{DeriveMode, derive_candles};
use super::finalizer::{CandleFinalizer, CandleOutcome};
use super::writer::Writer;
use crate::clock::Clock;
use crate::exchanges::MinuteCandles;
use crate::model::{
    Candle, CoverageState, CoveredRange, ExchangeId, Interval, Series, Side, TimeRange, Timestamp, Trade, wire,
};
use crate::store::sqlite::SqliteStore;
use crate::store::{CandleStore, SeriesWrite, Take};

const MINUTES: u32 = 120;

fn series(interval: Interval) -> Series {
    Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().unwrap(), interval }
}

fn range() -> TimeRange {
    let start = Timestamp::from_millis(1_763_672_400_000);
    TimeRange::new(start, start + Duration::from_mins(MINUTES.into()))
}

/// 1m candles with changing prices.
fn minute_candles() -> impl Iterator<Item = Candle> {
    Interval::M1.open_times(range()).zip(1_i64..).map(|(timestamp, count)| {
        let price = |step: i64| Decimal::new(6_700_000 + (count * 7_919 + step * 104_729) % 5_000, 2);
        let (open, close) = (price(0), price(1));
        Candle {
            timestamp,
            open,
            high: open.max(close) + Decimal::ONE,
            low: open.min(close) - Decimal::ONE,
            close,
            volume: Decimal::new(count * 31 % 977 + 1, 5),
            quote_volume: None,
            trades: None,
            closed: true,
            revision: 0,
        }
    })
}

/// Processes events with the finalizer, the derivation and the writer, into `store`.
async fn replay(store: &Arc<dyn CandleStore>, source: MinuteCandles) {
    let clock = Clock::manual(range().start());
    let (written, mut batches) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let (writer, writer_task) =
        Writer::new(ExchangeId::BINANCE, Arc::clone(store), 100_000, clock.clone(), written, stop.clone());
    let writer_task = tokio::spawn(writer_task);
    let drained = tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let mut finalizer = CandleFinalizer::new(source, range().start());
    finalizer.stream_complete_from(range().start());
    let mut outcomes = Vec::new();
    for closed_candle in minute_candles() {
        let at = |secs| closed_candle.timestamp + Duration::from_secs(secs);
        let (symbol, id) = (series(Interval::M1).symbol, closed_candle.timestamp.to_string().into());
        let (price, amount, side) = (closed_candle.open, closed_candle.volume, Side::Buy);
        let trade = Trade {
            exchange: ExchangeId::BINANCE,
            symbol,
            id,
            price,
            amount,
            side,
            timestamp: closed_candle.timestamp,
        };
        finalizer.on_trade(&trade, at(1), &mut outcomes);
        finalizer.on_candle(Candle { closed: false, ..closed_candle }, at(30), &mut outcomes);
        if source == MinuteCandles::Flagged {
            finalizer.on_candle(closed_candle, at(60), &mut outcomes);
        }
        finalizer.on_clock(at(63), Some(at(63)), &mut outcomes);
    }
    for outcome in outcomes {
        let (candles, known) = match outcome {
            CandleOutcome::Closed { candle, observed: true } => (vec![candle], Interval::M1.span(candle.timestamp)),
            CandleOutcome::Empty(minute) => (Vec::new(), minute),
            CandleOutcome::Updated(_) => continue,
            other => panic!("unexpected outcome: {other:?}"),
        };
        let state = if candles.is_empty() { CoverageState::Empty } else { CoverageState::Observed };
        let claims = vec![CoveredRange { range: known, state }];
        writer.write(SeriesWrite { series: series(Interval::M1), candles, claims }).await.unwrap();
    }
    for interval in [Interval::M5, Interval::H1] {
        for write in
            derive_candles(&**store, &series(interval), Interval::M1, range(), DeriveMode::Rederive).await.unwrap()
        {
            writer.write(write).await.unwrap();
        }
    }
    drop(writer);
    writer_task.await.unwrap();
    drained.await.unwrap();
}

/// All rows and the coverage ledger, as bytes.
async fn dump(store: &Arc<dyn CandleStore>) -> Vec<u8> {
    let mut out = Vec::new();
    for interval in [Interval::M1, Interval::M5, Interval::H1] {
        for candle in store.candles(&series(interval), range(), Take::First(u32::MAX)).await.unwrap() {
            wire::candle_fields(&mut out, &candle);
        }
        for known in store.coverage(&series(interval), range()).await.unwrap().ranges() {
            wire::covered_range(&mut out, known);
        }
    }
    out
}

#[tokio::test]
async fn same_events_give_same_rows() {
    for source in [MinuteCandles::Flagged, MinuteCandles::Unflagged, MinuteCandles::FromTrades] {
        let store = async || Arc::new(SqliteStore::in_memory().await.unwrap()) as Arc<dyn CandleStore>;
        let (first, second) = (store().await, store().await);
        replay(&first, source).await;
        let rows = dump(&first).await;
        assert!(rows.len() > 10_000, "{source:?}: {}", rows.len());
        replay(&second, source).await;
        assert_eq!(dump(&second).await, rows, "{source:?}: into another store");
        replay(&first, source).await;
        assert_eq!(dump(&first).await, rows, "{source:?}: over existing rows");
    }
}
