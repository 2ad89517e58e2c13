//! `WS /ws/subscribe/{symbol}` and `WS /ws/realtime`: the plain ticker of one market, at once and at every change.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use poem::web::{Data, Path, Query};
use poem::{Request, Response, handler};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::upgrade::{Handshake, Socket};
use crate::api::Doors;
use crate::api::problem::{Code, Problem};
use crate::cache::{BusEvent, BusEventKind};
use crate::clock::Clock;
use crate::hub::Subscription;
use crate::market::{Listed, Market, MarketError};
use crate::model::Topic;
use crate::telemetry::http::Open;

/// How often a market that someone listens to is said to be wanted, and the client looked after.
const TICK: Duration = Duration::from_secs(10);

/// A client that was silent for so many ticks is pinged, and again after as many.
const PING_AFTER: u32 = 3;

/// A client that was silent for so many ticks is lost.
const LOST_AFTER: u32 = 9;

/// How long one message may take to leave. Who is slower is cut off; what came meanwhile was conflated.
const SEND_TIME: Duration = Duration::from_secs(10);

/// How long a client may take to answer a close.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a socket's URL says beside its path.
#[derive(Deserialize)]
pub struct Asked {
    exchange: Option<String>,
    symbol: Option<String>,
}

/// `WS /ws/subscribe/{symbol}`
#[handler]
pub async fn subscribe(
    request: &Request,
    Data(doors): Data<&Arc<Doors>>,
    Path(symbol): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    open(request, doors, asked.exchange.as_deref(), &symbol).await
}

/// `WS /ws/realtime`
#[handler]
pub async fn realtime(
    request: &Request,
    Data(doors): Data<&Arc<Doors>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    open(request, doors, asked.exchange.as_deref(), &asked.symbol.unwrap_or_default()).await
}

async fn open(request: &Request, doors: &Doors, exchange: Option<&str>, symbol: &str) -> Result<Response, Problem> {
    let Doors { market, hub, life, clock, config, sockets, .. } = doors;
    let handshake = Handshake::read(request)?;
    let listed = market.find(exchange, symbol).await?;
    // What was listed once has a history, but nothing that could be listened to.
    if !listed.instrument.active
        && let Err(error @ MarketError::UnknownSymbol(_)) = market.ticker(&listed).await
    {
        return Err(error.into());
    }
    if life.draining().is_cancelled() {
        return Err(Problem::new(Code::NotReady, "shutting down: connect elsewhere"));
    }
    let seat = Arc::clone(sockets).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::new(Code::NotReady, "too many sockets are open here: try again later"))?;
    let (response, socket) = handshake.accept(request)?;
    let (market, hub, clock) = (Arc::clone(market), Arc::clone(hub), clock.clone());
    let (draining, notice) = (life.draining().clone(), config.notice);
    life.spawn(async move {
        let _counted = (seat, Open::new("socket"));
        let Some(socket) = socket.await else { return };
        // Subscribed first and asked then, so that nothing falls between the two.
        let topic = Topic::Ticker { exchange: listed.exchange, symbol: listed.instrument.symbol.clone() };
        let updates = hub.subscribe(&topic).await;
        let mut session = Session { market, listed, clock, socket, updates, silent: 0, first: None, epoch: None };
        // An error means that the client is gone: nobody is left to be told.
        if session.begin().await.is_ok() {
            let _ = session.run(draining, notice).await;
        }
    });
    Ok(response)
}

/// The client is gone, or takes nothing.
struct Lost;

/// One client's socket.
struct Session {
    market: Arc<Market>,
    listed: Listed,
    clock: Clock,
    socket: Socket,
    updates: Subscription,
    /// Ticks without a sign of life from the client.
    silent: u32,
    /// The number of the ticker that was sent at first, until a newer one came.
    first: Option<u64>,
    /// The epoch of the events that are compared with it.
    epoch: Option<Arc<str>>,
}

