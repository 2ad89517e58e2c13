//! An exchange with the simplest dialect there is, and the server's end of its sockets.
//!
//! Out: `+BTC/USDT`, `-BTC/USDT`. In: `ok BTC/USDT`, `no BTC/USDT`, `trade BTC/USDT 7`, `rotate`, `again 5`, `giveup`, `alive`, `skipped BTC/USDT`, and
//! `absurd`, at which the session panics.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use candlewick::clock::Clock;
use candlewick::exchanges::*;
use candlewick::model::*;
use candlewick::upstream::*;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

pub struct Fake(pub Profile);

pub fn profile(scopes: &'static [Scope]) -> Profile {
    Profile {
        rest_origins: &[],
        ws_origins: &[],
        rest_headers: &[("x-wanted", "yes")],
        probe_path: "/ping",
        scopes,
        connects: Scope { name: "connections", limit: 300, window: Duration::from_mins(5), used_header: None },
        ban_pause: Duration::from_mins(2),
        reset_header: Some("x-reset"),
        page_cost: PageCost { scope: "rest", weight: 1 },
        channels: &[Channel::Trades],
        intervals: &[],
        minutes: MinuteCandles::Flagged,
        wide_pages: false,
        page_rows: 1,
        rest_lag: Duration::ZERO,
        reach_rows: None,
        idle_timeout: Duration::from_mins(1),
        ack_timeout: Duration::from_secs(10),
        messages_per_second: NonZeroU32::new(5).unwrap(),
        max_connection_age: None,
    }
}

impl Fake {
    pub fn leak(profile: Profile) -> &'static dyn Exchange {
        Box::leak(Box::new(Self(profile)))
    }
}

impl Exchange for Fake {
    fn id(&self) -> ExchangeId {
        ExchangeId::Binance
    }
    fn profile(&self) -> &Profile {
        &self.0
    }
    fn instruments(&self) -> RestCall<Listing> {
        unreachable!("the engine takes calls, it does not make them")
    }
    fn ticker(&self, _: &Instrument) -> Vec<RestCall<TickerPatch>> {
        Vec::new()
    }
    fn candles(&self, _: &CandlePage) -> Option<RestCall<CandleRows>> {
        None
    }
    fn refusal(&self, reply: &Reply<'_>, _: Timestamp) -> Option<ReplyError> {
        (reply.body == b"no" && reply.status == 400).then(|| ReplyError::new(ReplyErrorKind::Refused, "no"))
    }
    fn connections(&self, _: &[Subscription]) -> Vec<ConnectionPlan> {
        Vec::new()
    }
    fn decoder(&self) -> Box<dyn FeedSession> {
        session(Vec::new())
    }
    fn guess_symbol(&self, _: &str) -> Option<Symbol> {
        None
    }
}

pub fn trades(symbol: &str) -> Subscription {
    let instrument = Instrument {
        exchange: ExchangeId::Binance,
        symbol: symbol.parse().unwrap(),
        native: symbol.to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: candlewick::model::InstrumentStatus::Trading,
    };
    Subscription { channel: Channel::Trades, instrument: Arc::new(instrument) }
}

pub fn trade(symbol: &str, id: &str) -> MarketEvent {
    MarketEvent::Trade(Trade {
        exchange: ExchangeId::Binance,
        symbol: symbol.parse().unwrap(),
        id: id.into(),
        price: 1.into(),
        amount: 1.into(),
        side: Side::Buy,
        timestamp: Timestamp::EPOCH,
    })
}

pub fn gap(symbols: &[&str], since: i64, until: i64) -> MarketEvent {
    MarketEvent::Gap(Gap {
        exchange: ExchangeId::Binance,
        topics: symbols.iter().map(|symbol| trades(symbol).topic()).collect(),
        missed: TimeRange::new(Timestamp::from_millis(since), Timestamp::from_millis(until)),
        reason: GapReason::UpstreamDisconnect,
    })
}

/// The fake dialect's state machine.
struct Session {
    subscriptions: BTreeMap<String, Subscription>,
    waiting: BTreeMap<String, Timestamp>,
}

pub fn session(subscriptions: Vec<Subscription>) -> Box<dyn FeedSession> {
    let subscriptions = subscriptions.into_iter().map(|sub| (sub.instrument.native.clone(), sub)).collect();
    Box::new(Session { subscriptions, waiting: BTreeMap::new() })
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        for symbol in self.subscriptions.keys() {
            self.waiting.insert(symbol.clone(), now + Duration::from_secs(10));
            out.frames.push(format!("+{symbol}"));
        }
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for gone in remove {
            self.subscriptions.remove(&gone.instrument.native);
            out.frames.push(format!("-{}", gone.instrument.native));
        }
        for new in add {
            self.subscriptions.insert(new.instrument.native.clone(), new.clone());
            self.waiting.insert(new.instrument.native.clone(), now + Duration::from_secs(10));
            out.frames.push(format!("+{}", new.instrument.native));
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Err(FeedError::malformed("binary", "")) };
        let words: Vec<_> = text.split(' ').collect();
        let failed = |recovery| FeedError { recovery, message: text.to_owned() };
        match *words {
            ["ok", symbol] => {
                self.waiting.remove(symbol);
                out.notices.push(Notice::Confirmed(vec![self.subscriptions[symbol].clone()]));
            }
            ["no", symbol] => {
                self.waiting.remove(symbol);
                let subscription = self.subscriptions.remove(symbol).unwrap();
                out.notices.push(Notice::Refused { subscription, reason: text.to_owned() });
            }
            ["trade", symbol, id] => out.event(trade(symbol, id), now).unwrap(),
            ["skipped", symbol] => out.notices.push(Notice::TradeSkipped(Some(symbol.parse().unwrap()))),
            ["alive"] => out.notices.push(Notice::Alive),
            ["absurd"] => panic!("an absurd number"),
            ["rotate"] => out.notices.push(Notice::Rotate),
            ["again", secs] => {
                return Err(failed(Recovery::Reconnect { after: Duration::from_secs(secs.parse().unwrap()) }));
            }
            ["giveup"] => return Err(failed(Recovery::GiveUp)),
            _ => return Err(FeedError::malformed("no such word", text)),
        }
        Ok(())
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        if self.waiting.values().all(|deadline| *deadline > now) {
            return Ok(());
        }
        let message = "no acknowledgement in time".to_owned();
        Err(FeedError { recovery: Recovery::Reconnect { after: Duration::ZERO }, message })
    }
}

