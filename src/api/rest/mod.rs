//! The doors that answer once: one file a question.

mod coverage;
mod document;
mod exchanges;
mod health;
mod history;
mod instruments;
mod payload;
mod schema;
#[cfg(test)]
mod tests;
mod ticker;

use super::operation::{Kind, Operation, Parameter};

pub use schema::Problem as ProblemSchema;

/// All of them, in the order of the document.
pub const OPERATIONS: &[Operation] = &[
    ticker::TICKER,
    ticker::TICKERS,
    history::HISTORY,
    exchanges::EXCHANGES,
    exchanges::EXCHANGE,
    instruments::INSTRUMENTS,
    coverage::COVERAGE,
    health::LIVEZ,
    health::READYZ,
    health::HEALTH,
    document::JSON,
    document::YAML,
    document::DOCS,
    ticker::KEPT_TICKER,
    history::KEPT_HISTORY,
    ticker::KEPT_MARKET_TICKER,
    history::KEPT_MARKET_HISTORY,
];

/// Which exchange, where the first that lists the symbol will do.
pub const EXCHANGE: Parameter = Parameter::query(
    "exchange",
    Kind::Text,
    "The id of the exchange. Without it, the first enabled one that lists the symbol answers.",
    "binance",
);

/// Which market.
pub const SYMBOL: Parameter = Parameter::query(
    "symbol",
    Kind::Text,
    "The market: `BTC/USDT`, `BTC-USDT` or `BTC_USDT` in any case, or the exchange's own id.",
    "BTC/USDT",
)
.required();

/// Which market, in a path.
pub const PATH_SYMBOL: Parameter =
    Parameter { description: "The market: `BTC-USDT`.", example: "BTC-USDT", ..SYMBOL.in_path() };

/// Which candles.
const INTERVAL: Parameter = Parameter::query(
    "interval",
    Kind::Interval,
    "How long a candle lasts; case matters: `1m` is a minute, `1M` a month.",
    "1m",
);
const START: Parameter = Parameter::query(
    "start",
    Kind::Time,
    "The first open time, inclusive: Unix milliseconds or RFC 3339.",
    "2025-11-20T21:00:00Z",
);
const END: Parameter = Parameter::query(
    "end",
    Kind::Time,
    "Where the range ends, exclusive: Unix milliseconds or RFC 3339.",
    "2025-11-20T22:00:00Z",
);
const CURSOR: Parameter = Parameter::query(
    "cursor",
    Kind::Text,
    "`next_cursor` of the page before, with all other parameters as they were.",
    "b1763672400000",
);
