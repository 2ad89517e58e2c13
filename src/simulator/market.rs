//! The simulated market: a function of seed, symbol and time. REST serves any part of its history, and the history
//! agrees with what the streams have published.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, RwLock};
use rust_decimal::Decimal;

use crate::model::{Candle, ExchangeId, Interval, PerExchange, Symbol, TimeRange, Timestamp};

use super::catalog::Listing;
use super::noise::{self, SeededRng};
use super::trades::{
    Bar, CORRECTION_DELAY, FIRST_MINUTE, LATE_TRADE_DELAY, MINUTE, Trade, minute_trades, minute_trades_between,
    price_at,
};

const MINUTES_PER_HOUR: i64 = 60;
const MINUTES_PER_DAY: i64 = 1_440;
/// Maximum number of cached hourly bars, about 10 MB.
const MAX_CACHED_HOURS: usize = 65_536;

/// Reference data of all simulated exchanges.
#[derive(Debug)]
pub struct Market {
    listings: Vec<Listing>,
    /// Indices of the listings, by exchange.
    by_exchange: PerExchange<Vec<usize>>,
    /// Indices of the listings by every name that the exchange accepts, by exchange.
    by_name: PerExchange<HashMap<String, usize>>,
    /// By exchange: when late trades change the candles that close, and by how many milliseconds a trade is late.
    late: RwLock<Vec<(ExchangeId, TimeRange, i64)>>,
    /// Cached bars of settled hours, by listing and hour since the epoch.
    hours: Mutex<HashMap<(usize, i64), Option<Bar>>>,
    /// Indices of delisted markets.
    delisted: RwLock<HashSet<usize>>,
    /// By listing: a minute, and the bar of the 24 hours before it.
    days: Mutex<HashMap<usize, (i64, Option<Bar>)>>,
}

/// Best bid and ask. Prices in ticks, sizes in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopOfBook {
    /// Update id, increasing.
    pub update: i64,
    pub bid: i64,
    pub bid_size: i64,
    pub ask: i64,
    pub ask_size: i64,
}

/// Statistics of the last 24 hours.
#[derive(Clone, Copy, Debug)]
pub struct DayStatistics {
    /// Start of the window, on a minute, in Unix milliseconds.
    pub start: i64,
    /// Last price before the window, in ticks.
    pub previous_price: i64,
    pub bar: Bar,
    pub last_amount: i64,
}

impl Market {
    /// The market with these listings.
    pub(super) fn from_listings(listings: Vec<Listing>) -> Self {
        let mut by_exchange: PerExchange<Vec<usize>> = PerExchange::default();
        let mut by_name: PerExchange<HashMap<String, usize>> = PerExchange::default();
        for listing in &listings {
            by_exchange[listing.exchange].push(listing.index);
            let by_name = &mut by_name[listing.exchange];
            by_name.insert(listing.native.to_owned(), listing.index);
            for name in (listing.catalog.other_names)(listing) {
                by_name.entry(name).or_insert(listing.index);
            }
        }
        Self {
            listings,
            by_exchange,
            by_name,
            late: RwLock::default(),
            delisted: RwLock::default(),
            hours: Mutex::default(),
            days: Mutex::default(),
        }
    }

    /// The current listing of an exchange.
    pub fn listings(&self, exchange: ExchangeId) -> impl Iterator<Item = &Listing> {
        let delisted = self.delisted.read().clone();
        let all = self.by_exchange[exchange].iter().map(|index| &self.listings[*index]);
        all.filter(move |listing| !delisted.contains(&listing.index))
    }

    /// A listed market by its id or another name that the exchange accepts.
    pub(super) fn find_by_name(&self, exchange: ExchangeId, name: &str) -> Option<&Listing> {
        self.listing(*self.by_name[exchange].get(name)?)
    }

    /// A listed market by its index.
    pub(super) fn listing(&self, index: usize) -> Option<&Listing> {
        self.listings.get(index).filter(|_| self.is_listed(index))
    }

    fn is_listed(&self, index: usize) -> bool {
        !self.delisted.read().contains(&index)
    }

