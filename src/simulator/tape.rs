//! The trades of a minute, and what they add up to.

use super::catalog::Listing;
use super::noise::{self, Dice};

/// A minute in milliseconds.
pub const MINUTE: i64 = 60_000;
/// Ids leave room for so many trades a minute.
const IDS_A_MINUTE: i64 = 64;
/// How long after its minute's end a late trade is published, in milliseconds.
pub const LATENESS: i64 = 1_500;
/// How long after its minute's end an exchange corrects a candle, without a word, in milliseconds.
pub const CORRECTED_AFTER: i64 = 180_000;
/// Every market opens on 2017-08-17T00:00:00Z: the first minute since the epoch.
pub const LISTED_MINUTE: i64 = 1_502_928_000 / 60;

/// A trade; its price in ticks, its amount in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Rises with time, with holes.
    pub id: i64,
    /// When it happened, in Unix milliseconds.
    pub time: i64,
    /// When it became known: at once, but for a late one.
    pub known: i64,
    pub price: i64,
    pub amount: i64,
    /// Whether the taker bought.
    pub buy: bool,
}

/// What trades add up to. Prices in ticks, amounts in steps, turnovers in ticks times steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    pub volume: i64,
    pub turnover: i128,
    /// The part of the volume whose taker bought.
    pub bought: i64,
    pub bought_turnover: i128,
    pub trades: i64,
    pub first_id: i64,
    pub last_id: i64,
}

impl Bar {
    /// A bar without trades at the price before.
    #[must_use]
    pub const fn flat(price: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            turnover: 0,
            bought: 0,
            bought_turnover: 0,
            trades: 0,
            first_id: -1,
            last_id: -1,
        }
    }

    fn of(trade: &Trade) -> Self {
        let turnover = i128::from(trade.price) * i128::from(trade.amount);
        let (bought, bought_turnover) = if trade.buy { (trade.amount, turnover) } else { (0, 0) };
        Self {
            volume: trade.amount,
            turnover,
            bought,
            bought_turnover,
            trades: 1,
            first_id: trade.id,
            last_id: trade.id,
            ..Self::flat(trade.price)
        }
    }

    /// Adds what came later.
    fn extend(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.turnover += later.turnover;
        self.bought += later.bought;
        self.bought_turnover += later.bought_turnover;
        self.trades += later.trades;
        self.last_id = later.last_id;
    }

    /// Both in their order; `None` is no trade.
    #[must_use]
    pub fn join(earlier: Option<Self>, later: Option<Self>) -> Option<Self> {
        match (earlier, later) {
            (Some(mut whole), Some(later)) => {
                whole.extend(&later);
                Some(whole)
            }
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// What `trades` add up to.
    #[must_use]
    pub fn sum(trades: &[Trade]) -> Option<Self> {
        trades.iter().fold(None, |sum, trade| Self::join(sum, Some(Self::of(trade))))
    }
}

/// The price at the start of a minute, in ticks.
pub fn price_at(listing: &Listing, minute: i64) -> i64 {
    let drift = noise::drift(listing.base_key, minute) - listing.quote_key.map_or(0, |key| noise::drift(key, minute));
    (listing.level * (1_000_000_000 + drift) / 1_000_000_000).max(1)
}

/// All trades of a minute in their order; `late` adds one that is known only so long after the minute's end.
pub fn trades(listing: &Listing, minute: i64, late: Option<i64>) -> Vec<Trade> {
    trades_from(listing, minute, (price_at(listing, minute), price_at(listing, minute + 1)), late)
}

/// The same, between the prices at the minute's start and end.
pub fn trades_from(listing: &Listing, minute: i64, (from, to): (i64, i64), late: Option<i64>) -> Vec<Trade> {
    if minute < LISTED_MINUTE {
        return Vec::new();
    }
    let mut dice = Dice(noise::at(listing.key, minute));
    // A market opens with a trade.
    let quiet = dice.below(100) < listing.quiet && minute != LISTED_MINUTE;
    let count = if quiet { 0 } else { 1 + dice.below(listing.busy) };
    let start = minute * MINUTE;
    let mut trades: Vec<Trade> = (0..count)
        .map(|place| {
            let slot = (MINUTE - 1) / count;
            let mut dice = Dice(noise::at(listing.key, minute * IDS_A_MINUTE + place));
            let offset = 1 + slot * place + dice.below(slot.unsigned_abs());
            let price = from + (to - from) * offset / MINUTE;
            let jitter = dice.below(201) - 100;
            let amount = listing.lot * (1 + dice.below(1_000)) / 100;
            let fate = dice.below(32);
            let time = start + offset;
            Trade {
                id: minute * IDS_A_MINUTE + place,
                time,
                known: time,
                price: (price + price * jitter / 1_000_000).max(1),
                amount: (if fate < 2 { amount * 10 } else { amount }).max(1),
                buy: fate % 2 == 0,
            }
        })
        .collect();
    if let Some(lateness) = late {
        let before = trades.last().map_or(from, |last| last.price);
        trades.push(Trade {
            id: minute * IDS_A_MINUTE + IDS_A_MINUTE - 1,
            time: start + MINUTE - 1,
            known: start + MINUTE + lateness,
            price: before + before / 5_000 + 3,
            amount: listing.lot,
            buy: true,
        });
    }
    trades
}
