//! The simulated market: a function of seed, symbol and time. Any history can be asked for, and agrees with what the
//! streams told.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, RwLock};
use rust_decimal::Decimal;

use crate::model::{Candle, ExchangeId, Interval, Symbol, TimeRange, Timestamp};

use super::catalog::{self, Listing};
use super::noise::{self, Dice};
use super::tape::{self, Bar, CORRECTED_AFTER, LATENESS, LISTED_MINUTE, MINUTE, Trade};

const MINUTES_AN_HOUR: i64 = 60;
const MINUTES_A_DAY: i64 = 1_440;
/// The most hours whose sums are kept, about 10 MB.
const KEPT_HOURS: usize = 65_536;

/// The truth behind all exchanges.
#[derive(Debug)]
pub struct Market {
    listings: Vec<Listing>,
    /// Places of the listings, by exchange.
    of: [Vec<usize>; ExchangeId::ALL.len()],
    /// Places of the listings by any name that their exchange takes, by exchange.
    by_name: [HashMap<String, usize>; ExchangeId::ALL.len()],
    /// When, by exchange, the candles that close are changed by a late trade, and how late it is known.
    late: RwLock<Vec<(ExchangeId, TimeRange, i64)>>,
    /// Sums of whole hours that are over, by listing and hour since the epoch.
    hours: Mutex<HashMap<(usize, i64), Option<Bar>>>,
    /// Places of listings that are gone.
    delisted: RwLock<HashSet<usize>>,
    /// By listing: a minute, and the sum of the day before it.
    days: Mutex<HashMap<usize, (i64, Option<Bar>)>>,
}

/// What an exchange tells of its candles.
#[derive(Clone, Copy, Debug)]
struct Tells {
    /// Whether there is a candle for a time in which nobody traded.
    flat: bool,
    quote_volume: bool,
    /// The number of trades.
    trades: bool,
}

impl Tells {
    const fn of(exchange: ExchangeId) -> Self {
        match exchange {
            ExchangeId::Binance => Self { flat: true, quote_volume: true, trades: true },
            ExchangeId::Kraken => Self { flat: false, quote_volume: false, trades: true },
            ExchangeId::Coinbase => Self { flat: false, quote_volume: false, trades: false },
            ExchangeId::Okx | ExchangeId::Bybit => Self { flat: true, quote_volume: true, trades: false },
        }
    }
}

/// The best bid and ask. Prices in ticks, sizes in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book {
    /// Rises with each change.
    pub update: i64,
    pub bid: i64,
    pub bid_size: i64,
    pub ask: i64,
    pub ask_size: i64,
}

/// The statistics of the last 24 hours.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// When the window opens: on a minute, in Unix milliseconds.
    pub start: i64,
    /// The last price before the window.
    pub before: i64,
    pub bar: Bar,
    pub last_amount: i64,
}