    /// Removes a market from an exchange's listing or restores it. Its history stays.
    pub(super) fn set_listed(&self, exchange: ExchangeId, symbol: &Symbol, listed: bool) {
        let found = self.listings.iter().find(|listing| listing.exchange == exchange && listing.symbol == *symbol);
        if let Some(listing) = found {
            let mut delisted = self.delisted.write();
            if listed {
                delisted.remove(&listing.index)
            } else {
                delisted.insert(listing.index)
            };
        }
    }

    /// A listed market by its symbol.
    #[must_use]
    pub fn find(&self, exchange: ExchangeId, symbol: &Symbol) -> Option<&Listing> {
        self.listings(exchange).find(|listing| listing.symbol == *symbol)
    }

    /// The final candles that open in `range`, including late trades and corrections, in ascending order and with the
    /// fields that the exchange publishes. Empty for an unknown market and before the first minute.
    #[must_use]
    pub fn candles(&self, exchange: ExchangeId, symbol: &Symbol, interval: Interval, range: TimeRange) -> Vec<Candle> {
        let is_match = |listing: &&Listing| listing.exchange == exchange && listing.symbol == *symbol;
        let Some(listing) = self.listings.iter().find(is_match) else { return Vec::new() };
        let first_open = interval.floor(Timestamp::from_millis(FIRST_MINUTE * MINUTE));
        let range = range.intersection(TimeRange::new(first_open, Timestamp::MAX));
        let candle = |open| {
            let span = interval.span(open);
            let bar = self.bar_or_flat(listing, span, i64::MAX)?;
            let fields = listing.catalog.candle_fields;
            (fields.empty_intervals || bar.trades > 0).then(|| Candle {
                timestamp: open,
                open: listing.price(bar.open).normalize(),
                high: listing.price(bar.high).normalize(),
                low: listing.price(bar.low).normalize(),
                close: listing.price(bar.close).normalize(),
                volume: listing.amount(bar.volume).normalize(),
                quote_volume: fields.quote_volume.then(|| listing.turnover(bar.turnover).normalize()),
                trades: fields.trades.then(|| bar.trades.unsigned_abs()),
                closed: true,
                revision: 0,
            })
        };
        interval.open_times(range).filter_map(candle).collect()
    }

    /// The bar of a span of whole minutes as known at `now`; without trades, a flat bar at the previous price.
    pub(super) fn bar_or_flat(&self, listing: &Listing, span: TimeRange, now: i64) -> Option<Bar> {
        let (from, to) = (span.start().millis() / MINUTE, span.end().millis() / MINUTE);
        self.bar(listing, from, to, now).or_else(|| self.last_price_before(listing, from, now).map(Bar::flat))
    }

    /// The bar of the minutes `from..to`, from the trades known at `now`. `None` without trades.
    pub(super) fn bar(&self, listing: &Listing, from: i64, to: i64, now: i64) -> Option<Bar> {
        let (mut minute, to) = (from.max(FIRST_MINUTE), to.min(now / MINUTE + 1));
        let mut sum = None;
        while minute < to {
            let next = minute + MINUTES_PER_HOUR;
            let whole_hour = minute % MINUTES_PER_HOUR == 0 && next <= to && is_settled(next, now);
            let (part, next) = if whole_hour {
                (self.hour_bar(listing, minute / MINUTES_PER_HOUR), next)
            } else {
                (Bar::sum(&self.trades(listing, minute, now)), minute + 1)
            };
            sum = Bar::join(sum, part);
            minute = next;
        }
        sum
    }

    fn hour_bar(&self, listing: &Listing, hour: i64) -> Option<Bar> {
        let key = (listing.index, hour);
        if let Some(cached) = self.hours.lock().get(&key) {
            return *cached;
        }
        let (mut sum, mut price) = (None, price_at(listing, hour * MINUTES_PER_HOUR));
        for minute in hour * MINUTES_PER_HOUR..(hour + 1) * MINUTES_PER_HOUR {
            let next = price_at(listing, minute + 1);
            let late = self.late_trade_delay(listing.exchange, minute);
            sum = Bar::join(sum, Bar::sum(&minute_trades_between(listing, minute, (price, next), late)));
            price = next;
        }
        let mut hours = self.hours.lock();
        if hours.len() >= MAX_CACHED_HOURS {
            hours.clear();
        }
        hours.insert(key, sum);
        sum
    }