/// Dials over memory. What it dials arrives at the test's end.
pub struct Memory {
    accepted: mpsc::UnboundedSender<Server>,
    /// Origins that refuse.
    pub dark: Mutex<Vec<&'static str>>,
    /// When what was dialled.
    pub dialed: Mutex<Vec<(i64, String)>>,
    clock: Clock,
}

/// The exchange's end of one socket.
pub struct Server {
    pub url: String,
    socket: WebSocketStream<DuplexStream>,
}

#[async_trait]
impl Dial for Memory {
    async fn dial(&self, url: &str) -> Result<Socket, DialError> {
        self.dialed.lock().push((self.clock.now().millis(), url.to_owned()));
        if self.dark.lock().iter().any(|dark| url.starts_with(dark)) {
            return Err(DialError::unreachable("dark"));
        }
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let io = MaybeTlsStream::Plain(Box::new(ours) as Box<dyn Io>);
        let socket = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let _ = self.accepted.send(Server { url: url.to_owned(), socket });
        Ok(WebSocketStream::from_raw_socket(io, Role::Client, Some(socket_config())).await)
    }
}

impl Server {
    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn ping(&mut self) {
        self.socket.send(Message::Ping("x".into())).await.unwrap();
    }

    /// The next message; `None` when the socket has ended.
    pub async fn receive(&mut self) -> Option<Message> {
        self.socket.next().await.and_then(Result::ok)
    }

    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.receive().await, Some(Message::text(text)));
    }

    /// Acknowledges the next subscriptions, in the order that they come.
    pub async fn confirm(&mut self, count: usize) {
        for _ in 0..count {
            let frame = self.receive().await.unwrap().into_text().unwrap();
            self.send(&format!("ok {}", frame.strip_prefix('+').unwrap())).await;
        }
    }
}

/// A feed of the fake exchange on a manual clock.
pub struct Rig {
    pub clock: Clock,
    pub dialer: Arc<Memory>,
    pub handle: ConnectionHandle,
    pub items: mpsc::Receiver<FeedItem>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
    servers: mpsc::UnboundedReceiver<Server>,
}

impl Rig {
    pub fn new(symbols: &[&str]) -> Self {
        Self::with(symbols, profile(&[]), 1_000)
    }

    pub fn with(symbols: &[&str], profile: Profile, channel: usize) -> Self {
        let clock = Clock::manual(Timestamp::EPOCH);
        let (accepted, servers) = mpsc::unbounded_channel();
        let dialer =
            Arc::new(Memory { accepted, dark: Mutex::default(), dialed: Mutex::default(), clock: clock.clone() });
        let origins = vec!["ws://one".to_owned(), "ws://two".to_owned()];
        let feed = Feed::new(Fake::leak(profile), origins, Arc::clone(&dialer) as Arc<dyn Dial>, clock.clone());
        let subscriptions = symbols.iter().map(|symbol| trades(symbol)).collect();
        let plan = ConnectionPlan { path: "/ws".to_owned(), subscriptions, spare: 1, session };
        let (sender, items) = mpsc::channel(channel);
        let stop = CancellationToken::new();
        let (handle, runner) = feed.open("binance.1", plan, sender, stop.clone());
        Self { clock, dialer, handle, items, stop, task: tokio::spawn(runner), servers }
    }

    /// Lets time pass in small steps until `what` is done.
    pub async fn until<T>(clock: &Clock, what: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            output = what => output,
            () = async { for _ in 0..6_000 { clock.advance(Duration::from_millis(50)).await; } } => {
                panic!("it did not happen within five minutes")
            }
        }
    }

    pub async fn accept(&mut self) -> Server {
        Self::until(&self.clock, self.servers.recv()).await.unwrap()
    }

    /// Hangs up on whoever dialled meanwhile.
    pub fn hang_up(&mut self) {
        while self.servers.try_recv().is_ok() {}
    }

    pub async fn item(&mut self) -> FeedItem {
        Self::until(&self.clock, self.items.recv()).await.unwrap()
    }

    /// What was told up to now.
    pub fn told(&mut self) -> Vec<FeedItem> {
        std::iter::from_fn(|| self.items.try_recv().ok()).collect()
    }

    pub async fn settle(&self) {
        self.clock.advance(Duration::ZERO).await;
    }

    pub async fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs)).await;
    }

    /// Accepts a connection and confirms everything on it.
    pub async fn live(&mut self) -> Server {
        let mut server = self.accept().await;
        let count = self.handle.subscriptions().len();
        let clock = self.clock.clone();
        Self::until(&clock, server.confirm(count)).await;
        self.settle().await;
        server
    }

    pub fn confirmed(symbol: &str, at: i64) -> FeedItem {
        FeedItem::Confirmed { subscriptions: vec![trades(symbol)], at: Timestamp::from_millis(at) }
    }
}
