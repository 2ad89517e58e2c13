//! Holes that are being closed: which times of which series shall become known, and the workers that see to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::fill::{FillError, Filler};
use crate::clock::Clock;
use crate::model::{
    CandleUpdate, Coverage, CoveredRange, Instrument, Interval, Knowledge, MarketEvent, Series, TimeRange, Timestamp,
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
    /// What can wait until a time: then it is asked for together.
    later: HashMap<(Series, Waits), Later>,
    /// How many ranges are being asked for now.
    under_way: usize,
}

/// Why something can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waits {
    /// Nothing happened in it.
    Quiet,
    /// It is known, and the exchange's REST interface does not show yet how it changed: its start.
    Changed(Timestamp),
}

struct Later {
    instrument: Arc<Instrument>,
    ranges: Coverage,
    due: Timestamp,
}

struct Want {
    instrument: Arc<Instrument>,
    ranges: Coverage,
    /// Known times that the exchange has changed.
    again: Coverage,
    /// The part of `ranges` whose candles subscribers wait for.
    announce: Coverage,
    backoff: Backoff,
    /// After a failure: not before then.
    not_before: Timestamp,
}

impl Holes {
    /// Asks for `range` of a 1m series.
    pub fn want(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange) {
        self.add(series, instrument, |want| want.ranges.add(part(range)));
    }

    /// Asks for `range` of a 1m series, whose candles are told to subscribers when they are there.
    pub fn announce(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange) {
        self.add(series, instrument, |want| {
            want.ranges.add(part(range));
            want.announce.add(part(range));
        });
    }

    /// The same, not before `due`, or when something else of the series is asked for: then one question asks for all that
    /// waits.
    pub fn announce_later(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange, due: Timestamp) {
        self.wait(series, Waits::Quiet, instrument, range, due);
    }

    /// Asks for `range` of a 1m series at `due` even if it is known: the exchange has changed it.
    pub fn want_again(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange, due: Timestamp) {
        self.wait(series, Waits::Changed(range.start()), instrument, range, due);
    }

    fn wait(&self, series: Series, waits: Waits, instrument: &Arc<Instrument>, range: TimeRange, due: Timestamp) {
        let mut state = self.state.lock();
        let new = || Later { instrument: Arc::clone(instrument), ranges: Coverage::default(), due };
        let later = state.later.entry((series, waits)).or_insert_with(new);
        later.ranges.add(part(range));
        later.due = later.due.min(due);
        drop(state);
        self.woken.notify_one();
    }

    /// Nobody wants to know any more.
    pub fn forget(&self, series: &Series) {
        let mut state = self.state.lock();
        state.wanted.remove(series);
        state.later.retain(|(other, _), _| other != series);
        state.turns.retain(|other| other != series);
    }

    fn add(&self, series: Series, instrument: &Arc<Instrument>, add: impl FnOnce(&mut Want)) {
        let want = Want {
            instrument: Arc::clone(instrument),
            ranges: Coverage::default(),
            again: Coverage::default(),
            announce: Coverage::default(),
            backoff: Backoff::new(Duration::from_secs(1), MAX_PAUSE),
            not_before: Timestamp::EPOCH,
        };
        self.merge(series, want, add);
    }

    fn merge(&self, series: Series, new: Want, add: impl FnOnce(&mut Want)) {
        let mut state = self.state.lock();
        let State { turns, wanted, later, .. } = &mut *state;
        let waiting = later.remove(&(series.clone(), Waits::Quiet));
        let want = wanted.entry(series.clone()).or_insert_with(|| {
            turns.push_back(series);
            new
        });
        if let Some(waiting) = waiting {
            want.add_together(&waiting.ranges);
        }
        add(want);
        drop(state);
        self.woken.notify_one();
    }

    /// How many ranges are not known yet.
    pub fn waiting(&self) -> usize {
        let state = self.state.lock();
        let later = state.later.values().map(|later| later.ranges.ranges().len()).sum::<usize>();
        state.under_way + later + state.wanted.values().map(Want::len).sum::<usize>()
    }