impl Market {
    /// The market of a seed, with the markets of the catalog.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_markets(seed, 0)
    }

    /// The market of a seed where each exchange lists at least so many markets, up to [`MAX_MARKETS`](super::MAX_MARKETS).
    #[must_use]
    pub fn with_markets(seed: u64, markets: usize) -> Self {
        let listings = catalog::listings(seed, markets);
        let mut of: [Vec<usize>; ExchangeId::ALL.len()] = Default::default();
        let mut by_name: [HashMap<String, usize>; ExchangeId::ALL.len()] = Default::default();
        for listing in &listings {
            let exchange = listing.exchange as usize;
            of[exchange].push(listing.index);
            by_name[exchange].insert(listing.native.to_owned(), listing.index);
            if listing.exchange == ExchangeId::Kraken {
                for name in super::kraken::names(listing) {
                    by_name[exchange].entry(name).or_insert(listing.index);
                }
            }
        }
        Self {
            listings,
            of,
            by_name,
            late: RwLock::default(),
            delisted: RwLock::default(),
            hours: Mutex::default(),
            days: Mutex::default(),
        }
    }

    /// What an exchange lists.
    pub fn listings(&self, exchange: ExchangeId) -> impl Iterator<Item = &Listing> {
        let delisted = self.delisted.read().clone();
        let all = self.of[exchange as usize].iter().map(|index| &self.listings[*index]);
        all.filter(move |listing| !delisted.contains(&listing.index))
    }

    /// The market that an exchange knows by a name: its id, and on Kraken any of its names.
    pub(super) fn named(&self, exchange: ExchangeId, name: &str) -> Option<&Listing> {
        self.listing(*self.by_name[exchange as usize].get(name)?)
    }

    /// The listing of that place in the catalog.
    pub(super) fn listing(&self, index: usize) -> Option<&Listing> {
        self.listings.get(index).filter(|_| self.is_listed(index))
    }

    fn is_listed(&self, index: usize) -> bool {
        !self.delisted.read().contains(&index)
    }

    /// Takes a market off an exchange's listing, or puts it back. What was traded stays true.
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

    /// A market by its symbol.
    #[must_use]
    pub fn find(&self, exchange: ExchangeId, symbol: &Symbol) -> Option<&Listing> {
        self.listings(exchange).find(|listing| listing.symbol == *symbol)
    }

    /// The exchange's own final truth: the candles that open in `range` as they are when all of it has happened and
    /// every late trade is known. Ascending, with what the exchange tells of a candle. Empty for what was
    /// never listed, and before the listing.
    #[must_use]
    pub fn candles(&self, exchange: ExchangeId, symbol: &Symbol, interval: Interval, range: TimeRange) -> Vec<Candle> {
        let of = |listing: &&Listing| listing.exchange == exchange && listing.symbol == *symbol;
        let Some(listing) = self.listings.iter().find(of) else { return Vec::new() };
        let listed = interval.floor(Timestamp::from_millis(LISTED_MINUTE * MINUTE));
        let range = range.intersection(TimeRange::new(listed, Timestamp::MAX));
        let candle = |open| {
            let span = interval.span(open);
            let bar = self.bar_or_flat(listing, span, i64::MAX)?;
            let tells = Tells::of(exchange);
            (tells.flat || bar.trades > 0).then(|| Candle {
                timestamp: open,
                open: listing.price(bar.open).normalize(),
                high: listing.price(bar.high).normalize(),
                low: listing.price(bar.low).normalize(),
                close: listing.price(bar.close).normalize(),
                volume: listing.amount(bar.volume).normalize(),
                quote_volume: tells.quote_volume.then(|| listing.turnover(bar.turnover).normalize()),
                trades: tells.trades.then(|| bar.trades.unsigned_abs()),
                closed: true,
                revision: 0,
            })
        };
        interval.opens(range).filter_map(candle).collect()
    }

    /// The sum of a span of whole minutes, as known at `now`; the price before where nobody traded in it.
    pub(super) fn bar_or_flat(&self, listing: &Listing, span: TimeRange, now: i64) -> Option<Bar> {
        let (from, to) = (span.start().millis() / MINUTE, span.end().millis() / MINUTE);
        self.bar(listing, from, to, now).or_else(|| self.close_before(listing, from, now).map(Bar::flat))
    }

    /// What the trades of the minutes `from..to` that are known at `now` add up to. `None`: there are none.
    pub(super) fn bar(&self, listing: &Listing, from: i64, to: i64, now: i64) -> Option<Bar> {
        let (mut minute, to) = (from.max(LISTED_MINUTE), to.min(now / MINUTE + 1));
        let mut sum = None;
        while minute < to {
            let next = minute + MINUTES_AN_HOUR;
            let whole_hour = minute % MINUTES_AN_HOUR == 0 && next <= to && over(next, now);
            let (part, next) = if whole_hour {
                (self.hour(listing, minute / MINUTES_AN_HOUR), next)
            } else {
                (Bar::sum(&self.trades(listing, minute, now)), minute + 1)
            };
            sum = Bar::join(sum, part);
            minute = next;
        }
        sum
    }

    fn hour(&self, listing: &Listing, hour: i64) -> Option<Bar> {
        let key = (listing.index, hour);
        if let Some(kept) = self.hours.lock().get(&key) {
            return *kept;
        }
        let (mut sum, mut price) = (None, tape::price_at(listing, hour * MINUTES_AN_HOUR));
        for minute in hour * MINUTES_AN_HOUR..(hour + 1) * MINUTES_AN_HOUR {
            let next = tape::price_at(listing, minute + 1);
            let late = self.lateness(listing.exchange, minute);
            sum = Bar::join(sum, Bar::sum(&tape::trades_from(listing, minute, (price, next), late)));
            price = next;
        }
        let mut hours = self.hours.lock();
        if hours.len() >= KEPT_HOURS {
            hours.clear();
        }
        hours.insert(key, sum);
        sum
    }

    /// The trades of a minute that are known at `now`.
    pub(super) fn trades(&self, listing: &Listing, minute: i64, now: i64) -> Vec<Trade> {
        let mut trades = tape::trades(listing, minute, self.lateness(listing.exchange, minute));
        trades.truncate(trades.partition_point(|trade| trade.known <= now));
        trades
    }

    /// The trades that became known in `(after, until]`, in their order. At most two minutes apart.
    pub(super) fn trades_between(&self, listing: &Listing, after: i64, until: i64) -> Vec<Trade> {
        let mut trades = Vec::new();
        // A late trade belongs to the minute before the one in which it is known.
        for minute in after / MINUTE - 1..=until / MINUTE {
            if minute < after / MINUTE && self.lateness(listing.exchange, minute) != Some(LATENESS) {
                continue;
            }
            trades.extend(self.trades(listing, minute, until).into_iter().filter(|trade| trade.known > after));
        }
        trades.sort_by_key(|trade| trade.known);
        trades
    }

    /// How late a minute's last trade is known, where it is.
    fn lateness(&self, exchange: ExchangeId, minute: i64) -> Option<i64> {
        let end = Timestamp::from_millis((minute + 1).saturating_mul(MINUTE));
        let late = self.late.read();
        late.iter().find(|(which, range, _)| *which == exchange && range.contains(end)).map(|(.., lateness)| *lateness)
    }

    /// Candles that close in `range` are changed by a trade that is known so late.
    pub(super) fn add_late(&self, exchange: ExchangeId, range: TimeRange, lateness: i64) {
        self.late.write().push((exchange, range, lateness));
        self.hours.lock().clear();
        self.days.lock().clear();
    }

    /// The last trade known at `now`.
    pub(super) fn last_trade(&self, listing: &Listing, now: i64) -> Option<Trade> {
        let minute = now / MINUTE;
        (LISTED_MINUTE..=minute).rev().find_map(|minute| self.trades(listing, minute, now).pop())
    }

    fn close_before(&self, listing: &Listing, minute: i64, now: i64) -> Option<i64> {
        let earlier = (LISTED_MINUTE..minute.min(now / MINUTE + 1)).rev();
        earlier.map(|minute| self.trades(listing, minute, now)).find_map(|trades| trades.last().map(|last| last.price))
    }

    /// The best bid and ask. `None` before the first trade.
    pub(super) fn book(&self, listing: &Listing, now: i64) -> Option<Book> {
        let last = self.last_trade(listing, now)?;
        let update = now / 500;
        let mut dice = Dice(noise::at(listing.key ^ 0xB00C, update));
        let spread = 1 + dice.below(3);
        // A taker who buys pays the ask.
        let bid = if last.buy { last.price - spread } else { last.price };
        Some(Book {
            update,
            bid: bid.max(1),
            bid_size: listing.lot * (1 + dice.below(400)) / 20,
            ask: bid.max(1) + spread,
            ask_size: listing.lot * (1 + dice.below(400)) / 20,
        })
    }

    /// The last 24 hours. `None` before the first trade.
    pub(super) fn day(&self, listing: &Listing, now: i64) -> Option<Day> {
        let minute = now / MINUTE;
        let start = minute - MINUTES_A_DAY;
        let kept = self.days.lock().get(&listing.index).copied().filter(|(at, _)| *at == minute);
        let earlier = if let Some((_, sum)) = kept {
            sum
        } else {
            let sum = self.bar(listing, start, minute, now);
            if over(minute, now) {
                self.days.lock().insert(listing.index, (minute, sum));
            }
            sum
        };
        let last = self.last_trade(listing, now)?;
        let bar = Bar::join(earlier, Bar::sum(&self.trades(listing, minute, now))).unwrap_or(Bar::flat(last.price));
        let before = self.close_before(listing, start, now).unwrap_or(bar.open);
        Some(Day { start: start * MINUTE, before, bar, last_amount: last.amount })
    }

    /// The mean price of a bar, rounded to `digits` after the point; its close where nobody traded.
    pub(super) fn mean(listing: &Listing, bar: &Bar, digits: u32) -> Decimal {
        let volume = listing.amount(bar.volume);
        listing.turnover(bar.turnover).checked_div(volume).unwrap_or(listing.price(bar.close)).round_dp(digits)
    }
}

