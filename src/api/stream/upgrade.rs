//! Upgrades HTTP requests to the WebSocket protocol (RFC 6455, 4.2).

use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, Response};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::client_socket::{ClientSocket, Socket};
use crate::api::access::Client;
use crate::api::problem::{Code, Problem};
use crate::api::state::AppState;

/// Maximum length of a message from a client, in bytes.
const MAX_INBOUND_BYTES: usize = 64 * 1024;

/// Size of the read buffer. Most sockets are idle most of the time, so it is small.
const BUFFER_BYTES: usize = 4 * 1024;

/// Size of the library's write buffer: it writes only pongs and close frames.
const MAX_WRITE_BYTES: usize = 4 * 1024;

/// Upgrades a request and runs `run` with the socket in a new task.
///
/// # Errors
/// `upgrade_required`; `not_ready` while the process drains or has too many sockets; `rate_limited` if the client has
/// too many.
pub fn upgrade<F, S>(
    request: &Request,
    state: &Arc<AppState>,
    client: &Client,
    heartbeat_interval: Duration,
    run: F,
) -> Result<Response, Problem>
where
    F: FnOnce(ClientSocket) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let handshake = Handshake::read(request)?;
    let guard = state.acquire_connection(client, "socket")?;
    let (response, socket) = handshake.accept(request)?;
    let (clock, shutdown_notice) = (state.clock.clone(), state.config.shutdown_notice);
    state.lifecycle.spawn(async move {
        // Moves the whole guard into the task, not only the field that is used below.
        let guard = guard;
        if let Some(socket) = socket.await {
            run(ClientSocket::new(socket, clock, heartbeat_interval, guard.disconnect.clone(), shutdown_notice)).await;
        }
    });
    Ok(response)
}

/// A valid WebSocket handshake.
struct Handshake {
    accept: HeaderValue,
}

impl Handshake {
    /// Validates the headers of a request.
    ///
    /// # Errors
    /// `upgrade_required` if it is not a valid handshake of version 13.
    fn read(request: &Request) -> Result<Self, Problem> {
        let contains_token = |name: HeaderName, token: &str| {
            let values = request.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
        };
        let reject = |detail| Err(Problem::new(Code::UpgradeRequired, detail));
        if !contains_token(header::UPGRADE, "websocket") || !contains_token(header::CONNECTION, "upgrade") {
            return reject("connect with a WebSocket client: ws:// instead of http://");
        }
        if request.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
            return reject("`Sec-WebSocket-Version` must be 13");
        }
        // Sixteen bytes in base64.
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
        accept.map_or_else(|| reject("`Sec-WebSocket-Key` must be 16 bytes in base64"), |accept| Ok(Self { accept }))
    }

    /// Returns the 101 response, and a future that resolves to the socket after the response is sent.
    ///
    /// # Errors
    /// `upgrade_required` if the connection cannot be upgraded.
    fn accept(
        self,
        request: &Request,
    ) -> Result<(Response, impl Future<Output = Option<Socket>> + Send + 'static), Problem> {
        let upgrade = request
            .take_upgrade()
            .map_err(|_| Problem::new(Code::UpgradeRequired, "this connection cannot be upgraded to a WebSocket"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read_handshake(headers: &[(&str, &str)]) -> Result<Handshake, Problem> {
        let builder = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        Handshake::read(&builder.finish())
    }

    #[test]
    fn accepts_only_complete_handshakes() {
        // The example of RFC 6455, 1.3.
        let complete = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(read_handshake(&complete).ok().unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for missing in 0..complete.len() {
            let headers: Vec<_> =
                complete.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, header)| *header).collect();
            assert_eq!(
                read_handshake(&headers).err().unwrap().code,
                Code::UpgradeRequired,
                "without {:?}",
                complete[missing]
            );
        }
    }
}