    /// The trades of a minute known at `now`.
    pub(super) fn trades(&self, listing: &Listing, minute: i64, now: i64) -> Vec<Trade> {
        let mut trades = minute_trades(listing, minute, self.late_trade_delay(listing.exchange, minute));
        trades.truncate(trades.partition_point(|trade| trade.known_at <= now));
        trades
    }

    /// The trades that became known in `(after, until]`, in that order. The limits are at most two minutes apart.
    pub(super) fn trades_between(&self, listing: &Listing, after: i64, until: i64) -> Vec<Trade> {
        let mut trades = Vec::new();
        // A late trade becomes known in the minute after its own.
        for minute in after / MINUTE - 1..=until / MINUTE {
            if minute < after / MINUTE && self.late_trade_delay(listing.exchange, minute) != Some(LATE_TRADE_DELAY) {
                continue;
            }
            trades.extend(self.trades(listing, minute, until).into_iter().filter(|trade| trade.known_at > after));
        }
        trades.sort_by_key(|trade| trade.known_at);
        trades
    }

    /// Delay of a minute's late trade in milliseconds, if it has one.
    fn late_trade_delay(&self, exchange: ExchangeId, minute: i64) -> Option<i64> {
        let end = Timestamp::from_millis((minute + 1).saturating_mul(MINUTE));
        let late = self.late.read();
        late.iter().find(|(one, range, _)| *one == exchange && range.contains(end)).map(|(.., delay)| *delay)
    }

    /// Adds a late trade to each minute that closes in `range`. It becomes known `delay` milliseconds after the close.
    pub(super) fn add_late_trades(&self, exchange: ExchangeId, range: TimeRange, delay: i64) {
        self.late.write().push((exchange, range, delay));
        self.hours.lock().clear();
        self.days.lock().clear();
    }

    /// The last trade known at `now`.
    pub(super) fn last_trade(&self, listing: &Listing, now: i64) -> Option<Trade> {
        let minute = now / MINUTE;
        (FIRST_MINUTE..=minute).rev().find_map(|minute| self.trades(listing, minute, now).pop())
    }

    fn last_price_before(&self, listing: &Listing, minute: i64, now: i64) -> Option<i64> {
        let earlier = (FIRST_MINUTE..minute.min(now / MINUTE + 1)).rev();
        earlier.map(|minute| self.trades(listing, minute, now)).find_map(|trades| trades.last().map(|last| last.price))
    }

    /// Best bid and ask. `None` before the first trade.
    pub(super) fn top_of_book(&self, listing: &Listing, now: i64) -> Option<TopOfBook> {
        let last = self.last_trade(listing, now)?;
        let update = now / 500;
        let mut rng = SeededRng(noise::value(listing.key ^ 0xB00C, update));
        let spread = 1 + rng.below(3);
        // A taker buy executes at the ask.
        let bid = if last.is_buy { last.price - spread } else { last.price };
        Some(TopOfBook {
            update,
            bid: bid.max(1),
            bid_size: listing.typical_amount * (1 + rng.below(400)) / 20,
            ask: bid.max(1) + spread,
            ask_size: listing.typical_amount * (1 + rng.below(400)) / 20,
        })
    }

    /// Statistics of the last 24 hours. `None` before the first trade.
    pub(super) fn day_statistics(&self, listing: &Listing, now: i64) -> Option<DayStatistics> {
        let minute = now / MINUTE;
        let start = minute - MINUTES_PER_DAY;
        let cached = self.days.lock().get(&listing.index).copied().filter(|(at, _)| *at == minute);
        let earlier = if let Some((_, sum)) = cached {
            sum
        } else {
            let sum = self.bar(listing, start, minute, now);
            if is_settled(minute, now) {
                self.days.lock().insert(listing.index, (minute, sum));
            }
            sum
        };
        let last = self.last_trade(listing, now)?;
        let bar = Bar::join(earlier, Bar::sum(&self.trades(listing, minute, now))).unwrap_or(Bar::flat(last.price));
        let previous_price = self.last_price_before(listing, start, now).unwrap_or(bar.open);
        Some(DayStatistics { start: start * MINUTE, previous_price, bar, last_amount: last.amount })
    }

