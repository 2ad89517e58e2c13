//! One connection to the combined streams of Binance.

use serde::Deserialize;
use serde_json::json;

use super::profile::PROFILE;
use super::symbols;
use super::wire::{AggTrade, BookTicker, CandleEvent, Envelope, Message, Ticker, Trade};
use crate::exchanges::codec::{self, Int, check_json, nonzero_price, price_level};
use crate::exchanges::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use crate::exchanges::markets::{Market, Markets};
use crate::exchanges::pending::PendingRequests;
use crate::model::{
    BadEvent, Candle, CandleUpdate, Channel, ExchangeId, Interval, MarketEvent, Number, Series, Side, Source, Symbol,
    TickerPatch, Timestamp,
};

/// Maximum number of streams per message; keeps a message far below 4 KiB.
const STREAMS_PER_MESSAGE: usize = 100;

/// Maximum number of streams of one subscription: a ticker has two.
pub(super) const MAX_STREAMS_PER_SUBSCRIPTION: usize = 2;

/// Kinds of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    BookTicker,
    Ticker,
    Trade,
    AggTrade,
    Candle,
    Shutdown,
    Other,
}

impl DataKind {
    /// By the name of a stream: `btcusdt@kline_1m`.
    fn from_stream(stream: &str) -> Self {
        match stream.split_once('@').map_or(stream, |(_, name)| name) {
            "bookTicker" => Self::BookTicker,
            "ticker" => Self::Ticker,
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "!serverShutdown" => Self::Shutdown,
            // Candles of another time zone, `kline_1d@+08:00`, are not on our grid.
            name if name.starts_with("kline_") && !name.contains('@') => Self::Candle,
            _ => Self::Other,
        }
    }

    /// By the name of an event.
    fn from_event(event: &str) -> Self {
        match event {
            "24hrTicker" => Self::Ticker,
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "kline" => Self::Candle,
            "serverShutdown" => Self::Shutdown,
            _ => Self::Other,
        }
    }
}

/// A ticker, merged from two streams.
#[derive(Default)]
pub(super) struct MergedTicker {
    values: TickerPatch,
    /// Whether the book ticker stream has sent the best bid and ask; the slower statistics repeat them late.
    has_book: bool,
}

/// One connection.
pub(super) struct Session {
    /// Sent in `on_open`.
    subscriptions: Vec<Subscription>,
    markets: Markets<MergedTicker>,
    pending: PendingRequests,
}

/// The streams of one subscription.
pub(super) fn stream_names(subscription: &Subscription) -> impl Iterator<Item = String> {
    let names: &'static [&'static str] = match subscription.channel {
        Channel::Ticker => &["ticker", "bookTicker"],
        Channel::Trades => &["trade"],
        Channel::Candles => &["kline_1m"],
    };
    let symbol = subscription.instrument.stream_name().to_lowercase();
    names.iter().map(move |name| format!("{symbol}@{name}"))
}

