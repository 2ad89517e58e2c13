//! The one door: tells the dialects apart by path, lets faults befall requests, upgrades sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::web::RemoteAddr;
use poem::{Addr, Body, Endpoint, Request, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::model::{ExchangeId, Timestamp};

use super::accept::Wires;
use super::faults::FaultKind;
use super::limits::seconds;
use super::socket::{self, Dialect, SLOWNESS};
use super::spoil::{self, PageFault};
use super::stats::count;
use super::{Shared, binance, bybit, coinbase, kraken, okx};

/// How far behind its streams an exchange's candles can be, in milliseconds.
const REST_LAG: i64 = 50_000;

/// What a REST interface answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub const fn new(status: u16, body: String) -> Self {
        Self { status, body, headers: Vec::new() }
    }

    fn response(self) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .content_type("application/json;charset=UTF-8");
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(self.body)
    }
}

/// How late the second half of a slow body is.
const SLOW_BODY: Duration = Duration::from_secs(30);

/// How long the first half of a body takes to leave, in the machine's own time.
const ON_THE_WIRE: Duration = Duration::from_millis(20);

/// The page of something in front of the exchange.
fn page(status: u16, title: &str) -> Response {
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n"
    );
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .content_type("text/html")
        .body(body)
}

/// The parameters of a query.
pub struct Query(Vec<(String, String)>);

impl Query {
    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub struct Door {
    pub shared: Arc<Shared>,
    pub wires: Wires,
    pub sockets: TaskTracker,
    pub stop: CancellationToken,
}

impl Endpoint for Door {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.uri().path().to_owned();
        let query = Query(request.params().unwrap_or_default());
        let peer = match request.remote_addr() {
            RemoteAddr(Addr::SocketAddr(peer)) => *peer,
            RemoteAddr(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        if let Some(dialect) = self.dialect(&path, &query) {
            return Ok(self.upgrade(&request, peer, dialect));
        }
        // Coinbase's paths begin like Binance's.
        let exchange = if path.starts_with(coinbase::REST_PREFIX) {
            ExchangeId::Coinbase
        } else if path.starts_with(binance::REST_PREFIX) {
            ExchangeId::Binance
        } else if path.starts_with(kraken::REST_PREFIX) {
            ExchangeId::Kraken
        } else if path.starts_with(okx::REST_PREFIX) {
            ExchangeId::Okx
        } else if path.starts_with(bybit::REST_PREFIX) {
            ExchangeId::Bybit
        } else {
            return Ok(Reply::new(404, "{\"error\":\"no simulated exchange has this path\"}".to_owned()).response());
        };
        if request.method() != Method::GET {
            return Ok(Reply::new(405, "{\"error\":\"only GET is simulated\"}".to_owned()).response());
        }
        Ok(self.rest(exchange, path, query, peer).await)
    }
}

impl Door {
    fn dialect(&self, path: &str, query: &Query) -> Option<Box<dyn Dialect>> {
        let shared = || Arc::clone(&self.shared);
        match path {
            "/stream" => Some(Box::new(binance::Feed::new(shared(), true, query.get("streams").unwrap_or("")))),
            "/ws" => Some(Box::new(binance::Feed::new(shared(), false, ""))),
            "/" => Some(Box::new(coinbase::Feed::new(shared()))),
            "/v5/public/spot" => Some(Box::new(bybit::Feed::new(shared()))),
            "/v2" => Some(Box::new(kraken::Feed::new(shared()))),
            "/ws/v5/public" => Some(Box::new(okx::Feed::new(shared(), okx::Door::Public))),
            "/ws/v5/business" => Some(Box::new(okx::Feed::new(shared(), okx::Door::Business))),
            _ if path.starts_with("/ws/v5/") => None,
            _ => {
                let stream = path.strip_prefix("/ws/")?;
                Some(Box::new(binance::Feed::new(shared(), false, stream)))
            }
        }
    }

    /// Closes the connection without an answer: what is returned cannot be sent any more.
    fn darkness(&self, peer: SocketAddr) -> Response {
        self.wires.cut(peer);
        Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).finish()
    }