    /// Volume-weighted average price of a bar, rounded to `digits` decimal places; without trades, its close.
    pub(super) fn vwap(listing: &Listing, bar: &Bar, digits: u32) -> Decimal {
        let volume = listing.amount(bar.volume);
        listing.turnover(bar.turnover).checked_div(volume).unwrap_or(listing.price(bar.close)).round_dp(digits)
    }
}

/// Whether all trades before the start of `minute`, including late trades, are known at `now`.
const fn is_settled(minute: i64, now: i64) -> bool {
    minute.saturating_mul(MINUTE).saturating_add(CORRECTION_DELAY) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_672_430_123;

    fn minutes(from: i64, count: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(from * MINUTE), Timestamp::from_millis((from + count) * MINUTE))
    }

    fn btc() -> Symbol {
        "BTC/USDT".parse().unwrap()
    }

    #[test]
    fn same_seed_gives_same_market() {
        let range = minutes(NOW / MINUTE, 600);
        let [one, same, other] = [7, 7, 8].map(Market::new);
        for listing in one.listings(ExchangeId::KRAKEN).chain(one.listings(ExchangeId::BINANCE)) {
            let candles = |market: &Market| market.candles(listing.exchange, &listing.symbol, Interval::M1, range);
            assert_eq!(candles(&one), candles(&same));
            assert_ne!(candles(&one), candles(&other));
        }
    }

    #[test]
    fn candles_agree_with_their_trades() {
        let market = Market::new(3);
        for listing in &market.listings {
            let mut traded_minutes = 0;
            for minute in 29_000_000..29_000_200 {
                let trades = market.trades(listing, minute, i64::MAX);
                assert!(trades.is_sorted_by_key(|trade| trade.id) && trades.is_sorted_by_key(|trade| trade.time));
                let candle = market.candles(listing.exchange, &listing.symbol, Interval::M1, minutes(minute, 1));
                if trades.is_empty() && !listing.catalog.candle_fields.empty_intervals {
                    assert_eq!(candle, []);
                    continue;
                }
                let candle = candle[0];
                assert_eq!(candle.check(Interval::M1), Ok(()));
                assert_eq!(candle.trades.unwrap_or(trades.len() as u64), trades.len() as u64);
                assert_eq!(candle.volume, trades.iter().map(|trade| listing.amount(trade.amount)).sum::<Decimal>());
                let turnover: Decimal =
                    trades.iter().map(|trade| listing.amount(trade.amount) * listing.price(trade.price)).sum();
                assert_eq!(candle.quote_volume.unwrap_or(turnover), turnover);
                if let (Some(first), Some(last)) = (trades.first(), trades.last()) {
                    traded_minutes += 1;
                    assert_eq!((candle.open, candle.close), (listing.price(first.price), listing.price(last.price)));
                    assert_eq!(candle.high, trades.iter().map(|trade| listing.price(trade.price)).max().unwrap());
                    assert!(trades.iter().all(|trade| trade.time / MINUTE == minute));
                }
            }
            assert!(traded_minutes > 80, "{} trades too rarely", listing.symbol);
        }
    }

    #[test]
    fn prices_are_continuous() {
        let market = Market::new(1);
        let candles = market.candles(ExchangeId::BINANCE, &btc(), Interval::M1, minutes(29_000_000, 1_000));
        assert_eq!(candles.len(), 1_000);
        for pair in candles.windows(2) {
            let step = (pair[1].open - pair[0].close).abs() / pair[0].close;
            assert!(step < Decimal::new(4, 3), "{step} between two minutes");
        }
    }

    #[test]
    fn longer_candles_are_sums_of_minutes() {
        let market = Market::new(1);
        for exchange in ExchangeId::all() {
            for interval in [Interval::M5, Interval::H1, Interval::H4, Interval::D1] {
                let span = interval.span(interval.floor(Timestamp::from_millis(NOW)));
                let listing = market.listings(exchange).next().unwrap();
                let symbol = &listing.symbol;
                let minutes = market.candles(exchange, symbol, Interval::M1, span);
                let mut whole = crate::model::aggregate(span.start(), &minutes).unwrap();
                let candle = market.candles(exchange, symbol, interval, span);
                // Twice: computed, then from the cache.
                assert_eq!(candle, market.candles(exchange, symbol, interval, span));
                let fields = listing.catalog.candle_fields;
                whole.quote_volume = whole.quote_volume.filter(|_| fields.quote_volume);
                whole.trades = whole.trades.filter(|_| fields.trades);
                assert_eq!(candle, [whole], "{exchange} {interval}");
            }
        }
    }

    #[test]
    fn no_candles_before_first_minute() {
        let market = Market::new(1);
        let early = minutes(FIRST_MINUTE - 10, 12);
        let candles = market.candles(ExchangeId::BINANCE, &btc(), Interval::M1, early);
        assert_eq!(candles.len(), 2);
        assert_eq!(candles[0].timestamp.to_string(), "2017-08-17T00:00:00.000Z");
        assert!(market.candles(ExchangeId::BINANCE, &"NO/NE".parse().unwrap(), Interval::M1, early).is_empty());
    }

    #[test]
    fn late_trade_changes_closed_candle() {
        let market = Market::new(1);
        let listing = market.find(ExchangeId::KRAKEN, &"ETH/USD".parse().unwrap()).unwrap().clone();
        let minute = NOW / MINUTE;
        let hour = |market: &Market| market.bar(&listing, minute / 60 * 60, minute / 60 * 60 + 60, i64::MAX).unwrap();
        let before = hour(&market);
        let end = Timestamp::from_millis((minute + 1) * MINUTE);
        market.add_late_trades(
            ExchangeId::KRAKEN,
            TimeRange::new(end, Timestamp::from_millis(end.millis() + 1)),
            LATE_TRADE_DELAY,
        );
        let known = |now| market.bar(&listing, minute, minute + 1, now).unwrap();
        let (at_close, late) = (known(end.millis()), known(end.millis() + LATE_TRADE_DELAY));
        assert_eq!(at_close.trades + 1, late.trades);
        assert_ne!(at_close.close, late.close);
        assert_eq!(before.trades + 1, hour(&market).trades, "the cache is cleared");
        let published = market.trades_between(&listing, end.millis() + 1_250, end.millis() + 1_500);
        assert_eq!(published.last().unwrap().time, end.millis() - 1);
    }

    #[test]
    fn day_statistics_agree_with_trades() {
        let market = Market::new(5);
        for listing in &market.listings {
            let day = market.day_statistics(listing, NOW).unwrap();
            let again = market.day_statistics(listing, NOW + 1).unwrap();
            let (from, to) = (NOW / MINUTE - 1_440, NOW / MINUTE + 1);
            let trades: Vec<Trade> = (from..to).flat_map(|minute| market.trades(listing, minute, NOW)).collect();
            assert_eq!(Bar::sum(&trades), Some(day.bar));
            assert!(again.bar.trades >= day.bar.trades);
            let book = market.top_of_book(listing, NOW).unwrap();
            assert!(book.bid <= day.bar.close && day.bar.close <= book.ask && book.bid < book.ask);
            assert!(book.bid_size > 0 && book.ask_size > 0);
        }
    }

    #[test]
    fn future_trades_are_not_known() {
        let market = Market::new(1);
        let listing = market.find(ExchangeId::BINANCE, &btc()).unwrap();
        let minute = NOW / MINUTE;
        let all = market.trades(listing, minute, i64::MAX);
        let now = all[all.len() / 2].time;
        assert_eq!(market.bar(listing, minute, minute + 1, now), Bar::sum(&all[..=all.len() / 2]));
        assert_eq!(market.bar(listing, minute + 1, minute + 9, now), None);
        assert_eq!(market.last_trade(listing, now), Some(all[all.len() / 2]));
    }
}
