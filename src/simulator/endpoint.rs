//! HTTP endpoint of all simulated exchanges: selects the exchange by path, applies faults, upgrades to
//! WebSocket.

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
use crate::model::Timestamp;

use super::acceptor::OpenConnections;
use super::corrupt::{self, PageFault};
use super::exchange::{Content, SimulatedExchange};
use super::faults::FaultKind;
use super::limits::ceil_seconds;
use super::registry;
use super::rest::{Query, RequestContext, RestResponse};
use super::shared::Shared;
use super::socket::{self, SLOW_RESPONSE_DELAY, StreamProtocol};
use super::stats::increment;

/// How far the `rest_lag` fault delays candles behind the streams, in milliseconds.
const REST_LAG: i64 = 50_000;

/// Delay of the second half of a slow body.
const SLOW_BODY_DELAY: Duration = Duration::from_secs(30);

/// Real time in which the first half of a truncated body is sent before the connection is reset.
const FIRST_HALF_DELAY: Duration = Duration::from_millis(20);

/// HTML error page of a proxy or firewall in front of the exchange.
fn html_page(status: u16, title: &str) -> Response {
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n"
    );
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .content_type("text/html")
        .body(body)
}

pub struct HttpEndpoint {
    pub shared: Arc<Shared>,
    pub connections: OpenConnections,
    pub sockets: TaskTracker,
    pub stop: CancellationToken,
}

impl Endpoint for HttpEndpoint {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.uri().path().to_owned();
        let query = Query(request.params().unwrap_or_default());
        let peer = match request.remote_addr() {
            RemoteAddr(Addr::SocketAddr(peer)) => *peer,
            RemoteAddr(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        if let Some(protocol) = registry::connect(&self.shared, &path, &query) {
            return Ok(self.upgrade(&request, peer, protocol));
        }
        let Some(exchange) = registry::by_rest_path(&path) else {
            let body = "{\"error\":\"no simulated exchange has this path\"}".to_owned();
            return Ok(into_response(RestResponse::new(404, body)));
        };
        if request.method() != Method::GET {
            let body = "{\"error\":\"only GET is simulated\"}".to_owned();
            return Ok(into_response(RestResponse::new(405, body)));
        }
        Ok(self.rest(exchange, path, query, peer).await)
    }
}

impl HttpEndpoint {
    /// Resets the connection. The returned response is never sent.
    fn close_without_response(&self, peer: SocketAddr) -> Response {
        self.connections.close(peer);
        Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).finish()
    }

    /// Responds with the time of the exchange's clock in the `Date` header.
    async fn rest(
        &self,
        exchange: &'static dyn SimulatedExchange,
        path: String,
        query: Query,
        peer: SocketAddr,
    ) -> Response {
        let mut response = self.respond(exchange, path, query, peer).await;
        let now = self.shared.now(exchange.id()).utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(now) = now.parse() {
            response.headers_mut().insert(header::DATE, now);
        }
        response
    }

    async fn respond(
        &self,
        exchange: &'static dyn SimulatedExchange,
        path: String,
        query: Query,
        peer: SocketAddr,
    ) -> Response {
        let shared = &self.shared;
        let id = exchange.id();
        let now = shared.now(id);
        let trigger = |kind| shared.faults.trigger(id, kind, now);
        increment(&shared.counters[id].rest_requests);
        if trigger(FaultKind::Dark) {
            return self.close_without_response(peer);
        }
        if trigger(FaultKind::Slow) {
            shared.clock.sleep(SLOW_RESPONSE_DELAY).await;
        }
        let failed = [(FaultKind::Http429, 429), (FaultKind::Http418, 418), (FaultKind::Http500, 500)];
        if let Some((_, status)) = failed.into_iter().find(|(kind, _)| trigger(*kind)) {
            return into_response(scripted_failure(exchange, status, now.millis()));
        }
        let pages = [
            (FaultKind::Firewall403, 403, "403 Forbidden"),
            (FaultKind::NotFound404, 404, "404 Not Found"),
            (FaultKind::HtmlError, 200, "502 Bad Gateway"),
        ];
        if let Some((kind, status, title)) = pages.into_iter().find(|(kind, ..)| trigger(*kind)) {
            let alternates = kind == FaultKind::HtmlError && shared.faults.is_active(id, kind, now);
            let is_odd = shared.counters[id].rest_requests.load(Ordering::Relaxed) % 2 == 1;
            return html_page(if alternates && is_odd { 502 } else { status }, title);
        }
        if trigger(FaultKind::Region451) {
            return into_response(scripted_failure(exchange, 451, now.millis()));
        }
        let (truncated, slow) = (trigger(FaultKind::TruncatedBody), trigger(FaultKind::SlowBody));
        let malformed = trigger(FaultKind::Malformed);
        let content = exchange.content(&path);
        let absurd = content != Content::Other && trigger(FaultKind::AbsurdNumbers);
        let page_faults = if content == Content::Candles { PageFault::triggered(trigger) } else { Vec::new() };
        let wrong_event = content == Content::Ticker && trigger(FaultKind::WrongEvent);
        let (shared, clock) = (Arc::clone(shared), shared.clock.clone());
        // Generating a long history takes CPU time that must not delay the WebSocket tasks.
        let handled =
            tokio::task::spawn_blocking(move || handle(&shared, exchange, &path, &query, (peer.ip(), now))).await;
        let mut response = handled.unwrap_or_else(|_| scripted_failure(exchange, 500, now.millis()));
        for fault in page_faults {
            response.body = corrupt::corrupt_page(&response.body, fault, &exchange.catalog().candle_fields);
        }
        if absurd {
            response.body = corrupt::with_absurd_number(&response.body, now.millis());
        }
        if wrong_event {
            corrupt::CANDLE_ROW.clone_into(&mut response.body);
        }
        if malformed {
            response.body.truncate(response.body.len() / 2);
        }
        let mut response = into_response(response);
        if truncated || slow {
            send_in_halves(&mut response, truncated, clock).await;
        }
        response
    }