    /// Answers with the exchange's own time in the header `Date`.
    async fn rest(&self, exchange: ExchangeId, path: String, query: Query, peer: SocketAddr) -> Response {
        let mut response = self.respond(exchange, path, query, peer).await;
        let now = self.shared.now(exchange).utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(now) = now.parse() {
            response.headers_mut().insert(header::DATE, now);
        }
        response
    }

    async fn respond(&self, exchange: ExchangeId, path: String, query: Query, peer: SocketAddr) -> Response {
        let shared = &self.shared;
        let now = shared.now(exchange);
        let strikes = |kind| shared.faults.strikes(exchange, kind, now);
        count(&shared.counters[exchange as usize].rest_requests);
        if strikes(FaultKind::Dark) {
            return self.darkness(peer);
        }
        if strikes(FaultKind::Slow) {
            shared.clock.sleep(SLOWNESS).await;
        }
        let failed = [(FaultKind::Http429, 429), (FaultKind::Http418, 418), (FaultKind::Http500, 500)];
        if let Some((_, status)) = failed.into_iter().find(|(kind, _)| strikes(*kind)) {
            return failure(exchange, status, now.millis()).response();
        }
        let pages = [
            (FaultKind::Firewall403, 403, "403 Forbidden"),
            (FaultKind::NotFound404, 404, "404 Not Found"),
            (FaultKind::HtmlError, 200, "502 Bad Gateway"),
        ];
        if let Some((kind, status, title)) = pages.into_iter().find(|(kind, ..)| strikes(*kind)) {
            let by_turns = kind == FaultKind::HtmlError && shared.faults.lasts(exchange, kind, now);
            let odd = shared.counters[exchange as usize].rest_requests.load(Ordering::Relaxed) % 2 == 1;
            return page(if by_turns && odd { 502 } else { status }, title);
        }
        if strikes(FaultKind::Region451) {
            return failure(exchange, 451, now.millis()).response();
        }
        let (truncated, slow) = (strikes(FaultKind::TruncatedBody), strikes(FaultKind::SlowBody));
        let malformed = strikes(FaultKind::Malformed);
        let (candles, ticker) = (spoil::is_of_candles(&path), spoil::is_of_ticker(exchange, &path));
        let absurd = (candles || ticker) && strikes(FaultKind::AbsurdNumbers);
        let page_faults = if candles { PageFault::striking(strikes) } else { Vec::new() };
        let wrong_event = ticker && strikes(FaultKind::WrongEvent);
        let (shared, clock) = (Arc::clone(shared), shared.clock.clone());
        // A long history is real work, which must not hold up the sockets.
        let answer =
            tokio::task::spawn_blocking(move || answer(&shared, exchange, &path, &query, (peer.ip(), now))).await;
        let mut reply = answer.unwrap_or_else(|_| failure(exchange, 500, now.millis()));
        for fault in page_faults {
            reply.body = spoil::page(&reply.body, fault);
        }
        if absurd {
            reply.body = spoil::absurd(&reply.body, now.millis());
        }
        if wrong_event {
            spoil::CANDLE_ROW.clone_into(&mut reply.body);
        }
        if malformed {
            reply.body.truncate(reply.body.len() / 2);
        }
        let mut response = reply.response();
        if truncated || slow {
            in_halves(&mut response, truncated, clock).await;
        }
        response
    }

