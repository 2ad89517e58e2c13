//! One connection to one of the WebSocket paths of OKX.

use std::time::Duration;

use serde_json::json;

use super::profile::PROFILE;
use super::rest::{candle, interval_by_name, ticker_patch};
use super::symbols;
use super::wire::{CandleRow, Envelope, Message, Ticker, Trade};
use crate::exchanges::codec::{self, Object, check_json};
use crate::exchanges::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use crate::exchanges::markets::Markets;
use crate::exchanges::pending::PendingRequests;
use crate::model::{CandleUpdate, Channel, ExchangeId, Interval, MarketEvent, Series, Side, Source, Timestamp};

/// Maximum number of subscriptions per message; keeps a message below 4 KiB. The documented limit is 64 KB.
const SUBSCRIPTIONS_PER_MESSAGE: usize = 50;

/// Time without a frame until the session sends a ping, which the exchange answers. The exchange closes a connection on
/// which it has sent nothing for 30 s.
/// <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
pub(super) const PING_AFTER_IDLE: Duration = Duration::from_secs(20);

/// Delay before a reconnect after too many requests or an internal error of the exchange.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct Session {
    /// Sent in `on_open`.
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    pending: PendingRequests,
    /// Time of the last received frame or sent ping.
    last_activity: Timestamp,
}

/// Kinds of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    Tickers,
    Trades,
    Candles(Interval),
}

impl DataKind {
    /// By the name of a channel; `None` for candles that are not on our grid.
    fn from_channel(channel: &str) -> Option<Self> {
        match channel {
            "tickers" => Some(Self::Tickers),
            "trades" => Some(Self::Trades),
            _ => interval_by_name(channel.strip_prefix("candle")?).map(Self::Candles),
        }
    }
}

/// OKX's name of a channel.
const fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker => "tickers",
        Channel::Trades => "trades",
        Channel::Candles => "candle1m",
    }
}

/// A request to subscribe or unsubscribe. The acknowledgement of each subscription has the id of the request.
fn request_frame(method: &str, subscriptions: &[&Subscription], id: u64) -> String {
    let argument =
        |one: &&Subscription| json!({"channel": channel_name(one.channel), "instId": one.instrument.stream_name()});
    let arguments: Vec<_> = subscriptions.iter().map(argument).collect();
    json!({"id": id.to_string(), "op": method, "args": arguments}).to_string()
}

