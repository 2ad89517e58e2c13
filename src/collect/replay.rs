//! The same events twice give the same rows, to the byte.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::closing::{Closing, Outcome};
use super::derive::{Purpose, derive};
use super::writer::Writer;
use crate::clock::Clock;
use crate::exchanges::MinuteCandles;
use crate::model::{
    Candle, CoveredRange, ExchangeId, Interval, Knowledge, Series, Side, TimeRange, Timestamp, Trade, wire,
};
use crate::store::sqlite::SqliteStore;
use crate::store::{CandleStore, SeriesWrite, Take};

const MINUTES: u32 = 120;

fn series(interval: Interval) -> Series {
    Series { exchange: ExchangeId::Binance, symbol: "BTC/USDT".parse().unwrap(), interval }
}

fn range() -> TimeRange {
    let start = Timestamp::from_millis(1_763_672_400_000);
    TimeRange::new(start, start + Duration::from_mins(MINUTES.into()))
}

/// The minutes of a market that walks.
fn minutes_of_a_market() -> impl Iterator<Item = Candle> {
    Interval::M1.opens(range()).zip(1_i64..).map(|(timestamp, count)| {
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

/// Lets events pass through what closes, writes and derives, into `store`.
async fn replay(store: &Arc<dyn CandleStore>, minutes: MinuteCandles) {
    let clock = Clock::manual(range().start());
    let (written, mut batches) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let (writer, writing) =
        Writer::new(ExchangeId::Binance, Arc::clone(store), 100_000, clock.clone(), written, stop.clone());
    let writing = tokio::spawn(writing);
    let seen = tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let mut closing = Closing::new(minutes, range().start());
    closing.confirmed(range().start());
    let mut outcomes = Vec::new();
    for whole in minutes_of_a_market() {
        let at = |secs| whole.timestamp + Duration::from_secs(secs);
        let (symbol, id) = (series(Interval::M1).symbol, whole.timestamp.to_string().into());
        let (price, amount, side) = (whole.open, whole.volume, Side::Buy);
        let trade =
            Trade { exchange: ExchangeId::Binance, symbol, id, price, amount, side, timestamp: whole.timestamp };
        closing.trade(&trade, at(1), &mut outcomes);
        closing.candle(Candle { closed: false, ..whole }, at(30), &mut outcomes);
        if minutes == MinuteCandles::Flagged {
            closing.candle(whole, at(60), &mut outcomes);
        }
        closing.clock(at(63), Some(at(63)), &mut outcomes);
    }
    for outcome in outcomes {
        let (candles, known) = match outcome {
            Outcome::Closed { candle, observed: true } => (vec![candle], Interval::M1.span(candle.timestamp)),
            Outcome::Empty(minute) => (Vec::new(), minute),
            Outcome::Updated(_) => continue,
            other => panic!("nothing was lost: {other:?}"),
        };
        let state = if candles.is_empty() { Knowledge::Empty } else { Knowledge::Observed };
        let claims = vec![CoveredRange { range: known, state }];
        writer.write(SeriesWrite { series: series(Interval::M1), candles, claims }).await.unwrap();
    }
    for interval in [Interval::M5, Interval::H1] {
        for write in derive(&**store, &series(interval), Interval::M1, range(), Purpose::Again).await.unwrap() {
            writer.write(write).await.unwrap();
        }
    }
    drop(writer);
    writing.await.unwrap();
    seen.await.unwrap();
}

/// All rows and the ledger, as bytes.
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
async fn the_same_events_twice_give_the_same_rows() {
    for minutes in [MinuteCandles::Flagged, MinuteCandles::Unflagged, MinuteCandles::FromTrades] {
        let store = async || Arc::new(SqliteStore::in_memory().await.unwrap()) as Arc<dyn CandleStore>;
        let (once, again) = (store().await, store().await);
        replay(&once, minutes).await;
        let rows = dump(&once).await;
        assert!(rows.len() > 10_000, "{minutes:?}: {}", rows.len());
        replay(&again, minutes).await;
        assert_eq!(dump(&again).await, rows, "{minutes:?}: into another store");
        replay(&once, minutes).await;
        assert_eq!(dump(&once).await, rows, "{minutes:?}: over what is there");
    }
}
