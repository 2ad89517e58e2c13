//! The WebSocket dialer over loopback.

use std::time::Duration;

use candlewick::upstream::{Dial, DialErrorKind, Dialer};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use wiremock::matchers::{header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

#[tokio::test]
async fn opens_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws?x=1", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
        // Sent together with the handshake response: the dialer must not lose it.
        socket.send(Message::text("hello")).await.unwrap();
        socket.next().await.unwrap().unwrap()
    });
    let mut socket = Dialer.dial(&url).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    socket.send(Message::text("hi")).await.unwrap();
    assert_eq!(server.await.unwrap(), Message::text("hi"));
}

#[tokio::test]
async fn classifies_rejected_handshakes() {
    let server = MockServer::start().await;
    let refusals = [("/closed", 451, DialErrorKind::RegionBlocked), ("/many", 429, DialErrorKind::RateLimited)];
    for (at, status, kind) in refusals {
        let agent = concat!("candlewick/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");
        let reply = ResponseTemplate::new(status).insert_header("retry-after", "7");
        Mock::given(path(at)).and(header("user-agent", agent)).respond_with(reply).mount(&server).await;
        let error = Dialer.dial(&format!("ws://{}{at}", server.address())).await.map(drop).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (kind, Some(Duration::from_secs(7))), "{error}");
    }
    let error = Dialer.dial(&format!("ws://{}/nothing", server.address())).await.map(drop).unwrap_err();
    assert_eq!(error.kind, DialErrorKind::Unreachable);
    for url in ["http://127.0.0.1:1/x", "wss://", "", "ws://[::1"] {
        assert_eq!(Dialer.dial(url).await.map(drop).unwrap_err().kind, DialErrorKind::Unreachable, "{url}");
    }
}
