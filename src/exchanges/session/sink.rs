//! Takes the rows of a frame: adds exchange and symbol, and checks the values.

use std::fmt::Display;

use crate::exchanges::codec::{InvalidRow, text_member};
use crate::exchanges::feed::{Notice, Outbox};
use crate::exchanges::markets::{Market, Markets};
use crate::model::{
    BadEvent, Candle, CandleUpdate, Channel, ExchangeId, Interval, MarketEvent, Number, Series, Side, Source, Symbol,
    Ticker, TickerPatch, Timestamp, Trade,
};

/// The rows of one frame. A row with impossible values is skipped and does not affect others; a skipped trade is
/// reported as [`Notice::TradeSkipped`].
pub struct Sink<'a, S> {
    exchange: ExchangeId,
    received: Timestamp,
    markets: &'a mut Markets<S>,
    out: &'a mut Outbox,
    /// What is wrong with the first invalid row.
    error: Option<String>,
}

/// A trade without exchange and symbol.
pub struct NewTrade {
    pub id: Box<str>,
    pub price: Number,
    pub amount: Number,
    /// The taker's.
    pub side: Side,
    pub timestamp: Timestamp,
}

impl<'a, S: Default> Sink<'a, S> {
    pub(super) fn new(
        exchange: ExchangeId,
        received: Timestamp,
        markets: &'a mut Markets<S>,
        out: &'a mut Outbox,
    ) -> Self {
        Self { exchange, received, markets, out, error: None }
    }

    pub(super) fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }

    /// Whether frames of any market are accepted, without subscriptions: recorded frames, of any connection.
    pub fn accepts_any(&self) -> bool {
        self.markets.accepts_any()
    }

    /// The market with a native id, if `channel` is subscribed.
    pub fn market(&mut self, native: &str, channel: Channel) -> Option<MarketSink<'_, S>> {
        let Self { exchange, received, markets, out, error } = self;
        let market = markets.get(native, channel)?;
        Some(MarketSink { exchange: *exchange, received: *received, market, out, error })
    }

    /// Adds a complete ticker. `values` is called only if the market is subscribed, as in the next two functions.
    pub fn ticker(&mut self, native: &str, values: impl FnOnce() -> Result<TickerPatch, String>) {
        let Some(mut market) = self.market(native, Channel::Ticker) else { return };
        match values() {
            // All members of a ticker may be optional: another kind of row would be a ticker without them.
            Ok(values) if values.last.or(values.bid).or(values.ask).is_none() => {
                market.record("a ticker without a price");
            }
            Ok(values) => _ = market.ticker(values),
            Err(what) => market.record(what),
        }
    }

    pub fn trade(&mut self, native: &str, trade: impl FnOnce() -> Result<NewTrade, String>) {
        if let Some(mut market) = self.market(native, Channel::Trades) {
            market.trade(trade());
        }
    }

    pub fn candle(&mut self, native: &str, interval: Interval, candle: impl FnOnce() -> Result<Candle, String>) {
        let Some(mut market) = self.market(native, Channel::Candles) else { return };
        match candle() {
            Ok(candle) => market.candle(interval, candle),
            Err(what) => market.record(what),
        }
    }

    /// Records rows that cannot be parsed.
    pub fn skip_rows(&mut self, rows: &[InvalidRow<'_>]) {
        if let (Some((row, error)), None) = (rows.first(), &self.error) {
            self.error = Some(format!("{error} in row `{}`", excerpt(row.get())));
        }
    }

    /// Records trades that cannot be parsed. `id` is the member with the native id of the market.
    pub fn skip_trades(&mut self, rows: &[InvalidRow<'_>], id: &str) {
        for (row, error) in rows {
            let native = text_member(row, id);
            self.skip_trade(native.as_deref(), format_args!("{error} in row `{}`", excerpt(row.get())));
        }
        self.skip_rows(rows);
    }

    /// Records a message with one trade that cannot be parsed.
    #[cold]
    pub fn skip_trade(&mut self, native: Option<&str>, what: impl Display) {
        match native {
            None => self.skip_trade_of_unknown_market(),
            Some(native) => self.trade(native, || Err(what.to_string())),
        }
    }

    /// Reports a trade that was skipped, of any market of the connection.
    pub fn skip_trade_of_unknown_market(&mut self) {
        self.out.notices.push(Notice::TradeSkipped(None));
    }
}

fn excerpt(row: &str) -> String {
    row.chars().take(80).collect()
}

/// One market that is subscribed to the channel of the frame.
pub struct MarketSink<'a, S> {
    exchange: ExchangeId,
    received: Timestamp,
    market: &'a mut Market<S>,
    out: &'a mut Outbox,
    error: &'a mut Option<String>,
}

impl<S> MarketSink<'_, S> {
    pub fn state(&mut self) -> &mut S {
        &mut self.market.state
    }

    /// Adds a ticker; returns whether its values are valid.
    pub fn ticker(&mut self, values: TickerPatch) -> bool {
        let (exchange, received_at) = (self.exchange, self.received);
        self.push(Channel::Ticker, |symbol, _| {
            MarketEvent::Ticker(Ticker { exchange, symbol, values, received_at, source: Source::Stream })
        })
    }

    /// Adds a trade, or reports a trade that cannot be parsed.
    pub fn trade(&mut self, trade: Result<NewTrade, String>) {
        let NewTrade { mut id, price, amount, side, timestamp } = match trade {
            Ok(trade) => trade,
            Err(what) => {
                let symbols = self.market.symbols(Channel::Trades);
                self.out.notices.extend(symbols.map(|symbol| Notice::TradeSkipped(Some(symbol.clone()))));
                return self.record(what);
            }
        };
        let exchange = self.exchange;
        self.push(Channel::Trades, |symbol, is_last| {
            let id = if is_last { std::mem::take(&mut id) } else { id.clone() };
            MarketEvent::Trade(Trade { exchange, symbol, id, price: price.0, amount: amount.0, side, timestamp })
        });
    }

    pub fn candle(&mut self, interval: Interval, candle: Candle) {
        let exchange = self.exchange;
        self.push(Channel::Candles, |symbol, _| {
            MarketEvent::Candle(CandleUpdate { series: Series { exchange, symbol, interval }, candle })
        });
    }

    /// Records why a row is skipped.
    pub fn record(&mut self, what: impl Display) {
        self.error.get_or_insert_with(|| what.to_string());
    }

    /// Adds the event of each symbol of the market. `event` gets the symbol and whether it is the last one.
    fn push(&mut self, channel: Channel, mut event: impl FnMut(Symbol, bool) -> MarketEvent) -> bool {
        let mut result: Result<(), BadEvent> = Ok(());
        let mut symbols = self.market.symbols(channel).peekable();
        while let Some(symbol) = symbols.next() {
            let event = event(symbol.clone(), symbols.peek().is_none());
            result = result.and(self.out.push_event(event, self.received));
        }
        if let Err(error) = &result {
            self.error.get_or_insert_with(|| error.to_string());
        }
        result.is_ok()
    }
}
