//! One connection to Binance's combined streams.

use serde::Deserialize;
use serde_json::json;

use super::super::codec::{self, Int, json_at_least, level, price};
use super::super::markets::{Market, Markets};
use super::super::pending::Pending;
use super::super::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use super::wire::{AggTrade, BookTicker, Combined, Envelope, KlineEvent, Ticker, Trade};
use super::{PROFILE, symbols};
use crate::model::{
    BadEvent, Candle, CandleUpdate, Channel, ExchangeId, Interval, MarketEvent, Number, Series, Side, Source, Symbol,
    TickerPatch, Timestamp,
};

/// Streams in one message, so that it stays far below 4 KiB.
const STREAMS_PER_MESSAGE: usize = 100;

/// What comes in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    BookTicker,
    Ticker,
    Trade,
    AggTrade,
    Kline,
    Shutdown,
    Other,
}

impl Kind {
    /// By the name of a stream: `btcusdt@kline_1m`.
    fn of_stream(stream: &str) -> Self {
        match stream.split_once('@').map_or(stream, |(_, name)| name) {
            "bookTicker" => Self::BookTicker,
            "ticker" => Self::Ticker,
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "!serverShutdown" => Self::Shutdown,
            // Those of another time zone, `kline_1d@+08:00`, are not on our grid.
            name if name.starts_with("kline_") && !name.contains('@') => Self::Kline,
            _ => Self::Other,
        }
    }

    /// By the name of an event.
    fn of_event(event: &str) -> Self {
        match event {
            "24hrTicker" => Self::Ticker,
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "kline" => Self::Kline,
            "serverShutdown" => Self::Shutdown,
            _ => Self::Other,
        }
    }
}

/// A ticker as it comes together from two streams.
#[derive(Default)]
pub(super) struct Merged {
    values: TickerPatch,
    /// Whether the stream of the best bid and ask has spoken; the slower statistics repeat them late.
    has_book: bool,
}

