//! One connection to one of OKX's WebSocket paths.

use std::time::Duration;

use serde_json::json;

use super::super::codec::{self, Named, json_at_least};
use super::super::markets::Markets;
use super::super::pending::Pending;
use super::super::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use super::wire::{CandleRow, Envelope, Message, Ticker, Trade};
use super::{PROFILE, bar_name, symbols};
use crate::model::{CandleUpdate, Channel, ExchangeId, Interval, MarketEvent, Series, Side, Source, Timestamp};

/// Arguments in one message, so that it stays below 4 KiB; documented are 64 KB.
const ARGUMENTS_PER_MESSAGE: usize = 50;

/// The exchange cuts a connection on which it said nothing for 30 s; it answers a ping.
/// <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
pub(super) const PING_AFTER: Duration = Duration::from_secs(20);

/// How long to stay away after too many requests, or an error inside the exchange.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    pending: Pending,
    /// When the exchange last said something, or was asked to.
    heard: Timestamp,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tickers,
    Trades,
    Candles(Interval),
}

impl Kind {
    /// By the name of a channel. Candles on another grid than ours mean nothing to us.
    fn of(channel: &str) -> Option<Self> {
        match channel {
            "tickers" => Some(Self::Tickers),
            "trades" => Some(Self::Trades),
            _ => {
                let bar = channel.strip_prefix("candle")?;
                let interval = PROFILE.intervals.iter().find(|interval| bar_name(**interval) == Some(bar));
                interval.map(|interval| Self::Candles(*interval))
            }
        }
    }
}

/// A channel's name on the wire.
const fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker => "tickers",
        Channel::Trades => "trades",
        Channel::Candles => "candle1m",
    }
}

/// Subscribes or unsubscribes. The answer to each argument carries the id of the request.
fn request(operation: &str, subscriptions: &[&Subscription], id: u64) -> String {
    let argument =
        |one: &&Subscription| json!({"channel": channel_name(one.channel), "instId": one.instrument.stream_name()});
    let arguments: Vec<_> = subscriptions.iter().map(argument).collect();
    json!({"id": id.to_string(), "op": operation, "args": arguments}).to_string()
}