impl Session {
    /// A session with initial subscriptions.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        Self { markets: Markets::subscribed(&subscriptions), subscriptions, pending: PendingRequests::new(&PROFILE) }
    }

    /// A session that accepts frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::any(symbols::guess_symbol);
        Self { markets, subscriptions: vec![], pending: PendingRequests::new(&PROFILE) }
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>, now: Timestamp, out: &mut Outbox) {
        let streams: Vec<String> = subscriptions.iter().flat_map(stream_names).collect();
        let id = self.pending.add(subscriptions, now);
        out.frames.push(json!({"method": "SUBSCRIBE", "params": streams, "id": id}).to_string());
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(STREAMS_PER_MESSAGE / MAX_STREAMS_PER_SUBSCRIPTION) {
            self.subscribe(part.to_vec(), now, out);
        }
    }

    /// The exchange acknowledged a request.
    fn on_ack(&mut self, id: u64, out: &mut Outbox) {
        let mut acknowledged = self.pending.take(id).unwrap_or_default();
        acknowledged.retain(|subscription| self.markets.is_subscribed(subscription));
        if !acknowledged.is_empty() {
            out.notices.push(Notice::Acknowledged(acknowledged));
        }
    }

    /// The exchange rejected a request. If it has several subscriptions, each is requested again separately, to find
    /// those that the exchange rejects.
    fn on_rejection(&mut self, id: u64, reason: &str, now: Timestamp, out: &mut Outbox) {
        let mut rejected = self.pending.take(id).unwrap_or_default();
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        if rejected.len() > 1 {
            for subscription in rejected {
                self.subscribe(vec![subscription], now, out);
            }
        } else if let Some(subscription) = rejected.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Rejected { subscription, reason: reason.to_owned() });
        }
    }

    /// Handles frames with another order of members, bare payloads, acknowledgements and rejections.
    #[cold]
    fn on_other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return check_json(text);
        }
        let frame: Envelope<'_> = codec::parse_frame(text)?;
        if let Some(data) = frame.data {
            let mut kind = frame.stream.as_deref().map_or(DataKind::Other, DataKind::from_stream);
            // A shutdown notice may have another stream name.
            if kind == DataKind::Other
                && let Ok(Envelope { e: Some(event), .. }) = serde_json::from_str(data.get())
                && *event == *"serverShutdown"
            {
                kind = DataKind::Shutdown;
            }
            return self.on_data(kind, data.get(), false, received, out);
        }
        if let Some(event) = frame.e {
            return self.on_data(DataKind::from_event(&event), text, false, received, out);
        }
        let id = frame.id.and_then(|id| id.get().trim_matches('"').parse().ok());
        let error = frame.error.map(|error| (error.code, error.msg));
        let error = error.or(frame.code.zip(frame.msg.map(|text| text.0)));
        match (id, error) {
            (Some(id), None) => self.on_ack(id, out),
            (Some(id), Some((Int(code), reason))) => {
                self.on_rejection(id, &format!("{reason} (code {code})"), received, out);
            }
            (None, Some((Int(code), reason))) if !self.markets.accepts_any() => {
                return Err(FeedError {
                    recovery: Recovery::SkipFrame,
                    message: format!("the exchange rejected an unidentified request: {reason} (code {code})"),
                });
            }
            (None, None) if frame.u.is_some() => return self.on_data(DataKind::BookTicker, text, false, received, out),
            (None, _) => {}
        }
        Ok(())
    }

    /// Handles a payload of a known kind, in a combined message or bare.
    fn on_data(
        &mut self,
        kind: DataKind,
        text: &str,
        combined: bool,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        // An event that does not match the stream name is invalid.
        let check_event = |event: &str| {
            let mismatch = || FeedError::malformed(format_args!("{event} where {kind:?} is expected"), text);
            if DataKind::from_event(event) == kind { Ok(()) } else { Err(mismatch()) }
        };
        let result = match kind {
            DataKind::BookTicker => self.on_book_ticker(&parse_payload(text, combined)?, received, out),
            DataKind::Ticker => {
                let ticker: Ticker<'_> = parse_payload(text, combined)?;
                check_event(&ticker.e)?;
                self.on_ticker(&ticker, received, out)
            }
            DataKind::Trade => {
                let Trade { e, s, id, price, amount, at, buyer_is_maker, spot } = parse_payload(text, combined)?;
                check_event(&e)?;
                self.on_trade(&s, [id, at], [price, amount], (buyer_is_maker, spot.is_some()), received, out)
            }
            DataKind::AggTrade => {
                let AggTrade { e, s, id, price, amount, at, buyer_is_maker, spot } = parse_payload(text, combined)?;
                check_event(&e)?;
                self.on_trade(&s, [id, at], [price, amount], (buyer_is_maker, spot.is_some()), received, out)
            }
            DataKind::Candle => {
                let event: CandleEvent<'_> = parse_payload(text, combined)?;
                check_event(&event.e)?;
                self.on_candle(&event, received, out)
            }
            DataKind::Shutdown => {
                out.notices.push(Notice::Rotate);
                Ok(())
            }
            DataKind::Other => return check_json(text),
        };
        result.map_err(|error| FeedError::malformed(error, text))
    }

    fn on_book_ticker(&mut self, book: &BookTicker<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        if book.e.is_some() {
            return Ok(());
        }
        let Some(market) = self.markets.get(&book.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state.values;
        (values.bid, values.bid_size) = price_level(book.bid, book.bid_size);
        (values.ask, values.ask_size) = price_level(book.ask, book.ask_size);
        out.push_event(ticker_event(market, values, received), received)?;
        market.state = MergedTicker { values, has_book: true };
        Ok(())
    }

    fn on_ticker(&mut self, ticker: &Ticker<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        if self.markets.accepts_any() && ticker.bid.is_none() {
            return Ok(());
        }
        let Some(market) = self.markets.get(&ticker.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state.values;
        if !market.state.has_book {
            let side = |price: Option<Number>, size: Option<Number>| {
                price.zip(size).map(|(price, size)| price_level(price, size)).unwrap_or_default()
            };
            (values.bid, values.bid_size) = side(ticker.bid, ticker.bid_size);
            (values.ask, values.ask_size) = side(ticker.ask, ticker.ask_size);
        }
        values.last = nonzero_price(ticker.last);
        values.open = nonzero_price(ticker.open);
        values.high = nonzero_price(ticker.high);
        values.low = nonzero_price(ticker.low);
        values.base_volume = Some(ticker.volume.0);
        values.quote_volume = Some(ticker.quote_volume.0);
        values.change_percent = Some(ticker.change_percent.0);
        values.update_timestamp(ticker.at.millis());
        out.push_event(ticker_event(market, values, received), received)?;
        market.state.values = values;
        Ok(())
    }

    fn on_trade(
        &mut self,
        native: &str,
        [id, at]: [Int; 2],
        [price, amount]: [Number; 2],
        (buyer_is_maker, is_spot): (bool, bool),
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), BadEvent> {
        if self.markets.accepts_any() && !is_spot {
            return Ok(());
        }
        let Some(market) = self.markets.get(native, Channel::Trades) else { return Ok(()) };
        let trade = crate::model::Trade {
            exchange: ExchangeId::Binance,
            symbol: market.symbol.clone(),
            id: id.to_id(),
            price: price.0,
            amount: amount.0,
            side: if buyer_is_maker { Side::Sell } else { Side::Buy },
            timestamp: at.millis(),
        };
        out.push_event(MarketEvent::Trade(trade), received)
    }

    fn on_candle(&mut self, event: &CandleEvent<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        let row = &event.k;
        let Ok(interval) = row.interval.parse::<Interval>() else { return Ok(()) };
        let Some(market) = self.markets.get(&event.s, Channel::Candles) else { return Ok(()) };
        let candle = Candle {
            timestamp: row.open_time.millis(),
            open: row.open.0,
            high: row.high.0,
            low: row.low.0,
            close: row.close.0,
            volume: row.volume.0,
            quote_volume: Some(row.quote_volume.0),
            trades: row.trades.count(),
            closed: row.closed,
            revision: 0,
        };
        let series = Series { exchange: ExchangeId::Binance, symbol: market.symbol.clone(), interval };
        out.push_event(MarketEvent::Candle(CandleUpdate { series, candle }), received)
    }
}

fn ticker_event(market: &Market<MergedTicker>, values: TickerPatch, received_at: Timestamp) -> MarketEvent {
    let symbol: Symbol = market.symbol.clone();
    let exchange = ExchangeId::Binance;
    MarketEvent::Ticker(crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream })
}

fn parse_payload<'a, T: Deserialize<'a>>(text: &'a str, combined: bool) -> Result<T, FeedError> {
    if combined { codec::parse_frame::<Message<T>>(text).map(|frame| frame.data.0) } else { codec::parse_frame(text) }
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe_all(&subscriptions, now, out);
    }

    fn update_subscriptions(
        &mut self,
        add: &[Subscription],
        remove: &[Subscription],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let removed: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        let streams: Vec<String> = removed.into_iter().flat_map(stream_names).collect();
        for part in streams.chunks(STREAMS_PER_MESSAGE) {
            let id = self.pending.next_id(now);
            out.frames.push(json!({"method": "UNSUBSCRIBE", "params": part, "id": id}).to_string());
        }
        let added: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Most frames start with the stream name, which allows parsing the payload in one pass as its own type.
        let stream = text.strip_prefix("{\"stream\":\"").and_then(|rest| rest.split_once('"'));
        match stream.map_or(DataKind::Other, |(stream, _)| DataKind::from_stream(stream)) {
            DataKind::Other => self.on_other_frame(text, received, out),
            kind => self.on_data(kind, text, true, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        self.pending.check_deadlines(now)
    }
}
