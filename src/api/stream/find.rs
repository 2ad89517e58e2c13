//! From what a client names to topics of the hub.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::api::Doors;
use crate::api::problem::{Code, Problem};
use crate::hub::Seat;
use crate::market::{Listed, MarketError};
use crate::model::{Channel, Interval, Series, Topic};

/// How many topics are looked for at a time.
const AT_A_TIME: usize = 32;

/// A topic that was found, listened to from now on.
pub struct Found {
    pub listed: Listed,
    pub seat: Seat,
}

/// What was asked for and cannot be had.
pub struct Rejected {
    /// The symbol as it was asked for.
    pub symbol: String,
    why: Why,
}

/// Why a topic cannot be had.
enum Why {
    Refused(Problem),
    /// A connection, or this replica, listens to as many topics as it may.
    TooManyTopics,
    /// As many markets of the exchange are collected on demand as may be: `collect.on_demand_symbols`.
    TooManySymbols,
}

impl Rejected {
    /// A code of a problem, or one of the stream's own.
    pub const fn code(&self) -> &'static str {
        match &self.why {
            Why::Refused(problem) => problem.code.as_str(),
            Why::TooManyTopics => "too_many_topics",
            Why::TooManySymbols => "too_many_symbols",
        }
    }

    /// As the answer to a request of its own.
    pub fn problem(self) -> Problem {
        let code = self.code();
        match self.why {
            Why::Refused(problem) => problem,
            Why::TooManyTopics | Why::TooManySymbols => {
                Problem::new(Code::NotReady, format!("{} cannot be listened to now: {code}", self.symbol))
            }
        }
    }
}

/// How many symbols are looked up before others have their turn.
const LOOKED_UP_AT_ONCE: usize = 16;

/// Topics of one channel and exchange.
pub struct Wanted {
    pub channel: Channel,
    pub exchange: Option<String>,
    pub symbols: Vec<String>,
    /// Of candles.
    pub interval: Interval,
    /// How many topics there may be.
    pub room: usize,
    /// Whether a refusal names what may have been meant. Not for lists: that takes work, and their answers do not show it.
    pub hint: bool,
}

/// Finds topics and takes seats at them; in the order of the symbols.
pub async fn find(doors: Arc<Doors>, wanted: Wanted) -> Vec<Result<Found, Rejected>> {
    let Wanted { channel, exchange, symbols, interval, room, hint } = wanted;
    let mut listed = Vec::with_capacity(symbols.len());
    // Markets that nobody collects yet; a collector has room for so many more.
    let mut new = 0;
    for (index, symbol) in symbols.into_iter().enumerate() {
        if index % LOOKED_UP_AT_ONCE == LOOKED_UP_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let found = if index >= room {
            Err(Why::TooManyTopics)
        } else {
            allowed(&doors, (channel, interval), (exchange.as_deref(), &symbol), hint, &mut new).await
        };
        listed.push((symbol, found));
    }
    let seated = listed.into_iter().map(|(symbol, found)| {
        let doors = &doors;
        async move {
            let seated = match found {
                Ok((listed, topic)) => match doors.hub.enter(&topic).await {
                    Ok(seat) => Ok(Found { listed, seat }),
                    Err(_) => Err(Why::TooManyTopics),
                },
                Err(why) => Err(why),
            };
            seated.map_err(|why| Rejected { symbol, why })
        }
    });
    // Collected first: a stream of borrowing futures is not known to be `Send`.
    let seated: Vec<_> = seated.collect();
    stream::iter(seated).buffered(AT_A_TIME).collect().await
}

/// Finds a market that can be listened to.
async fn allowed(
    doors: &Doors,
    (channel, interval): (Channel, Interval),
    (exchange, symbol): (Option<&str>, &str),
    hint: bool,
    new: &mut usize,
) -> Result<(Listed, Topic), Why> {
    let refused = |error: MarketError| Why::Refused(error.into());
    let market = &doors.market;
    let found =
        if hint { market.find(exchange, symbol).await } else { market.find_one_of_many(exchange, symbol).await };
    let listed = found.map_err(refused)?;
    // What was listed once has a history, but nothing that could be listened to.
    if listed.instrument.is_delisted() {
        let detail = format!("{} is not traded any more", listed.instrument.symbol);
        return Err(Why::Refused(Problem::new(Code::UnknownSymbol, detail)));
    }
    let (exchange, symbol) = (listed.exchange, listed.instrument.symbol.clone());
    let topic = match channel {
        Channel::Ticker => Topic::Ticker { exchange, symbol },
        Channel::Trades => Topic::Trades { exchange, symbol },
        Channel::Candles => {
            doors.market.check_interval(&listed, interval).await.map_err(refused)?;
            Topic::Candles(Series { exchange, symbol, interval })
        }
    };
    if let Some(room) = doors.market.room_for(&listed).await {
        *new += 1;
        if *new > room {
            return Err(Why::TooManySymbols);
        }
    }
    Ok((listed, topic))
}