impl Session {
    /// A session that subscribes to these, all of one path.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::listed(&subscriptions);
        Self { subscriptions, markets, pending: Pending::new(&PROFILE), heard: Timestamp::EPOCH }
    }

    /// A session for frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::guessed(symbols::guess);
        Self { subscriptions: vec![], markets, pending: Pending::new(&PROFILE), heard: Timestamp::EPOCH }
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(ARGUMENTS_PER_MESSAGE) {
            let id = self.pending.request(part.to_vec(), now);
            out.frames.push(request("subscribe", &part.iter().collect::<Vec<_>>(), id));
        }
    }

    /// Answers and notices, and data whose members stand in another order than usual.
    #[cold]
    fn other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text == "pong" {
            return Ok(());
        }
        if text.trim_start().starts_with('[') {
            return json_at_least(text);
        }
        let frame: Envelope<'_> = codec::frame(text)?;
        let channel = frame.arg.as_ref().map(|arg| &*arg.channel);
        match (frame.event.as_deref(), frame.code.as_deref()) {
            (None, _) => match channel.and_then(Kind::of) {
                Some(kind) => self.data(kind, text, received, out),
                None => Ok(()),
            },
            (Some("subscribe"), _) => {
                self.confirmed(&frame, out);
                Ok(())
            }
            (Some("error"), _) if !self.markets.is_guessing() => self.refused(&frame, received, out),
            (Some("notice"), Some("64008")) => {
                out.notices.push(Notice::Rotate);
                Ok(())
            }
            // Unsubscribed, or of no concern to us.
            (Some(_), _) => Ok(()),
        }
    }

    /// The exchange took one argument of a request.
    fn confirmed(&mut self, frame: &Envelope<'_>, out: &mut Outbox) {
        let Some(arg) = &frame.arg else { return };
        let is = |one: &Subscription| {
            channel_name(one.channel) == arg.channel && arg.inst_id.as_deref() == Some(one.instrument.stream_name())
        };
        let confirmed = self.pending.part(id_of(frame), is).filter(|subscription| self.markets.wants(subscription));
        out.notices.extend(confirmed.map(|subscription| Notice::Confirmed(vec![subscription])));
    }

    /// The exchange refused one argument of a request, which only the text of the error names, or all of it. Whether the
    /// other arguments pass is not documented; seen was that they do. What is not answered has its deadline.
    fn refused(&mut self, frame: &Envelope<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (code, text) = (frame.code.as_deref().unwrap_or_default(), frame.msg.as_deref().unwrap_or_default());
        let reason = format!("{text} (code {code})");
        // Requests too frequent; failed due to an internal error: <https://www.okx.com/docs-v5/en/#error-code-websocket>
        if matches!(code, "60014" | "64007" | "63999") {
            let recovery = Recovery::Reconnect { after: TROUBLE_PAUSE };
            return Err(FeedError { recovery, message: format!("the exchange says: {reason}") });
        }
        let id = id_of(frame);
        let mut refused = match (named(text), id) {
            (Some((channel, native)), _) => {
                let is =
                    |one: &Subscription| channel_name(one.channel) == channel && one.instrument.stream_name() == native;
                Vec::from_iter(self.pending.part(id, is))
            }
            (None, Some(id)) => self.pending.answered(id).unwrap_or_default(),
            (None, None) => {
                let message = format!("the exchange refused a request without saying which: {reason}");
                return Err(FeedError { recovery: Recovery::SkipFrame, message });
            }
        };
        refused.retain(|subscription| self.markets.wants(subscription));
        if refused.len() > 1 {
            for subscription in refused {
                self.subscribe(&[subscription], now, out);
            }
        } else if let Some(subscription) = refused.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Refused { subscription, reason });
        }
        Ok(())
    }

    /// Reads the rows of a channel. Good rows are told even where another of the frame is bad.
    fn data(&mut self, kind: Kind, text: &str, received_at: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let mut result = Ok(());
        let mut note = |row: Result<(), String>| {
            if let (Ok(()), Err(what)) = (&result, row) {
                result = Err(FeedError::malformed(what, text));
            }
        };
        let bad = match kind {
            Kind::Tickers => {
                let (message, bad): (Message<'_, Named<Ticker<'_>>>, _) = codec::rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Ticker) else { return Ok(()) };
                for row in message.data.iter() {
                    let ticker = crate::model::Ticker {
                        exchange: ExchangeId::Okx,
                        symbol: market.symbol.clone(),
                        values: row.values(),
                        received_at,
                        source: Source::Stream,
                    };
                    note(out.event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string()));
                }
                bad
            }
            Kind::Trades => {
                let (message, bad): (Message<'_, Named<Trade<'_>>>, _) = codec::rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Trades) else { return Ok(()) };
                for row in message.data.iter() {
                    let side = match &*row.side {
                        "buy" => Side::Buy,
                        "sell" => Side::Sell,
                        other => {
                            note(Err(format!("unknown side {other:?}")));
                            continue;
                        }
                    };
                    let trade = crate::model::Trade {
                        exchange: ExchangeId::Okx,
                        symbol: market.symbol.clone(),
                        id: row.id.id(),
                        price: row.px.0,
                        amount: row.sz.0,
                        side,
                        timestamp: row.ts.millis(),
                    };
                    note(out.event(MarketEvent::Trade(trade), received_at).map_err(|error| error.to_string()));
                }
                bad
            }
            Kind::Candles(interval) => {
                let (message, bad): (Message<'_, CandleRow>, _) = codec::rows(text)?;
                let Some(market) = self.markets.get(&message.arg.inst_id, Channel::Candles) else { return Ok(()) };
                for row in message.data.iter() {
                    let series = Series { exchange: ExchangeId::Okx, symbol: market.symbol.clone(), interval };
                    let update = CandleUpdate { series, candle: row.candle() };
                    note(out.event(MarketEvent::Candle(update), received_at).map_err(|error| error.to_string()));
                }
                bad
            }
        };
        result.and_then(|()| codec::first_bad(&bad))
    }
}

/// Data begin with the name of their channel, so that the rows are read in one pass by their own type. An answer may begin
/// like that, too, but has no data after it.
fn kind_of_data(text: &str) -> Option<Kind> {
    let (channel, rest) = text.strip_prefix("{\"arg\":{\"channel\":\"")?.split_once('"')?;
    let (_, rest) = rest.split_once('}')?;
    if rest.starts_with(",\"data\":") { Kind::of(channel) } else { None }
}

fn id_of(frame: &Envelope<'_>) -> Option<u64> {
    frame.id.as_deref()?.parse().ok()
}

/// Which argument the text of an error names: `… channel:tickers,instId:NO-USDT doesn't exist …`.
fn named(text: &str) -> Option<(&str, &str)> {
    let (channel, rest) = text.split_once("channel:")?.1.split_once(",instId:")?;
    Some((channel, rest.split(|c: char| c.is_whitespace() || c == ',').next()?))
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.heard = now;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe(&subscriptions, now, out);
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let gone: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        for part in gone.chunks(ARGUMENTS_PER_MESSAGE) {
            out.frames.push(request("unsubscribe", part, self.pending.id(now)));
        }
        let new: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe(&new, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        self.heard = received;
        let Frame::Text(text) = frame else { return Ok(()) };
        match kind_of_data(text) {
            Some(kind) => self.data(kind, text, received, out),
            None => self.other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.heard) >= PING_AFTER {
            self.heard = now;
            self.pending.id(now);
            out.frames.push("ping".to_owned());
        }
        self.pending.check(now)
    }
}
