//! A fake exchange with a minimal protocol, and the server side of its sockets.
//!
//! Client: `+BTC/USDT` (subscribe), `-BTC/USDT` (unsubscribe). Server: `ok BTC/USDT`, `no BTC/USDT`,
//! `trade BTC/USDT 7`, `skipped BTC/USDT`, `rotate`, `reconnect 5`, `giveup`, `heartbeat`, and `panic`, which makes the
//! session panic.

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

pub struct FakeExchange(pub Profile);

pub fn profile(rate_limits: &'static [RateLimit]) -> Profile {
    Profile {
        rest_origins: &[],
        ws_origins: &[],
        rest_headers: &[("x-wanted", "yes")],
        probe_path: "/ping",
        rate_limits,
        connection_limit: RateLimit {
            name: "connections",
            limit: 300,
            window: Duration::from_mins(5),
            used_header: None,
        },
        default_ban_duration: Duration::from_mins(2),
        reset_header: Some("x-reset"),
        page_cost: PageCost { scope: "rest", weight: 1 },
        channels: &[Channel::Trades],
        intervals: &[],
        minute_candles: MinuteCandles::Flagged,
        accepts_long_ranges: false,
        page_rows: 1,
        rest_lag: Duration::ZERO,
        history_rows: None,
        idle_timeout: Duration::from_mins(1),
        ack_timeout: Duration::from_secs(10),
        messages_per_second: NonZeroU32::new(5).unwrap(),
        max_connection_age: None,
    }
}

impl FakeExchange {
    pub fn leak(profile: Profile) -> &'static dyn Exchange {
        Box::leak(Box::new(Self(profile)))
    }
}

impl Exchange for FakeExchange {
    fn id(&self) -> ExchangeId {
        ExchangeId::BINANCE
    }
    fn profile(&self) -> &Profile {
        &self.0
    }
    fn instruments(&self) -> RestCall<Listing> {
        unreachable!("the engine does not read listings")
    }
    fn ticker(&self, _: &Instrument) -> Vec<RestCall<TickerPatch>> {
        Vec::new()
    }
    fn candles(&self, _: &CandlePage) -> Option<RestCall<CandleRows>> {
        None
    }
    fn api_error(&self, reply: &RestResponse<'_>, _: Timestamp) -> Option<RestError> {
        (reply.body == b"no" && reply.status == 400).then(|| RestError::new(RestErrorKind::Rejected, "no"))
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
    let instrument = Instrument::new(ExchangeId::BINANCE, symbol.parse().unwrap(), symbol);
    Subscription { channel: Channel::Trades, instrument: Arc::new(instrument) }
}

pub fn trade(symbol: &str, id: &str) -> MarketEvent {
    MarketEvent::Trade(Trade {
        exchange: ExchangeId::BINANCE,
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
        exchange: ExchangeId::BINANCE,
        topics: symbols.iter().map(|symbol| trades(symbol).topic()).collect(),
        missed: TimeRange::new(Timestamp::from_millis(since), Timestamp::from_millis(until)),
        reason: GapReason::UpstreamDisconnect,
    })
}

/// The session of the fake protocol.
struct Session {
    ping_interval: Option<Duration>,
    subscriptions: BTreeMap<String, Subscription>,
    pending: BTreeMap<String, Timestamp>,
}

pub fn session(subscriptions: Vec<Subscription>) -> Box<dyn FeedSession> {
    let subscriptions = subscriptions.into_iter().map(|sub| (sub.instrument.native.clone(), sub)).collect();
    Box::new(Session { ping_interval: None, subscriptions, pending: BTreeMap::new() })
}

impl FeedSession for Session {
    fn set_ping_interval(&mut self, interval: Duration) {
        self.ping_interval = Some(interval);
    }

    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        out.frames.extend(self.ping_interval.map(|interval| format!("ping every {} s", interval.as_secs())));
        for symbol in self.subscriptions.keys() {
            self.pending.insert(symbol.clone(), now + Duration::from_secs(10));
            out.frames.push(format!("+{symbol}"));
        }
    }

    fn update_subscriptions(
        &mut self,
        add: &[Subscription],
        remove: &[Subscription],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        for removed in remove {
            self.subscriptions.remove(&removed.instrument.native);
            out.frames.push(format!("-{}", removed.instrument.native));
        }
        for added in add {
            self.subscriptions.insert(added.instrument.native.clone(), added.clone());
            self.pending.insert(added.instrument.native.clone(), now + Duration::from_secs(10));
            out.frames.push(format!("+{}", added.instrument.native));
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Err(FeedError::malformed("binary", "")) };
        let parts: Vec<_> = text.split(' ').collect();
        let failed = |recovery| FeedError { recovery, message: text.to_owned() };
        match *parts {
            ["ok", symbol] => {
                self.pending.remove(symbol);
                out.notices.push(Notice::Acknowledged(vec![self.subscriptions[symbol].clone()]));
            }
            ["no", symbol] => {
                self.pending.remove(symbol);
                let subscription = self.subscriptions.remove(symbol).unwrap();
                out.notices.push(Notice::Rejected { subscription, reason: text.to_owned() });
            }
            ["trade", symbol, id] => out.push_event(trade(symbol, id), now).unwrap(),
            ["skipped", symbol] => out.notices.push(Notice::TradeSkipped(Some(symbol.parse().unwrap()))),
            ["heartbeat"] => out.notices.push(Notice::Heartbeat),
            ["panic"] => panic!("requested by the server"),
            ["rotate"] => out.notices.push(Notice::Rotate),
            ["reconnect", secs] => {
                return Err(failed(Recovery::Reconnect { after: Duration::from_secs(secs.parse().unwrap()) }));
            }
            ["giveup"] => return Err(failed(Recovery::GiveUp)),
            _ => return Err(FeedError::malformed("unknown message", text)),
        }
        Ok(())
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        if self.pending.values().all(|deadline| *deadline > now) {
            return Ok(());
        }
        let message = "no acknowledgement in time".to_owned();
        Err(FeedError { recovery: Recovery::Reconnect { after: Duration::ZERO }, message })
    }
}