/// Whether every trade before the start of `minute` is known at `now`, however late.
const fn over(minute: i64, now: i64) -> bool {
    minute.saturating_mul(MINUTE).saturating_add(CORRECTED_AFTER) <= now
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
    fn a_seed_means_one_market() {
        let range = minutes(NOW / MINUTE, 600);
        let [one, same, other] = [7, 7, 8].map(Market::new);
        for listing in one.listings(ExchangeId::Kraken).chain(one.listings(ExchangeId::Binance)) {
            let candles = |market: &Market| market.candles(listing.exchange, &listing.symbol, Interval::M1, range);
            assert_eq!(candles(&one), candles(&same));
            assert_ne!(candles(&one), candles(&other));
        }
    }

    #[test]
    fn candles_are_what_their_trades_add_up_to() {
        let market = Market::new(3);
        for listing in &market.listings {
            let mut busy = 0;
            for minute in 29_000_000..29_000_200 {
                let trades = market.trades(listing, minute, i64::MAX);
                assert!(trades.is_sorted_by_key(|trade| trade.id) && trades.is_sorted_by_key(|trade| trade.time));
                let candle = market.candles(listing.exchange, &listing.symbol, Interval::M1, minutes(minute, 1));
                if trades.is_empty() && !Tells::of(listing.exchange).flat {
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
                    busy += 1;
                    assert_eq!((candle.open, candle.close), (listing.price(first.price), listing.price(last.price)));
                    assert_eq!(candle.high, trades.iter().map(|trade| listing.price(trade.price)).max().unwrap());
                    assert!(trades.iter().all(|trade| trade.time / MINUTE == minute));
                }
            }
            assert!(busy > 80, "{} trades too rarely", listing.symbol);
        }
    }

    #[test]
    fn prices_go_on_where_they_were() {
        let market = Market::new(1);
        let candles = market.candles(ExchangeId::Binance, &btc(), Interval::M1, minutes(29_000_000, 1_000));
        assert_eq!(candles.len(), 1_000);
        for pair in candles.windows(2) {
            let step = (pair[1].open - pair[0].close).abs() / pair[0].close;
            assert!(step < Decimal::new(4, 3), "{step} between two minutes");
        }
    }

    #[test]
    fn longer_candles_are_sums_of_minutes() {
        let market = Market::new(1);
        for exchange in ExchangeId::ALL {
            for interval in [Interval::M5, Interval::H1, Interval::H4, Interval::D1] {
                let span = interval.span(interval.floor(Timestamp::from_millis(NOW)));
                let symbol = &market.listings(exchange).next().unwrap().symbol;
                let minutes = market.candles(exchange, symbol, Interval::M1, span);
                let mut whole = crate::model::aggregate(span.start(), &minutes).unwrap();
                let candle = market.candles(exchange, symbol, interval, span);
                // Twice: computed, then from what is kept.
                assert_eq!(candle, market.candles(exchange, symbol, interval, span));
                let tells = Tells::of(exchange);
                whole.quote_volume = whole.quote_volume.filter(|_| tells.quote_volume);
                whole.trades = whole.trades.filter(|_| tells.trades);
                assert_eq!(candle, [whole], "{exchange} {interval}");
            }
        }
    }

    #[test]
    fn nothing_is_before_the_listing() {
        let market = Market::new(1);
        let early = minutes(LISTED_MINUTE - 10, 12);
        let candles = market.candles(ExchangeId::Binance, &btc(), Interval::M1, early);
        assert_eq!(candles.len(), 2);
        assert_eq!(candles[0].timestamp.to_string(), "2017-08-17T00:00:00.000Z");
        assert!(market.candles(ExchangeId::Binance, &"NO/NE".parse().unwrap(), Interval::M1, early).is_empty());
    }

    #[test]
    fn a_late_trade_changes_a_closed_candle() {
        let market = Market::new(1);
        let listing = market.find(ExchangeId::Kraken, &"ETH/USD".parse().unwrap()).unwrap().clone();
        let minute = NOW / MINUTE;
        let hour = |market: &Market| market.bar(&listing, minute / 60 * 60, minute / 60 * 60 + 60, i64::MAX).unwrap();
        let before = hour(&market);
        let end = Timestamp::from_millis((minute + 1) * MINUTE);
        market.add_late(ExchangeId::Kraken, TimeRange::new(end, Timestamp::from_millis(end.millis() + 1)), LATENESS);
        let known = |now| market.bar(&listing, minute, minute + 1, now).unwrap();
        let (said, told) = (known(end.millis()), known(end.millis() + LATENESS));
        assert_eq!(said.trades + 1, told.trades);
        assert_ne!(said.close, told.close);
        assert_eq!(before.trades + 1, hour(&market).trades, "what was kept is forgotten");
        let published = market.trades_between(&listing, end.millis() + 1_250, end.millis() + 1_500);
        assert_eq!(published.last().unwrap().time, end.millis() - 1);
    }

    #[test]
    fn the_last_day_agrees_with_its_trades() {
        let market = Market::new(5);
        for listing in &market.listings {
            let day = market.day(listing, NOW).unwrap();
            let again = market.day(listing, NOW + 1).unwrap();
            let (from, to) = (NOW / MINUTE - 1_440, NOW / MINUTE + 1);
            let trades: Vec<Trade> = (from..to).flat_map(|minute| market.trades(listing, minute, NOW)).collect();
            assert_eq!(Bar::sum(&trades), Some(day.bar));
            assert!(again.bar.trades >= day.bar.trades);
            let book = market.book(listing, NOW).unwrap();
            assert!(book.bid <= day.bar.close && day.bar.close <= book.ask && book.bid < book.ask);
            assert!(book.bid_size > 0 && book.ask_size > 0);
        }
    }

    #[test]
    fn what_is_not_known_yet_is_not_told() {
        let market = Market::new(1);
        let listing = market.find(ExchangeId::Binance, &btc()).unwrap();
        let minute = NOW / MINUTE;
        let all = market.trades(listing, minute, i64::MAX);
        let now = all[all.len() / 2].time;
        assert_eq!(market.bar(listing, minute, minute + 1, now), Bar::sum(&all[..=all.len() / 2]));
        assert_eq!(market.bar(listing, minute + 1, minute + 9, now), None);
        assert_eq!(market.last_trade(listing, now), Some(all[all.len() / 2]));
    }
}