    fn upgrade(&self, request: &Request, peer: SocketAddr, protocol: Box<dyn StreamProtocol>) -> Response {
        let exchange = protocol.rules().exchange;
        let now = self.shared.now(exchange);
        if self.shared.faults.trigger(exchange, FaultKind::Dark, now) {
            return self.close_without_response(peer);
        }
        if self.shared.faults.is_active(exchange, FaultKind::Drop, now) {
            return Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).finish();
        }
        let limit = protocol.rules().connection_limit;
        if let Err(retry_after) = self.shared.admit(peer.ip(), exchange, "connections", limit, now.millis()) {
            let mut response = RestResponse::new(429, String::new());
            response.headers.push(("retry-after", ceil_seconds(retry_after).to_string()));
            return into_response(response);
        }
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let (Some(accept), Ok(upgrade)) = (key, request.take_upgrade()) else {
            return Response::builder().status(StatusCode::BAD_REQUEST).body("expected a WebSocket handshake");
        };
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        self.sockets.spawn(async move {
            // A client that disconnects during the handshake is not counted as a connection.
            if let Ok(upgraded) = upgrade.await {
                socket::serve(shared, upgraded, protocol, stop).await;
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

/// Handles a request that arrived at `now`.
fn handle(
    shared: &Shared,
    exchange: &dyn SimulatedExchange,
    path: &str,
    query: &Query,
    (client, now): (IpAddr, Timestamp),
) -> RestResponse {
    let has_candles = exchange.content(path) == Content::Candles;
    let lags = has_candles && shared.faults.is_active(exchange.id(), FaultKind::RestLag, now);
    let received_at = now.millis();
    let data_until = if lags { received_at - REST_LAG } else { received_at };
    exchange.handle(shared, path, query, RequestContext { client, received_at, data_until })
}

/// Sends a body in two halves. `Content-Length` is that of the whole body; the second half is delayed or never sent.
async fn send_in_halves(response: &mut Response, truncated: bool, clock: Clock) {
    let body = response.take_body().into_bytes().await.unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.len() / 2;
    let (first, second) = (body.slice(..half), body.slice(half..));
    let remainder = async move {
        if truncated {
            // Gives the first half time to reach the client.
            Clock::system().sleep(FIRST_HALF_DELAY).await;
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        }
        clock.sleep(SLOW_BODY_DELAY).await;
        Ok(second)
    };
    let halves = stream::iter([Ok::<Bytes, std::io::Error>(first)]).chain(stream::once(remainder));
    response.set_body(Body::from_bytes_stream(halves));
}

/// Error response of a scripted fault.
fn scripted_failure(exchange: &dyn SimulatedExchange, status: u16, now: i64) -> RestResponse {
    let mut response = RestResponse::new(status, exchange.error_body(status).to_owned());
    if !matches!(status, 451 | 500) {
        response.headers.push(exchange.retry_header(now));
    }
    response
}

fn into_response(rest: RestResponse) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(rest.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .content_type("application/json;charset=UTF-8");
    for (name, value) in rest.headers {
        response = response.header(name, value);
    }
    response.body(rest.body)
}
