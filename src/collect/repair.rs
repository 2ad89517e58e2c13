//! Holes that are being closed: which times of which series shall become known, and the workers that see to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::fill::{FillError, Filler};
use crate::clock::Clock;
use crate::model::{
    CandleUpdate, Coverage, CoveredRange, Instrument, Interval, Knowledge, MarketEvent, Series, TimeRange,
};
use crate::store::{CandleStore, Take};
use crate::telemetry::collect::FillFailed;
use crate::upstream::Backoff;

/// How many series are repaired at the same time; the exchange's budget sets the pace.
pub const WORKERS: usize = 4;

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The times that shall become known. Asking twice for the same is asking once; neighbours become one question.
#[derive(Default)]
pub struct Holes {
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Default)]
struct State {
    turns: VecDeque<Series>,
    wanted: HashMap<Series, Want>,
}

struct Want {
    instrument: Arc<Instrument>,
    ranges: Coverage,
    /// Known times that the exchange has changed.
    again: Coverage,
    /// Whether subscribers wait for these candles.
    announce: bool,
    backoff: Backoff,
}

impl Holes {
    /// Asks for `range` of a 1m series. With `announce`, the candles are told to subscribers when they are there.
    pub fn want(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange, announce: bool) {
        self.add(series, instrument, |want| {
            want.ranges.add(part(range));
            want.announce |= announce;
        });
    }

    /// Asks for `range` of a 1m series even if it is known: the exchange has changed it.
    pub fn want_again(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange) {
        self.add(series, instrument, |want| want.again.add(part(range)));
    }

    fn add(&self, series: Series, instrument: &Arc<Instrument>, add: impl FnOnce(&mut Want)) {
        let mut state = self.state.lock();
        let State { turns, wanted } = &mut *state;
        add(wanted.entry(series.clone()).or_insert_with(|| {
            turns.push_back(series);
            Want {
                instrument: Arc::clone(instrument),
                ranges: Coverage::default(),
                again: Coverage::default(),
                announce: false,
                backoff: Backoff::new(Duration::from_secs(1), MAX_PAUSE),
            }
        }));
        drop(state);
        self.woken.notify_one();
    }

    async fn next(&self) -> (Series, Want) {
        loop {
            let woken = self.woken.notified();
            {
                let mut state = self.state.lock();
                if let Some(series) = state.turns.pop_front()
                    && let Some(want) = state.wanted.remove(&series)
                {
                    if !state.turns.is_empty() {
                        self.woken.notify_one();
                    }
                    return (series, want);
                }
            }
            woken.await;
        }
    }

    /// Puts back what could not be done, to be tried again.
    fn put_back(&self, series: Series, failed: Want) {
        let mut state = self.state.lock();
        let State { turns, wanted } = &mut *state;
        let want = wanted.entry(series.clone()).or_insert_with(|| {
            turns.push_back(series);
            Want { ranges: Coverage::default(), again: Coverage::default(), announce: false, ..failed }
        });
        failed.ranges.ranges().iter().for_each(|range| want.ranges.add(*range));
        failed.again.ranges().iter().for_each(|range| want.again.add(*range));
        want.announce |= failed.announce;
        drop(state);
        self.woken.notify_one();
    }
}

/// Closes holes one after another, for ever. Candles that subscribers wait for go to `announce`.
pub async fn work(holes: Arc<Holes>, filler: Arc<Filler>, announce: mpsc::Sender<MarketEvent>) {
    let clock: Clock = filler.clock.clone();
    loop {
        let (series, mut want) = holes.next().await;
        let failure = close(&filler, &series, &want).await.err();
        if want.announce {
            for known in want.ranges.ranges() {
                tell(&*filler.store, &series, known.range, &announce).await;
            }
        }
        let Some(error) = failure else { continue };
        if error.is_final() {
            FillFailed { series: &series, exchange: series.exchange, error: &error, pause: Duration::MAX }.emit();
            continue;
        }
        let now = clock.now();
        let pause = want.backoff.next(&clock).max(error.retry_at(now).map_or(Duration::ZERO, |at| at.since(now)));
        // What closes only now is no failure.
        if !matches!(error, FillError::Late) {
            FillFailed { series: &series, exchange: series.exchange, error: &error, pause }.emit();
        }
        // Only this worker waits; the others go on with other series.
        clock.sleep(pause).await;
        holes.put_back(series, want);
    }
}

/// Which state a wanted range has does not matter: the ledger's algebra is used to join them.
fn part(range: TimeRange) -> CoveredRange {
    CoveredRange { range, state: Knowledge::Unavailable }
}

async fn close(filler: &Filler, series: &Series, want: &Want) -> Result<(), FillError> {
    for known in want.ranges.ranges() {
        filler.fill(series, &want.instrument, known.range).await?;
    }
    for known in want.again.ranges() {
        filler.fetch_again(series, &want.instrument, known.range).await?;
    }
    Ok(())
}

/// Tells subscribers the stored candles of a range that the stream could not vouch for.
async fn tell(store: &dyn CandleStore, series: &Series, range: TimeRange, announce: &mpsc::Sender<MarketEvent>) {
    // A long interruption is history: subscribers were told of the gap and read it from there.
    let recent = TimeRange::new(range.start().max(Interval::M1.back(range.end(), 60)), range.end());
    let Ok(candles) = store.candles(series, recent, Take::Last(60)).await else { return };
    for candle in candles {
        let update = CandleUpdate { series: series.clone(), candle };
        if announce.send(MarketEvent::Candle(update)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExchangeId, Timestamp};

    fn series(symbol: &str) -> (Series, Arc<Instrument>) {
        let symbol: crate::model::Symbol = symbol.parse().unwrap();
        let instrument = Instrument {
            exchange: ExchangeId::Kraken,
            symbol: symbol.clone(),
            native: symbol.dashed(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            active: true,
        };
        (Series { exchange: ExchangeId::Kraken, symbol, interval: Interval::M1 }, Arc::new(instrument))
    }

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    #[tokio::test]
    async fn holes_of_a_series_become_one_question() {
        let holes = Holes::default();
        let (btc, instrument) = series("BTC/USD");
        let (eth, other) = series("ETH/USD");
        holes.want(btc.clone(), &instrument, minutes(0, 1), false);
        holes.want(eth.clone(), &other, minutes(0, 1), false);
        holes.want(btc.clone(), &instrument, minutes(1, 2), true);
        let (first, want) = holes.next().await;
        assert_eq!((first, want.announce), (btc.clone(), true));
        assert_eq!(want.ranges.ranges().iter().map(|known| known.range).collect::<Vec<_>>(), [minutes(0, 2)]);
        // What fails comes back, joined with what was asked for meanwhile, behind the others.
        holes.want(btc.clone(), &instrument, minutes(2, 3), false);
        holes.put_back(btc.clone(), want);
        assert_eq!(holes.next().await.0, eth);
        let (again, want) = holes.next().await;
        assert_eq!((again, want.announce), (btc, true));
        assert_eq!(want.ranges.ranges()[0].range, minutes(0, 3));
    }
}
