//! The dialect of Binance's combined streams.

use super::profile::PROFILE;
use super::rest::statistics;
use super::wire::{BookTicker, CandleEvent, Envelope, Message, Ticker, Trade, TradeMarket};
use crate::exchanges::prelude::*;

/// The codec of one connection.
#[derive(Default)]
pub(super) struct Codec;

/// A ticker, merged from two streams.
#[derive(Clone, Copy, Default)]
pub(super) struct MergedTicker {
    values: TickerPatch,
    /// Whether the book ticker stream has sent the best bid and ask; the slower statistics repeat them late.
    has_book: bool,
}

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
        Self::from_name(stream.split_once('@').map_or(stream, |(_, name)| name))
    }

    /// By the last part of the name of a stream, or the name of an event.
    fn from_name(name: &str) -> Self {
        match name {
            "bookTicker" => Self::BookTicker,
            "ticker" | "24hrTicker" => Self::Ticker,
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "kline" => Self::Candle,
            // Candles of another time zone, `kline_1d@+08:00`, are not on our grid.
            _ if name.starts_with("kline_") && !name.contains('@') => Self::Candle,
            "serverShutdown" | "!serverShutdown" => Self::Shutdown,
            _ => Self::Other,
        }
    }
}

impl StreamCodec for Codec {
    type State = MergedTicker;

    const RULES: StreamRules = StreamRules {
        mixes_channels: true,
        // Keeps a message far below 4 KiB.
        topics_per_request: 100,
        // <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
        topics_per_connection: 1024,
        ..StreamRules::new(ExchangeId::BINANCE, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["ticker", "bookTicker"],
            Channel::Trades => &["trade"],
            Channel::Candles => &["kline_1m"],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let stream = |topic: &NativeTopic<'_>| format!("{}@{}", topic.market.to_lowercase(), topic.channel);
        let streams: Vec<_> = request.topics.iter().map(stream).collect();
        json!({"method": request.operation.as_str().to_uppercase(), "params": streams, "id": request.id}).to_string()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, MergedTicker>) -> Result<Inbound<'a>, FeedError> {
        // Most frames start with the stream name, which allows parsing the payload in one pass as its own type.
        let stream = text.strip_prefix("{\"stream\":\"").and_then(|rest| rest.split_once('"'));
        match stream.map_or(DataKind::Other, |(stream, _)| DataKind::from_stream(stream)) {
            DataKind::Other => decode_other(text, sink),
            kind => decode_data(kind, text, true, sink),
        }
    }
}

/// Decodes frames with another order of members, bare payloads, acknowledgements and refusals.
#[cold]
fn decode_other<'a>(text: &'a str, sink: &mut Sink<'_, MergedTicker>) -> Result<Inbound<'a>, FeedError> {
    let Some(frame) = codec::parse_envelope::<Envelope<'_>>(text)? else { return Ok(Inbound::Ignored) };
    if let Some(data) = frame.data {
        let mut kind = frame.stream.as_deref().map_or(DataKind::Other, DataKind::from_stream);
        // A shutdown notice may have another stream name.
        if kind == DataKind::Other
            && let Ok(Envelope { e: Some(event), .. }) = serde_json::from_str(data.get())
            && *event == *"serverShutdown"
        {
            kind = DataKind::Shutdown;
        }
        return decode_data(kind, data.get(), false, sink);
    }
    if let Some(event) = frame.e {
        return decode_data(DataKind::from_name(&event), text, false, sink);
    }
    let answer = Answer { request: frame.id.0, ..Answer::default() };
    match frame.error.map(|error| (error.code, error.msg)).or(frame.code.zip(frame.msg)) {
        Some((code, reason)) => {
            Ok(Inbound::Refusal { answer, reason: format!("{} (code {})", &*reason, code.0).into() })
        }
        None if answer.request.is_some() => Ok(Inbound::Ack(answer)),
        None if frame.u.is_some() => decode_data(DataKind::BookTicker, text, false, sink),
        None => Ok(Inbound::Ignored),
    }
}

