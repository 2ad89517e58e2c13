//! Opens WebSocket connections.

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{RETRY_AFTER, USER_AGENT};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::exchanges::is_region_block;
use crate::upstream::{MAX_BAN, MAX_RETRY_AFTER};

/// Maximum size of a received message. The largest real ones are snapshots of about 100 kB.
pub(super) const MAX_MESSAGE: usize = 4 << 20;

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open WebSocket.
pub type Socket = WebSocketStream<MaybeTlsStream<Box<dyn Io>>>;

/// Opens sockets: [`Dialer`] over the network, tests in memory.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Connects to `url` (`wss://host/path?query`). The caller sets the timeout.
    ///
    /// # Errors
    /// [`DialError`].
    async fn dial(&self, url: &str) -> Result<Socket, DialError>;
}

/// Why a WebSocket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DialError {
    pub kind: DialErrorKind,
    pub message: String,
    /// The pause that the exchange asks for.
    pub retry_after: Option<Duration>,
}

/// Kinds of [`DialError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialErrorKind {
    /// No answer, or not a WebSocket server.
    Unreachable,
    /// The origin does not serve this region.
    RegionBlocked,
    /// HTTP 418 or 429, or a firewall's 403.
    RateLimited,
}

impl DialError {
    /// An error of kind [`DialErrorKind::Unreachable`].
    #[must_use]
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { kind: DialErrorKind::Unreachable, message: message.into(), retry_after: None }
    }

    fn from_response(response: &Response<Option<Vec<u8>>>) -> Self {
        let status = response.status().as_u16();
        let (kind, message) = match status {
            451 => (DialErrorKind::RegionBlocked, format!("closed to this region (HTTP {status})")),
            403 if response.body().as_deref().is_some_and(is_region_block) => {
                (DialErrorKind::RegionBlocked, format!("closed to this region (HTTP {status})"))
            }
            403 => (DialErrorKind::RateLimited, format!("blocked by a firewall or banned (HTTP {status})")),
            418 | 429 => (DialErrorKind::RateLimited, format!("too many connections (HTTP {status})")),
            _ => (DialErrorKind::Unreachable, format!("not a WebSocket endpoint (HTTP {status})")),
        };
        let max = if kind == DialErrorKind::RateLimited { MAX_BAN } else { MAX_RETRY_AFTER };
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|secs| secs.to_str().ok()?.parse::<u32>().ok());
        let retry_after = retry_after.map(|secs| Duration::from_secs(secs.into()).min(max));
        Self { kind, message, retry_after }
    }
}

/// Limits of one WebSocket. Received frames are small, so the buffers are smaller than tungstenite's 128 KiB.
#[must_use]
pub fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .write_buffer_size(4 << 10)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Dials over TCP, with TLS for `wss://`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dialer;

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, url: &str) -> Result<Socket, DialError> {
        crate::upstream::install_crypto();
        let unreachable = |error: &dyn std::fmt::Display| DialError::unreachable(error.to_string());
        let mut request = url.into_client_request().map_err(|error| unreachable(&error))?;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(crate::upstream::USER_AGENT));
        let address = address(request.uri()).ok_or_else(|| DialError::unreachable("not a ws:// or wss:// address"))?;
        let tcp = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        // Subscriptions and pongs are small and must be sent without delay.
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let io: Box<dyn Io> = Box::new(tcp);
        match client_async_tls_with_config(request, io, Some(socket_config()), None).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(DialError::from_response(&response)),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

/// Host and port of a WebSocket URL.
fn address(uri: &http::Uri) -> Option<(String, u16)> {
    let default = match uri.scheme_str()? {
        "wss" => 443,
        "ws" => 80,
        _ => return None,
    };
    let host = uri.host()?.trim_matches(['[', ']']);
    Some((host.to_owned(), uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_defaults_to_the_port_of_the_scheme() {
        let parse = |url: &str| address(&url.parse().unwrap());
        assert_eq!(parse("wss://a.example/x"), Some(("a.example".to_owned(), 443)));
        assert_eq!(parse("ws://[::1]:9/x"), Some(("::1".to_owned(), 9)));
        assert_eq!(parse("https://a"), None);
    }

    #[test]
    fn http_error_maps_to_kind_and_retry_after() {
        let error_with = |status: u16, body: &str| {
            let response = Response::builder().status(status).header(RETRY_AFTER, "7");
            DialError::from_response(&response.body(Some(body.into())).unwrap())
        };
        let error = |status| error_with(status, "");
        assert_eq!(error(403).kind, DialErrorKind::RateLimited, "a firewall, not a region");
        let cloudfront = "The Amazon CloudFront distribution is configured to block access from your country.";
        assert_eq!(error_with(403, cloudfront).kind, DialErrorKind::RegionBlocked);
        assert_eq!(error(451).kind, DialErrorKind::RegionBlocked);
        assert_eq!(error(429).kind, DialErrorKind::RateLimited);
        assert_eq!(error(429).retry_after, Some(Duration::from_secs(7)));
        assert_eq!(error(502).kind, DialErrorKind::Unreachable);
    }
}