impl Session {
    /// Sends the ticker as it is.
    async fn begin(&mut self) -> Result<(), Lost> {
        self.market.want(&self.listed).await;
        // Where it cannot be had now, it comes with the first change: the market is wanted.
        let Ok(answer) = self.market.ticker(&self.listed).await else { return Ok(()) };
        let mut whole = BytesMut::with_capacity(answer.kept.json.len() + 1);
        whole.put_slice(&answer.kept.json);
        whole.put_u8(b'}');
        self.first = Some(answer.kept.position.seq);
        self.send(whole.freeze()).await
    }

    /// Sends updates until the client leaves, is lost, or the process drains.
    async fn run(&mut self, draining: CancellationToken, notice: Duration) -> Result<(), Lost> {
        let clock = self.clock.clone();
        let end = async {
            clock.sleep(notice).await;
        };
        let tick = clock.sleep(TICK);
        tokio::pin!(end, tick);
        let mut leaving = false;
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled(), if !leaving => {
                    leaving = true;
                    let text = format!("{{\"type\":\"shutdown\",\"in_ms\":{}}}", notice.as_millis());
                    self.send(text.into()).await?;
                }
                () = &mut end, if leaving => return self.close(CloseCode::Away, "shutting down").await,
                () = &mut tick => {
                    tick.set(clock.sleep(TICK));
                    self.tick().await?;
                }
                frame = self.socket.next() => {
                    self.silent = 0;
                    match frame {
                        // Pings are answered below us, and what else a client says here has no meaning.
                        Some(Ok(frame)) if !frame.is_close() => self.flush().await?,
                        Some(Err(Error::Capacity(_))) => return self.close(CloseCode::Size, "too long").await,
                        Some(Ok(_)) => return self.see_off().await,
                        _ => return Err(Lost),
                    }
                }
                update = self.updates.next() => match update {
                    Some(update) => self.forward(update).await?,
                    None => return self.close(CloseCode::Again, "try again").await,
                },
            }
        }
    }

    /// Says again that the market is wanted, and looks after the client.
    async fn tick(&mut self) -> Result<(), Lost> {
        self.market.want(&self.listed).await;
        self.first = None;
        self.silent += 1;
        match self.silent {
            LOST_AFTER.. => Err(Lost),
            silent if silent % PING_AFTER == 0 => self.message(Message::Ping(Bytes::new())).await,
            _ => Ok(()),
        }
    }

    /// Sends an update's JSON. A ticker's gap is told by the next ticker.
    async fn forward(&mut self, update: BusEvent) -> Result<(), Lost> {
        match &update.kind {
            BusEventKind::Data(bytes) if self.is_news(&update) => self.send(bytes.clone()).await,
            _ => Ok(()),
        }
    }

    /// Whether an update goes on from the ticker that was sent at first, which may have overtaken it.
    fn is_news(&mut self, update: &BusEvent) -> bool {
        let same_numbers = *self.epoch.get_or_insert_with(|| Arc::clone(&update.epoch)) == update.epoch;
        let overtaken = same_numbers && self.first.is_some_and(|first| update.seq <= first);
        if !overtaken {
            self.first = None;
        }
        !overtaken
    }

    /// Sends a JSON text.
    async fn send(&mut self, text: Bytes) -> Result<(), Lost> {
        let text = Utf8Bytes::try_from(text).map_err(|_| Lost)?;
        self.message(Message::Text(text)).await
    }

    async fn message(&mut self, message: Message) -> Result<(), Lost> {
        self.clock.timeout(SEND_TIME, self.socket.send(message)).await.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    async fn flush(&mut self) -> Result<(), Lost> {
        self.clock.timeout(SEND_TIME, self.socket.flush()).await.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    /// Says goodbye and waits a moment for the answer.
    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Lost> {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        self.message(Message::Close(Some(frame))).await?;
        self.see_off().await
    }

    /// Reads until the connection is closed, which also sends the answer to a close.
    async fn see_off(&mut self) -> Result<(), Lost> {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        self.clock.timeout(CLOSE_TIME, end).await.map_err(|_| Lost)
    }
}