/// Decodes a payload of a known kind, in a combined message or bare.
fn decode_data<'a>(
    kind: DataKind,
    text: &str,
    combined: bool,
    sink: &mut Sink<'_, MergedTicker>,
) -> Result<Inbound<'a>, FeedError> {
    // An event that does not match the stream name is invalid.
    let check_event = |event: &str| {
        let mismatch = || FeedError::malformed(format_args!("{event} where {kind:?} is expected"), text);
        if DataKind::from_name(event) == kind { Ok(()) } else { Err(mismatch()) }
    };
    match kind {
        DataKind::BookTicker => on_book_ticker(&parse_payload(text, combined)?, sink),
        DataKind::Ticker => {
            let ticker: Ticker<'_> = parse_payload(text, combined)?;
            check_event(ticker.e.as_deref().unwrap_or_default())?;
            on_ticker(&ticker, sink);
        }
        DataKind::Trade | DataKind::AggTrade => {
            let trade: Trade<'_> = parse_payload(text, combined).inspect_err(|error| {
                let market: Option<TradeMarket<'_>> = parse_payload(text, combined).ok();
                sink.skip_trade(market.as_ref().map(|trade| &*trade.s), error);
            })?;
            check_event(&trade.e)?;
            on_trade(&trade, sink);
        }
        DataKind::Candle => {
            let event: CandleEvent<'_> = parse_payload(text, combined)?;
            check_event(&event.e)?;
            on_candle(&event, sink);
        }
        DataKind::Shutdown => return Ok(Inbound::Notice(Notice::Rotate)),
        DataKind::Other => return Inbound::ignored(text),
    }
    Ok(Inbound::Data)
}

fn parse_payload<'a, T: Deserialize<'a>>(text: &'a str, combined: bool) -> Result<T, FeedError> {
    if combined { codec::parse_frame::<Message<T>>(text).map(|frame| frame.data.0) } else { codec::parse_frame(text) }
}

fn on_book_ticker(book: &BookTicker<'_>, sink: &mut Sink<'_, MergedTicker>) {
    // Only events of derivatives have a name.
    if book.e.is_some() {
        return;
    }
    let Some(mut market) = sink.market(&book.s, Channel::Ticker) else { return };
    let mut values = market.state().values;
    (values.bid, values.bid_size) = price_level(book.bid, book.bid_size);
    (values.ask, values.ask_size) = price_level(book.ask, book.ask_size);
    if market.ticker(values) {
        *market.state() = MergedTicker { values, has_book: true };
    }
}

fn on_ticker(ticker: &Ticker<'_>, sink: &mut Sink<'_, MergedTicker>) {
    // A derivative.
    if sink.accepts_any() && ticker.bid.0.is_none() {
        return;
    }
    let Some(mut market) = sink.market(&ticker.symbol, Channel::Ticker) else { return };
    let MergedTicker { mut values, has_book } = *market.state();
    if !has_book {
        (values.bid, values.bid_size) = optional_level(ticker.bid.0, ticker.bid_size.0);
        (values.ask, values.ask_size) = optional_level(ticker.ask.0, ticker.ask_size.0);
    }
    let TickerPatch { bid, bid_size, ask, ask_size, timestamp, .. } = values;
    values = TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..statistics(ticker) };
    values.update_timestamp(ticker.at.millis());
    if market.ticker(values) {
        market.state().values = values;
    }
}

fn on_trade(trade: &Trade<'_>, sink: &mut Sink<'_, MergedTicker>) {
    // A derivative.
    if sink.accepts_any() && trade.spot.is_none() {
        return;
    }
    sink.trade(&trade.s, || {
        let id = trade.id.or(trade.aggregate_id).ok_or("a trade without an id")?.to_id();
        let side = if trade.buyer_is_maker { Side::Sell } else { Side::Buy };
        Ok(NewTrade { id, price: trade.price, amount: trade.amount, side, timestamp: trade.at.millis() })
    });
}

fn on_candle(event: &CandleEvent<'_>, sink: &mut Sink<'_, MergedTicker>) {
    let row = &event.k;
    let Ok(interval) = row.interval.parse::<Interval>() else { return };
    sink.candle(&event.s, interval, || {
        let prices = [row.open, row.high, row.low, row.close];
        Ok(Candle {
            quote_volume: Some(row.quote_volume.0),
            trades: row.trades.count(),
            closed: row.closed,
            ..new_candle(row.open_time.millis(), prices, row.volume)
        })
    });
}