    /// The next series whose turn it is, in the order of asking.
    async fn next(&self, clock: &Clock) -> (Series, Want) {
        loop {
            let woken = self.woken.notified();
            self.ripen(clock.now());
            let wait;
            {
                let (mut state, now) = (self.state.lock(), clock.now());
                let State { turns, wanted, later, under_way } = &mut *state;
                let due = |series: &Series| wanted.get(series).map_or(Timestamp::EPOCH, |want| want.not_before);
                let ripe = turns.iter().position(|series| due(series) <= now);
                if let Some(series) = ripe.and_then(|index| turns.remove(index)) {
                    let Some(want) = wanted.remove(&series) else { continue };
                    *under_way += want.len();
                    if !turns.is_empty() {
                        self.woken.notify_one();
                    }
                    return (series, want);
                }
                wait = turns.iter().map(due).chain(later.values().map(|later| later.due)).min();
            }
            let ripens = async {
                match wait {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = woken => {}
                () = ripens => {}
            }
        }
    }

    /// What could wait until now is asked for.
    fn ripen(&self, now: Timestamp) {
        let mut due = Vec::new();
        self.state.lock().later.retain(|series, later| {
            let is_due = later.due <= now;
            if is_due {
                due.push((series.clone(), Arc::clone(&later.instrument), later.ranges.clone()));
            }
            !is_due
        });
        for ((series, waits), instrument, ranges) in due {
            self.add(series, &instrument, |want| match waits {
                Waits::Quiet => want.add_together(&ranges),
                Waits::Changed(_) => ranges.ranges().iter().for_each(|range| want.again.add(*range)),
            });
        }
    }

    /// Puts back what could not be done, to be tried again.
    fn put_back(&self, series: Series, failed: Want) {
        let Want { ranges, again, announce, not_before, .. } = &failed;
        let (ranges, again, announce, not_before) = (ranges.clone(), again.clone(), announce.clone(), *not_before);
        let empty =
            Want { ranges: Coverage::default(), again: Coverage::default(), announce: Coverage::default(), ..failed };
        self.merge(series, empty, |want| {
            ranges.ranges().iter().for_each(|range| want.ranges.add(*range));
            again.ranges().iter().for_each(|range| want.again.add(*range));
            announce.ranges().iter().for_each(|range| want.announce.add(*range));
            want.not_before = not_before;
        });
    }
}

impl Want {
    /// Asks for `ranges` in one question, and announces their candles: what lies between is known or asked for anyway.
    fn add_together(&mut self, ranges: &Coverage) {
        let ranges = ranges.ranges();
        if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
            self.ranges.add(part(TimeRange::new(first.range.start(), last.range.end())));
        }
        for range in ranges {
            self.announce.add(*range);
        }
    }

    fn len(&self) -> usize {
        self.ranges.ranges().len() + self.again.ranges().len()
    }
}

/// Closes holes one after another, for ever. Candles that subscribers wait for go to `announce`.
pub async fn work(holes: Arc<Holes>, filler: Arc<Filler>, announce: mpsc::Sender<MarketEvent>) {
    let clock: Clock = filler.clock.clone();
    loop {
        let (series, mut want) = holes.next(&clock).await;
        let asked = want.len();
        let failure = close(&filler, &series, &mut want, &announce).await;
        holes.state.lock().under_way -= asked;
        let Some(error) = failure else { continue };
        let (done, now) = (want.ranges.ranges().is_empty() && want.again.ranges().is_empty(), clock.now());
        let named = error.retry_at().map_or(Duration::ZERO, |at| at.since(now));
        let pause = match error {
            _ if done => Duration::MAX,
            // A later candle makes it worth asking before the time that was named.
            FillError::Late { .. } => named.clamp(Duration::from_secs(1), MAX_PAUSE),
            _ => want.backoff.next(&clock).max(named),
        };
        // What closes only now is no failure.
        if !matches!(error, FillError::Late { .. }) {
            FillFailed { series: &series, exchange: series.exchange, error: &error, pause }.emit();
        }
        if done {
            continue;
        }
        want.not_before = now + pause;
        holes.put_back(series, want);
    }
}

/// Which state a wanted range has does not matter: the ledger's algebra is used to join them.
fn part(range: TimeRange) -> CoveredRange {
    CoveredRange { range, state: Knowledge::Unavailable }
}

