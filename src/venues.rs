//! The table of the exchanges that candlewick has adapters for. It is the only list of them.
//!
//! A line has the name of the constant, the id, and the display name. The id is also the name of the exchange's folders
//! in `exchanges` and `simulator`. The order is the registry order: if a request does not name an exchange, candlewick
//! uses the first enabled one that lists the symbol.
//!
//! `model` takes the ids and names from the table, `exchanges` the adapters, `simulator` the simulated exchanges.

/// Passes the table to the macro `$receiver`.
macro_rules! venues {
    ($receiver:ident) => {
        $receiver! {
            BINANCE binance "Binance";
            KRAKEN kraken "Kraken";
            COINBASE coinbase "Coinbase";
            OKX okx "OKX";
            BYBIT bybit "Bybit";
        }
    };
}