/// One connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    markets: Markets<Merged>,
    pending: Pending,
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
    /// A session that subscribes to these.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        Self { markets: Markets::listed(&subscriptions), subscriptions, pending: Pending::new(&PROFILE) }
    }

    /// A session for frames of any market.
    pub fn decoder() -> Self {
        Self { markets: Markets::guessed(symbols::guess), subscriptions: vec![], pending: Pending::new(&PROFILE) }
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>, now: Timestamp, out: &mut Outbox) {
        let streams: Vec<String> = subscriptions.iter().flat_map(stream_names).collect();
        let id = self.pending.request(subscriptions, now);
        out.frames.push(json!({"method": "SUBSCRIBE", "params": streams, "id": id}).to_string());
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(STREAMS_PER_MESSAGE / super::STREAMS_PER_SUBSCRIPTION) {
            self.subscribe(part.to_vec(), now, out);
        }
    }

    /// The exchange took a request.
    fn confirmed(&mut self, id: u64, out: &mut Outbox) {
        let mut answered = self.pending.answered(id).unwrap_or_default();
        answered.retain(|subscription| self.markets.wants(subscription));
        if !answered.is_empty() {
            out.notices.push(Notice::Confirmed(answered));
        }
    }

    /// The exchange refused a request. Where it held several subscriptions, each is asked for on its own, so that the
    /// good ones come and the bad ones are named.
    fn refused(&mut self, id: u64, reason: &str, now: Timestamp, out: &mut Outbox) {
        let mut answered = self.pending.answered(id).unwrap_or_default();
        answered.retain(|subscription| self.markets.wants(subscription));
        if answered.len() > 1 {
            for subscription in answered {
                self.subscribe(vec![subscription], now, out);
            }
        } else if let Some(subscription) = answered.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Refused { subscription, reason: reason.to_owned() });
        }
    }

    /// Frames whose members stand in another order than usual, bare payloads, and answers.
    #[cold]
    fn other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return json_at_least(text);
        }
        let frame: Envelope<'_> = codec::frame(text)?;
        if let Some(data) = frame.data {
            let mut kind = frame.stream.as_deref().map_or(Kind::Other, Kind::of_stream);
            // A notice may come under a name of its own.
            if kind == Kind::Other
                && let Ok(Envelope { e: Some(event), .. }) = serde_json::from_str(data.get())
                && *event == *"serverShutdown"
            {
                kind = Kind::Shutdown;
            }
            return self.payload(kind, data.get(), false, received, out);
        }
        if let Some(event) = frame.e {
            return self.payload(Kind::of_event(&event), text, false, received, out);
        }
        let id = frame.id.and_then(|id| id.get().trim_matches('"').parse().ok());
        let error = frame.error.map(|error| (error.code, error.msg));
        let error = error.or(frame.code.zip(frame.msg.map(|text| text.0)));
        match (id, error) {
            (Some(id), None) => self.confirmed(id, out),
            (Some(id), Some((Int(code), reason))) => {
                self.refused(id, &format!("{reason} (code {code})"), received, out);
            }
            (None, Some((Int(code), reason))) if !self.markets.is_guessing() => {
                return Err(FeedError {
                    recovery: Recovery::SkipFrame,
                    message: format!("the exchange refused a request without saying which: {reason} (code {code})"),
                });
            }
            (None, None) if frame.u.is_some() => return self.payload(Kind::BookTicker, text, false, received, out),
            (None, _) => {}
        }
        Ok(())
    }

    /// Reads a payload of a known kind, in its combined frame or bare.
    fn payload(
        &mut self,
        kind: Kind,
        text: &str,
        combined: bool,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        // What comes under the name of another stream is not what its stream says.
        let of = |event: &str| {
            let told = Kind::of_event(event);
            let wrong = || FeedError::malformed(format_args!("{event} where {kind:?} is expected"), text);
            if told == kind { Ok(()) } else { Err(wrong()) }
        };
        let told = match kind {
            Kind::BookTicker => self.book_ticker(&payload(text, combined)?, received, out),
            Kind::Ticker => {
                let ticker: Ticker<'_> = payload(text, combined)?;
                of(&ticker.e)?;
                self.ticker(&ticker, received, out)
            }
            Kind::Trade => {
                let Trade { e, s, id, price, amount, at, buyer_is_maker, spot } = payload(text, combined)?;
                of(&e)?;
                self.trade(&s, [id, at], [price, amount], (buyer_is_maker, spot.is_some()), received, out)
            }
            Kind::AggTrade => {
                let AggTrade { e, s, id, price, amount, at, buyer_is_maker, spot } = payload(text, combined)?;
                of(&e)?;
                self.trade(&s, [id, at], [price, amount], (buyer_is_maker, spot.is_some()), received, out)
            }
            Kind::Kline => {
                let event: KlineEvent<'_> = payload(text, combined)?;
                of(&event.e)?;
                self.kline(&event, received, out)
            }
            Kind::Shutdown => {
                out.notices.push(Notice::Rotate);
                Ok(())
            }
            Kind::Other => return json_at_least(text),
        };
        told.map_err(|error| FeedError::malformed(error, text))
    }

    fn book_ticker(&mut self, book: &BookTicker<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        if book.e.is_some() {
            return Ok(());
        }
        let Some(market) = self.markets.get(&book.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state.values;
        (values.bid, values.bid_size) = level(book.bid, book.bid_size);
        (values.ask, values.ask_size) = level(book.ask, book.ask_size);
        out.event(ticker_event(market, values, received), received)?;
        market.state = Merged { values, has_book: true };
        Ok(())
    }

    fn ticker(&mut self, ticker: &Ticker<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        if self.markets.is_guessing() && ticker.bid.is_none() {
            return Ok(());
        }
        let Some(market) = self.markets.get(&ticker.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state.values;
        if !market.state.has_book {
            let side = |at: Option<Number>, size: Option<Number>| at.zip(size).map(|(at, size)| level(at, size));
            (values.bid, values.bid_size) = side(ticker.bid, ticker.bid_size).unwrap_or_default();
            (values.ask, values.ask_size) = side(ticker.ask, ticker.ask_size).unwrap_or_default();
        }
        values.last = price(ticker.last);
        values.open = price(ticker.open);
        values.high = price(ticker.high);
        values.low = price(ticker.low);
        values.base_volume = Some(ticker.volume.0);
        values.quote_volume = Some(ticker.quote_volume.0);
        values.change_percent = Some(ticker.change_percent.0);
        values.told_at(ticker.at.millis());
        out.event(ticker_event(market, values, received), received)?;
        market.state.values = values;
        Ok(())
    }

    fn trade(
        &mut self,
        native: &str,
        [id, at]: [Int; 2],
        [price, amount]: [Number; 2],
        (buyer_is_maker, is_spot): (bool, bool),
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), BadEvent> {
        if self.markets.is_guessing() && !is_spot {
            return Ok(());
        }
        let Some(market) = self.markets.get(native, Channel::Trades) else { return Ok(()) };
        let trade = crate::model::Trade {
            exchange: ExchangeId::Binance,
            symbol: market.symbol.clone(),
            id: id.id(),
            price: price.0,
            amount: amount.0,
            side: if buyer_is_maker { Side::Sell } else { Side::Buy },
            timestamp: at.millis(),
        };
        out.event(MarketEvent::Trade(trade), received)
    }

    fn kline(&mut self, event: &KlineEvent<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), BadEvent> {
        let kline = &event.k;
        let Ok(interval) = kline.interval.parse::<Interval>() else { return Ok(()) };
        let Some(market) = self.markets.get(&event.s, Channel::Candles) else { return Ok(()) };
        let candle = Candle {
            timestamp: kline.open_time.millis(),
            open: kline.open.0,
            high: kline.high.0,
            low: kline.low.0,
            close: kline.close.0,
            volume: kline.volume.0,
            quote_volume: Some(kline.quote_volume.0),
            trades: kline.trades.count(),
            closed: kline.closed,
            revision: 0,
        };
        let series = Series { exchange: ExchangeId::Binance, symbol: market.symbol.clone(), interval };
        out.event(MarketEvent::Candle(CandleUpdate { series, candle }), received)
    }
}

fn ticker_event(market: &Market<Merged>, values: TickerPatch, received_at: Timestamp) -> MarketEvent {
    let symbol: Symbol = market.symbol.clone();
    let exchange = ExchangeId::Binance;
    MarketEvent::Ticker(crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream })
}

fn payload<'a, T: Deserialize<'a>>(text: &'a str, combined: bool) -> Result<T, FeedError> {
    if combined { codec::frame::<Combined<T>>(text).map(|frame| frame.data.0) } else { codec::frame(text) }
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe_all(&subscriptions, now, out);
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let gone: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        let streams: Vec<String> = gone.into_iter().flat_map(stream_names).collect();
        for part in streams.chunks(STREAMS_PER_MESSAGE) {
            let id = self.pending.id(now);
            out.frames.push(json!({"method": "UNSUBSCRIBE", "params": part, "id": id}).to_string());
        }
        let new: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&new, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Frames begin with the name of their stream, so that the payload is read in one pass by its own type.
        let stream = text.strip_prefix("{\"stream\":\"").and_then(|rest| rest.split_once('"'));
        match stream.map_or(Kind::Other, |(stream, _)| Kind::of_stream(stream)) {
            Kind::Other => self.other_frame(text, received, out),
            kind => self.payload(kind, text, true, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        self.pending.check(now)
    }
}