impl Session {
    /// A session with initial subscriptions, all of one path.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::subscribed(&subscriptions);
        Self { subscriptions, markets, pending: PendingRequests::new(&PROFILE), last_activity: Timestamp::EPOCH }
    }

    /// A session that accepts frames of any market.
    pub fn decoder() -> Self {
        let (markets, pending) = (Markets::any(symbols::guess_symbol), PendingRequests::new(&PROFILE));
        Self { subscriptions: vec![], markets, pending, last_activity: Timestamp::EPOCH }
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(SUBSCRIPTIONS_PER_MESSAGE) {
            let id = self.pending.add(part.to_vec(), now);
            out.frames.push(request_frame("subscribe", &part.iter().collect::<Vec<_>>(), id));
        }
    }

    /// Handles acknowledgements, rejections and notices, and data with another order of members.
    #[cold]
    fn on_other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text == "pong" {
            return Ok(());
        }
        if text.trim_start().starts_with('[') {
            return check_json(text);
        }
        let frame: Envelope<'_> = codec::parse_frame(text)?;
        let channel = frame.arg.as_ref().map(|arg| &*arg.channel);
        match (frame.event.as_deref(), frame.code.as_deref()) {
            (None, _) => match channel.and_then(DataKind::from_channel) {
                Some(kind) => self.on_data(kind, text, received, out),
                None => Ok(()),
            },
            (Some("subscribe"), _) => {
                self.on_ack(&frame, out);
                Ok(())
            }
            (Some("error"), _) if !self.markets.accepts_any() => self.on_rejection(&frame, received, out),
            (Some("notice"), Some("64008")) => {
                out.notices.push(Notice::Rotate);
                Ok(())
            }
            // The response to an unsubscribe request, or a message without relevance.
            (Some(_), _) => Ok(()),
        }
    }

    /// The exchange acknowledged one subscription of a request.
    fn on_ack(&mut self, frame: &Envelope<'_>, out: &mut Outbox) {
        let Some(arg) = &frame.arg else { return };
        let matches = |one: &Subscription| {
            channel_name(one.channel) == arg.channel && arg.inst_id.as_deref() == Some(one.instrument.stream_name())
        };
        let acknowledged = self.pending.take_one(request_id(frame), matches);
        let acknowledged = acknowledged.filter(|subscription| self.markets.is_subscribed(subscription));
        out.notices.extend(acknowledged.map(|subscription| Notice::Acknowledged(vec![subscription])));
    }

    /// The exchange rejected one subscription of a request, which only the error message names, or a request as a
    /// whole. Whether it accepts the other subscriptions is not documented; in practice it did. Otherwise they miss
    /// their deadline.
    fn on_rejection(&mut self, frame: &Envelope<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (code, text) = (frame.code.as_deref().unwrap_or_default(), frame.msg.as_deref().unwrap_or_default());
        let reason = format!("{text} (code {code})");
        // Requests too frequent; failed due to an internal error:
        // <https://www.okx.com/docs-v5/en/#error-code-websocket>
        if matches!(code, "60014" | "64007" | "63999") {
            let recovery = Recovery::Reconnect { after: RECONNECT_DELAY };
            return Err(FeedError { recovery, message: format!("error of the exchange: {reason}") });
        }
        let id = request_id(frame);
        let mut rejected = match (rejected_argument(text), id) {
            (Some((channel, native)), _) => {
                let matches =
                    |one: &Subscription| channel_name(one.channel) == channel && one.instrument.stream_name() == native;
                Vec::from_iter(self.pending.take_one(id, matches))
            }
            (None, Some(id)) => self.pending.take(id).unwrap_or_default(),
            (None, None) => {
                let message = format!("the exchange rejected an unidentified request: {reason}");
                return Err(FeedError { recovery: Recovery::SkipFrame, message });
            }
        };
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        if rejected.len() > 1 {
            for subscription in rejected {
                self.subscribe_all(&[subscription], now, out);
            }
        } else if let Some(subscription) = rejected.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Rejected { subscription, reason });
        }
        Ok(())
    }

    /// Handles data of a channel. Valid rows become events even if another row of the frame is invalid.
    fn on_data(
        &mut self,
        kind: DataKind,
        text: &str,
        received_at: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        let mut result = Ok(());
        let mut record = |row: Result<(), String>| {
            if let (Ok(()), Err(what)) = (&result, row) {
                result = Err(FeedError::malformed(what, text));
            }
        };
        let invalid = match kind {
            DataKind::Tickers => {
                let (message, invalid): (Message<'_, Object<Ticker<'_>>>, _) = codec::parse_rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Ticker) else { return Ok(()) };
                for row in message.data.iter() {
                    let ticker = crate::model::Ticker {
                        exchange: ExchangeId::Okx,
                        symbol: market.symbol.clone(),
                        values: ticker_patch(row),
                        received_at,
                        source: Source::Stream,
                    };
                    record(out.push_event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string()));
                }
                invalid
            }
            DataKind::Trades => {
                let (message, invalid): (Message<'_, Object<Trade<'_>>>, _) = codec::parse_rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Trades) else { return Ok(()) };
                for row in message.data.iter() {
                    let side = match &*row.side {
                        "buy" => Side::Buy,
                        "sell" => Side::Sell,
                        other => {
                            record(Err(format!("unknown side {other:?}")));
                            continue;
                        }
                    };
                    let trade = crate::model::Trade {
                        exchange: ExchangeId::Okx,
                        symbol: market.symbol.clone(),
                        id: row.id.to_id(),
                        price: row.px.0,
                        amount: row.sz.0,
                        side,
                        timestamp: row.ts.millis(),
                    };
                    record(out.push_event(MarketEvent::Trade(trade), received_at).map_err(|error| error.to_string()));
                }
                invalid
            }
            DataKind::Candles(interval) => {
                let (message, invalid): (Message<'_, CandleRow>, _) = codec::parse_rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Candles) else { return Ok(()) };
                for row in message.data.iter() {
                    let series = Series { exchange: ExchangeId::Okx, symbol: market.symbol.clone(), interval };
                    let update = CandleUpdate { series, candle: candle(row) };
                    record(out.push_event(MarketEvent::Candle(update), received_at).map_err(|error| error.to_string()));
                }
                invalid
            }
        };
        result.and_then(|()| codec::first_error(&invalid))
    }
}

/// The kind of a data frame. Most data frames start with the channel name, which allows parsing the rows in one pass as
/// their own type. An acknowledgement may start in the same way, but has no data after it.
fn peek_data_kind(text: &str) -> Option<DataKind> {
    let (channel, rest) = text.strip_prefix("{\"arg\":{\"channel\":\"")?.split_once('"')?;
    let (_, rest) = rest.split_once('}')?;
    if rest.starts_with(",\"data\":") { DataKind::from_channel(channel) } else { None }
}

fn request_id(frame: &Envelope<'_>) -> Option<u64> {
    frame.id.as_deref()?.parse().ok()
}

/// The channel and the native id in an error message: `… channel:tickers,instId:NO-USDT doesn't exist …`.
fn rejected_argument(text: &str) -> Option<(&str, &str)> {
    let (channel, rest) = text.split_once("channel:")?.1.split_once(",instId:")?;
    Some((channel, rest.split(|c: char| c.is_whitespace() || c == ',').next()?))
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.last_activity = now;
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
        for part in removed.chunks(SUBSCRIPTIONS_PER_MESSAGE) {
            out.frames.push(request_frame("unsubscribe", part, self.pending.next_id(now)));
        }
        let added: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        self.last_activity = received;
        let Frame::Text(text) = frame else { return Ok(()) };
        match peek_data_kind(text) {
            Some(kind) => self.on_data(kind, text, received, out),
            None => self.on_other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.last_activity) >= PING_AFTER_IDLE {
            self.last_activity = now;
            self.pending.next_id(now);
            out.frames.push("ping".to_owned());
        }
        self.pending.check_deadlines(now)
    }
}
