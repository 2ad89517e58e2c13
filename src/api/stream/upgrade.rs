//! From an HTTP request to a WebSocket (RFC 6455, 4.2), with a seat of its own.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, Response, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::line::Line;
use crate::api::Doors;
use crate::api::access::Client;
use crate::api::problem::{Code, Problem};

/// The longest message that a client may send.
const MAX_INBOUND_BYTES: usize = 64 * 1024;

/// Most sockets are idle most of the time, so their buffers are small.
const BUFFER_BYTES: usize = 4 * 1024;

/// The library itself writes pongs and closes only.
const MAX_WRITE_BYTES: usize = 4 * 1024;

/// Takes a client's socket, and serves it with `serve` in a task of its own.
///
/// # Errors
/// `upgrade_required`; `not_ready` while the process ends or has no seat left; `rate_limited` where the client has as
/// many as it may.
pub fn open<F, S>(
    request: &Request,
    doors: &Arc<Doors>,
    client: &Client,
    beat: Duration,
    serve: F,
) -> Result<Response, Problem>
where
    F: FnOnce(Line) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let handshake = Handshake::read(request)?;
    let stay = doors.take_seat(client, "socket")?;
    let (response, socket) = handshake.accept(request)?;
    let (clock, notice) = (doors.clock.clone(), doors.config.notice);
    doors.life.spawn(async move {
        // All of it, not only what is used of it below.
        let stay = stay;
        if let Some(socket) = socket.await {
            serve(Line::new(socket, clock, beat, stay.leave.clone(), notice)).await;
        }
    });
    Ok(response)
}

/// A request that asks for a WebSocket as it should.
struct Handshake {
    accept: HeaderValue,
}

impl Handshake {
    /// Checks the request's headers.
    ///
    /// # Errors
    /// `upgrade_required` if it is a plain request or another version.
    fn read(request: &Request) -> Result<Self, Problem> {
        let lists = |name: HeaderName, token: &str| {
            let values = request.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
        };
        let refuse = |detail| Err(Problem::new(Code::UpgradeRequired, detail));
        if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
            return refuse("connect with a WebSocket client: ws:// instead of http://");
        }
        if request.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
            return refuse("`Sec-WebSocket-Version` must be 13");
        }
        // Sixteen bytes in base64.
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
        accept.map_or_else(|| refuse("`Sec-WebSocket-Key` must be 16 bytes in base64"), |accept| Ok(Self { accept }))
    }

    /// The answer 101, and the future that gives the socket once it was sent.
    ///
    /// # Errors
    /// `upgrade_required` if the connection cannot be taken over.
    fn accept(
        self,
        request: &Request,
    ) -> Result<(Response, impl Future<Output = Option<Socket>> + Send + 'static), Problem> {
        let upgrade = request
            .take_upgrade()
            .map_err(|_| Problem::new(Code::UpgradeRequired, "this connection cannot become a WebSocket"))?;
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_ACCEPT, self.accept)
            .finish();
        let socket = async {
            let upgraded = upgrade.await.ok()?;
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER_BYTES)
                .write_buffer_size(0)
                .max_write_buffer_size(MAX_WRITE_BYTES)
                .max_message_size(Some(MAX_INBOUND_BYTES))
                .max_frame_size(Some(MAX_INBOUND_BYTES));
            Some(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await)
        };
        Ok((response, socket))
    }
}

/// The server's end of a WebSocket.
pub type Socket = WebSocketStream<Upgraded>;

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(headers: &[(&str, &str)]) -> Result<Handshake, Problem> {
        let builder = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        Handshake::read(&builder.finish())
    }

    #[test]
    fn only_a_websocket_client_gets_in() {
        // The example of RFC 6455, 1.3.
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(asks(&good).ok().unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for missing in 0..good.len() {
            let headers: Vec<_> =
                good.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, header)| *header).collect();
            assert_eq!(asks(&headers).err().unwrap().code, Code::UpgradeRequired, "without {:?}", good[missing]);
        }
    }
}
