//! Generates the trades of a minute and aggregates them to bars.

use super::catalog::Listing;
use super::noise::{self, SeededRng};

/// A minute in milliseconds.
pub const MINUTE: i64 = 60_000;
/// Number of trade ids reserved per minute.
const IDS_PER_MINUTE: i64 = 64;
/// Delay between the end of a minute and the publication of its late trade, in milliseconds.
pub const LATE_TRADE_DELAY: i64 = 1_500;
/// Delay between the end of a minute and the unannounced correction of its candle, in milliseconds.
pub const CORRECTION_DELAY: i64 = 180_000;
/// First minute of all markets since the epoch: 2017-08-17T00:00:00Z.
pub const FIRST_MINUTE: i64 = 1_502_928_000 / 60;

/// A trade. The price is in ticks, the amount in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Increases with time, not consecutive.
    pub id: i64,
    /// Execution time in Unix milliseconds.
    pub time: i64,
    /// When the exchange publishes it, in Unix milliseconds: equal to `time` except for a late trade.
    pub known_at: i64,
    pub price: i64,
    pub amount: i64,
    /// Whether the taker is the buyer.
    pub is_buy: bool,
}

/// Aggregate of trades. Prices in ticks, amounts in steps, turnovers in ticks times steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    pub volume: i64,
    pub turnover: i128,
    /// Volume of the trades whose taker is the buyer.
    pub taker_buy_volume: i64,
    pub taker_buy_turnover: i128,
    pub trades: i64,
    pub first_id: i64,
    pub last_id: i64,
}

impl Bar {
    /// A bar without trades, at the previous price.
    #[must_use]
    pub const fn flat(price: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            turnover: 0,
            taker_buy_volume: 0,
            taker_buy_turnover: 0,
            trades: 0,
            first_id: -1,
            last_id: -1,
        }
    }

    fn from_trade(trade: &Trade) -> Self {
        let turnover = i128::from(trade.price) * i128::from(trade.amount);
        let (taker_buy_volume, taker_buy_turnover) = if trade.is_buy { (trade.amount, turnover) } else { (0, 0) };
        Self {
            volume: trade.amount,
            turnover,
            taker_buy_volume,
            taker_buy_turnover,
            trades: 1,
            first_id: trade.id,
            last_id: trade.id,
            ..Self::flat(trade.price)
        }
    }

    /// Adds a later bar.
    fn extend(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.turnover += later.turnover;
        self.taker_buy_volume += later.taker_buy_volume;
        self.taker_buy_turnover += later.taker_buy_turnover;
        self.trades += later.trades;
        self.last_id = later.last_id;
    }

    /// The bar of two consecutive spans; `None` is a span without trades.
    #[must_use]
    pub fn join(earlier: Option<Self>, later: Option<Self>) -> Option<Self> {
        match (earlier, later) {
            (Some(mut whole), Some(later)) => {
                whole.extend(&later);
                Some(whole)
            }
            (earlier, None) => earlier,
            (None, later) => later,
        }
    }

    /// The bar of `trades`. `None` without trades.
    #[must_use]
    pub fn sum(trades: &[Trade]) -> Option<Self> {
        trades.iter().fold(None, |sum, trade| Self::join(sum, Some(Self::from_trade(trade))))
    }
}

/// Price at the start of a minute, in ticks.
pub fn price_at(listing: &Listing, minute: i64) -> i64 {
    let drift = noise::drift(listing.base_key, minute) - listing.quote_key.map_or(0, |key| noise::drift(key, minute));
    (listing.base_price * (1_000_000_000 + drift) / 1_000_000_000).max(1)
}

/// All trades of a minute in order of time. `late` adds a trade that is published that many milliseconds after its end.
pub fn minute_trades(listing: &Listing, minute: i64, late: Option<i64>) -> Vec<Trade> {
    minute_trades_between(listing, minute, (price_at(listing, minute), price_at(listing, minute + 1)), late)
}

/// Like [`minute_trades`], given the prices at the start and end of the minute.
pub fn minute_trades_between(listing: &Listing, minute: i64, (from, to): (i64, i64), late: Option<i64>) -> Vec<Trade> {
    if minute < FIRST_MINUTE {
        return Vec::new();
    }
    let mut rng = SeededRng(noise::value(listing.key, minute));
    // The first minute of a market always has a trade.
    let is_quiet = rng.below(100) < listing.quiet_percent && minute != FIRST_MINUTE;
    let count = if is_quiet { 0 } else { 1 + rng.below(listing.max_trades) };
    let start = minute * MINUTE;
    let mut trades: Vec<Trade> = (0..count)
        .map(|index| {
            let slot = (MINUTE - 1) / count;
            let mut rng = SeededRng(noise::value(listing.key, minute * IDS_PER_MINUTE + index));
            let offset = 1 + slot * index + rng.below(slot.unsigned_abs());
            let price = from + (to - from) * offset / MINUTE;
            let jitter = rng.below(201) - 100;
            let amount = listing.typical_amount * (1 + rng.below(1_000)) / 100;
            let draw = rng.below(32);
            let time = start + offset;
            Trade {
                id: minute * IDS_PER_MINUTE + index,
                time,
                known_at: time,
                price: (price + price * jitter / 1_000_000).max(1),
                amount: (if draw < 2 { amount * 10 } else { amount }).max(1),
                is_buy: draw % 2 == 0,
            }
        })
        .collect();
    if let Some(delay) = late {
        let previous_price = trades.last().map_or(from, |last| last.price);
        trades.push(Trade {
            id: minute * IDS_PER_MINUTE + IDS_PER_MINUTE - 1,
            time: start + MINUTE - 1,
            known_at: start + MINUTE + delay,
            price: previous_price + previous_price / 5_000 + 3,
            amount: listing.typical_amount,
            is_buy: true,
        });
    }
    trades
}