/// Closes the holes of one series, and takes out of `want` what is done or can never be. Returns the first failure.
async fn close(
    filler: &Filler,
    series: &Series,
    want: &mut Want,
    announce: &mpsc::Sender<MarketEvent>,
) -> Option<FillError> {
    let mut failure: Option<FillError> = None;
    let (ranges, again) = (std::mem::take(&mut want.ranges), std::mem::take(&mut want.again));
    for part in ranges.ranges() {
        // Where the exchange cannot be asked at all, the rest waits; where its answer means nothing, the rest may do.
        if failure.as_ref().is_some_and(FillError::is_general) {
            want.ranges.add(*part);
            continue;
        }
        match filler.fill(series, &want.instrument, part.range).await {
            Ok(()) => {
                for told in want.announce.within(part.range).ranges() {
                    tell(&*filler.store, series, told.range, announce).await;
                }
            }
            Err(error) => {
                if !error.is_final() {
                    want.ranges.add(*part);
                }
                failure = Some(first(failure, error));
            }
        }
    }
    for part in again.ranges() {
        if failure.as_ref().is_some_and(FillError::is_general) {
            want.again.add(*part);
        } else if let Err(error) = filler.fetch_again(series, &want.instrument, part.range).await {
            if !error.is_final() {
                want.again.add(*part);
            }
            failure = Some(first(failure, error));
        }
    }
    failure
}

/// The failure to tell of: that something closes only now is none.
fn first(earlier: Option<FillError>, error: FillError) -> FillError {
    earlier.filter(|earlier| !matches!(earlier, FillError::Late { .. })).unwrap_or(error)
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
            status: crate::model::InstrumentStatus::Trading,
        };
        (Series { exchange: ExchangeId::Kraken, symbol, interval: Interval::M1 }, Arc::new(instrument))
    }

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    fn ranges(want: &Want) -> Vec<TimeRange> {
        want.ranges.ranges().iter().map(|known| known.range).collect()
    }

    #[tokio::test]
    async fn holes_of_a_series_become_one_question() {
        let (holes, clock) = (Holes::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        let (eth, other) = series("ETH/USD");
        holes.want(btc.clone(), &instrument, minutes(0, 1));
        holes.want(eth.clone(), &other, minutes(0, 1));
        holes.announce(btc.clone(), &instrument, minutes(1, 2));
        let (next, want) = holes.next(&clock).await;
        assert_eq!((next, ranges(&want)), (btc.clone(), vec![minutes(0, 2)]));
        assert_eq!(want.announce.ranges().iter().map(|told| told.range).collect::<Vec<_>>(), [minutes(1, 2)]);
        // What fails comes back, joined with what was asked for meanwhile, behind the others.
        holes.want(btc.clone(), &instrument, minutes(2, 3));
        holes.put_back(btc.clone(), want);
        assert_eq!(holes.next(&clock).await.0, eth);
        let (again, want) = holes.next(&clock).await;
        assert_eq!((again, ranges(&want)), (btc, vec![minutes(0, 3)]));
    }

    #[tokio::test]
    async fn what_can_wait_is_asked_for_together() {
        let (holes, clock) = (Holes::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        holes.announce_later(btc.clone(), &instrument, minutes(0, 1), Timestamp::from_secs(300));
        holes.announce_later(btc.clone(), &instrument, minutes(2, 4), Timestamp::from_secs(300));
        assert_eq!(holes.waiting(), 2);
        let mut next = std::pin::pin!(holes.next(&clock));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        clock.advance(Duration::from_mins(5)).await;
        let (_, want) = next.await;
        assert_eq!(ranges(&want), [minutes(0, 4)], "one question");
        assert_eq!(want.announce.ranges().len(), 2);
        // Or with the next question of the same series.
        holes.announce_later(btc.clone(), &instrument, minutes(5, 6), Timestamp::from_secs(900));
        holes.announce(btc.clone(), &instrument, minutes(7, 8));
        let (_, want) = holes.next(&clock).await;
        assert_eq!(ranges(&want), [minutes(5, 6), minutes(7, 8)]);
        holes.announce_later(btc.clone(), &instrument, minutes(8, 9), Timestamp::from_secs(900));
        holes.forget(&btc);
        assert_eq!(holes.waiting(), 3, "those under way");
    }

    #[tokio::test]
    async fn what_failed_waits_and_holds_nobody_up() {
        let (holes, clock) = (Holes::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        let (eth, other) = series("ETH/USD");
        holes.want(btc.clone(), &instrument, minutes(0, 1));
        let (_, mut want) = holes.next(&clock).await;
        want.not_before = Timestamp::from_secs(30);
        holes.put_back(btc.clone(), want);
        holes.want(eth.clone(), &other, minutes(0, 1));
        assert_eq!(holes.next(&clock).await.0, eth);
        let mut next = std::pin::pin!(holes.next(&clock));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        clock.advance(Duration::from_secs(30)).await;
        assert_eq!(next.await.0, btc.clone());
        holes.want(btc.clone(), &instrument, minutes(0, 1));
        holes.forget(&btc);
        assert!(futures_util::poll!(std::pin::pin!(holes.next(&clock))).is_pending());
    }
}