    fn upgrade(&self, request: &Request, peer: SocketAddr, dialect: Box<dyn Dialect>) -> Response {
        let exchange = dialect.habits().exchange;
        let now = self.shared.now(exchange);
        if self.shared.faults.strikes(exchange, FaultKind::Dark, now) {
            return self.darkness(peer);
        }
        if self.shared.faults.lasts(exchange, FaultKind::Drop, now) {
            return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).finish();
        }
        let allowed = dialect.habits().connects;
        if let Err(wait) = self.shared.admit(peer.ip(), exchange, "connections", allowed, now.millis()) {
            let mut reply = Reply::new(429, String::new());
            reply.headers.push(("retry-after", seconds(wait).to_string()));
            return reply.response();
        }
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let (Some(accept), Ok(upgrade)) = (key, request.take_upgrade()) else {
            return Response::builder().status(StatusCode::BAD_REQUEST).body("expected a WebSocket handshake");
        };
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        self.sockets.spawn(async move {
            // Who goes away during the handshake was never there.
            if let Ok(upgraded) = upgrade.await {
                socket::serve(shared, upgraded, dialect, stop).await;
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .finish()
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub from: IpAddr,
    /// When it arrived, in Unix milliseconds: when it is worked on does not count against a limit.
    pub at: i64,
    /// Up to when data are shown, in Unix milliseconds: earlier than `at` while REST lags.
    pub shown: i64,
}

/// The answer to a question that arrived at `now`.
fn answer(shared: &Shared, exchange: ExchangeId, path: &str, query: &Query, (from, now): (IpAddr, Timestamp)) -> Reply {
    let lags = spoil::is_of_candles(path) && shared.faults.lasts(exchange, FaultKind::RestLag, now);
    let at = now.millis();
    let arrival = Arrival { from, at, shown: if lags { at - REST_LAG } else { at } };
    match exchange {
        ExchangeId::Binance => binance::answer(shared, path, query, arrival),
        ExchangeId::Kraken => kraken::answer(shared, path, query, arrival),
        ExchangeId::Coinbase => coinbase::answer(shared, path, query, arrival),
        ExchangeId::Okx => okx::answer(shared, path, query, arrival),
        ExchangeId::Bybit => bybit::answer(shared, path, query, arrival),
    }
}

/// Sends a body in two halves; the second comes late, or never, although the length names both.
async fn in_halves(response: &mut Response, truncated: bool, clock: Clock) {
    let body = response.take_body().into_bytes().await.unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.len() / 2;
    let (first, second) = (body.slice(..half), body.slice(half..));
    let rest = async move {
        if truncated {
            // The first half is on the wire by then.
            Clock::system().sleep(ON_THE_WIRE).await;
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        }
        clock.sleep(SLOW_BODY).await;
        Ok(second)
    };
    let halves = stream::iter([Ok::<Bytes, std::io::Error>(first)]).chain(stream::once(rest));
    response.set_body(Body::from_bytes_stream(halves));
}

/// A scripted failure; its body says so.
fn failure(exchange: ExchangeId, status: u16, now: i64) -> Reply {
    let body = match (exchange, status) {
        (ExchangeId::Binance, 451) => {
            "{\"code\":0,\"msg\":\"Service unavailable from a restricted location; this is a scripted fault.\"}"
                .to_owned()
        }
        (_, 451) => String::new(),
        (ExchangeId::Binance, 418 | 429) => {
            "{\"code\":-1003,\"msg\":\"Too many requests; this is a scripted fault.\"}".to_owned()
        }
        (ExchangeId::Binance, _) => {
            "{\"code\":-1000,\"msg\":\"An unknown error occurred while processing the request.\"}".to_owned()
        }
        (ExchangeId::Kraken, 418 | 429) => "{\"error\":[\"EGeneral:Too many requests\"]}".to_owned(),
        (ExchangeId::Kraken, _) => "{\"error\":[\"EGeneral:Internal error\"]}".to_owned(),
        (ExchangeId::Coinbase, 418 | 429) => {
            "{\"error\":\"RESOURCE_EXHAUSTED\",\"message\":\"too many requests; this is a scripted fault\"}".to_owned()
        }
        (ExchangeId::Coinbase, _) => "{\"error\":\"INTERNAL\",\"message\":\"internal server error\"}".to_owned(),
        (ExchangeId::Okx, 418 | 429) => "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_owned(),
        (ExchangeId::Okx, _) => "{\"code\":\"50026\",\"data\":[],\"msg\":\"System error. Try again later\"}".to_owned(),
        (ExchangeId::Bybit, 418 | 429) => {
            "{\"retCode\":10006,\"retMsg\":\"Too many visits!\",\"result\":{}}".to_owned()
        }
        (ExchangeId::Bybit, _) => "{\"retCode\":10016,\"retMsg\":\"Server error.\",\"result\":{}}".to_owned(),
    };
    let mut reply = Reply::new(status, body);
    match (exchange, status) {
        (_, 451 | 500) => {}
        // <https://bybit-exchange.github.io/docs/v5/rate-limit>
        (ExchangeId::Bybit, _) => reply.headers.push(("x-bapi-limit-reset-timestamp", (now + 5_000).to_string())),
        _ => reply.headers.push(("retry-after", "5".to_owned())),
    }
    reply
}