/// Dials in-memory sockets. Their server side goes to the test.
pub struct MemoryDialer {
    accepted: mpsc::UnboundedSender<Server>,
    /// Origins that cannot be reached.
    pub unreachable: Mutex<Vec<&'static str>>,
    /// Time in milliseconds and URL of each dial.
    pub dials: Mutex<Vec<(i64, String)>>,
    clock: Clock,
}

impl MemoryDialer {
    /// A dialer and the server side of its sockets.
    pub fn new(clock: Clock) -> (Arc<Self>, mpsc::UnboundedReceiver<Server>) {
        let (accepted, servers) = mpsc::unbounded_channel();
        let (unreachable, dials) = (Mutex::default(), Mutex::default());
        (Arc::new(Self { accepted, unreachable, dials, clock }), servers)
    }
}

/// The server side of one socket.
pub struct Server {
    pub url: String,
    socket: WebSocketStream<DuplexStream>,
}

#[async_trait]
impl Dial for MemoryDialer {
    async fn dial(&self, url: &str) -> Result<Socket, DialError> {
        self.dials.lock().push((self.clock.now().millis(), url.to_owned()));
        if self.unreachable.lock().iter().any(|origin| url.starts_with(origin)) {
            return Err(DialError::unreachable("refused by the test"));
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

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::binary(bytes)).await.unwrap();
    }

    pub async fn ping(&mut self) {
        self.socket.send(Message::Ping("x".into())).await.unwrap();
    }

    /// The next message; `None` once the socket has ended.
    pub async fn receive(&mut self) -> Option<Message> {
        self.socket.next().await.and_then(Result::ok)
    }

    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.receive().await, Some(Message::text(text)));
    }

    /// Acknowledges the next `count` subscriptions in the order received.
    pub async fn acknowledge(&mut self, count: usize) {
        for _ in 0..count {
            let frame = self.receive().await.unwrap().into_text().unwrap();
            self.send(&format!("ok {}", frame.strip_prefix('+').unwrap())).await;
        }
    }
}

/// A connection to the fake exchange on a manual clock.
pub struct FeedHarness {
    pub clock: Clock,
    pub dialer: Arc<MemoryDialer>,
    pub handle: ConnectionHandle,
    pub items: mpsc::Receiver<FeedItem>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
    servers: mpsc::UnboundedReceiver<Server>,
}

impl FeedHarness {
    pub fn new(symbols: &[&str]) -> Self {
        Self::with_profile(symbols, profile(&[]), 1_000)
    }

    pub fn with_profile(symbols: &[&str], profile: Profile, channel_size: usize) -> Self {
        let clock = Clock::manual(Timestamp::EPOCH);
        let (dialer, servers) = MemoryDialer::new(clock.clone());
        let origins = vec!["ws://one".to_owned(), "ws://two".to_owned()];
        let feed = Feed::new(FakeExchange::leak(profile), origins, Arc::clone(&dialer) as Arc<dyn Dial>, clock.clone());
        let subscriptions = symbols.iter().map(|symbol| trades(symbol)).collect();
        let plan = ConnectionPlan {
            path: "/ws".to_owned(),
            address: None,
            encoding: Encoding::Plain,
            subscriptions,
            spare_capacity: 1,
            session,
        };
        let (sender, items) = mpsc::channel(channel_size);
        let stop = CancellationToken::new();
        let (handle, runner) = feed.open("binance.1", plan, sender, stop.clone());
        Self { clock, dialer, handle, items, stop, task: tokio::spawn(runner), servers }
    }

    /// Advances the clock in small steps until `future` completes.
    pub async fn advance_until<T>(clock: &Clock, future: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            output = future => output,
            () = async { for _ in 0..6_000 { clock.advance(Duration::from_millis(50)).await; } } => {
                panic!("the future did not complete within five minutes")
            }
        }
    }

    pub async fn accept(&mut self) -> Server {
        Self::advance_until(&self.clock, self.servers.recv()).await.unwrap()
    }

    /// Drops all connections that were dialed but not yet accepted.
    pub fn drop_connections(&mut self) {
        while self.servers.try_recv().is_ok() {}
    }

    pub async fn next_item(&mut self) -> FeedItem {
        Self::advance_until(&self.clock, self.items.recv()).await.unwrap()
    }

    /// Takes all items that the feed has sent.
    pub fn take_items(&mut self) -> Vec<FeedItem> {
        std::iter::from_fn(|| self.items.try_recv().ok()).collect()
    }

    /// Lets all tasks run without advancing the clock.
    pub async fn settle(&self) {
        self.clock.advance(Duration::ZERO).await;
    }

    pub async fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs)).await;
    }

    /// Accepts a connection and acknowledges all its subscriptions.
    pub async fn accept_and_acknowledge(&mut self) -> Server {
        let mut server = self.accept().await;
        let count = self.handle.subscriptions().len();
        let clock = self.clock.clone();
        Self::advance_until(&clock, server.acknowledge(count)).await;
        self.settle().await;
        server
    }

    pub fn acknowledged(symbol: &str, at: i64) -> FeedItem {
        FeedItem::Acknowledged { subscriptions: vec![trades(symbol)], at: Timestamp::from_millis(at) }
    }
}
