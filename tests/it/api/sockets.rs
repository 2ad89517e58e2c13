//! The legacy WebSocket paths.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl TestService {
    pub async fn connect(&self, path: &str) -> Socket {
        connect_async(format!("ws://{}{path}", self.address)).await.unwrap().0
    }
}

pub async fn next(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn legacy_socket_sends_current_ticker_and_updates() {
    let service = TestService::start().await;
    let mut last = 67_000;
    for (seq, path) in (2..).zip([
        "/ws/subscribe/BTC-USDT",
        "/ws/subscribe/BTC%2FUSDT?exchange=binance",
        "/ws/realtime?symbol=BTC/USDT&exchange=binance",
    ]) {
        let mut socket = service.connect(path).await;
        let ticker = next(&mut socket).await;
        assert_eq!((&ticker["symbol"], &ticker["last"]), (&"BTC/USDT".into(), &last.into()));
        assert!(ticker.get("age_ms").is_none() && ticker.get("stale").is_none());
        last += 1;
        service.publish_ticker(seq, last).await;
        assert_eq!(next(&mut socket).await["last"], last);
        socket.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
        socket.close(None).await.unwrap();
        let reply = socket.next().await;
        assert!(matches!(reply, Some(Ok(Message::Close(_)))), "{reply:?}");
    }
    let demanded = service.cache.demand.symbols(ExchangeId::BINANCE).await.unwrap();
    assert_eq!(demanded, [btc()], "a subscriber creates demand for the market");
    service.shut_down().await;
}

#[tokio::test]
async fn legacy_socket_skips_older_events() {
    let service = TestService::start().await;
    service.publish_ticker(7, 700).await;
    let mut socket = service.connect("/ws/subscribe/BTC-USDT").await;
    assert_eq!(next(&mut socket).await["last"], 700);
    let topic = Topic::Ticker { exchange: ExchangeId::BINANCE, symbol: btc() };
    let event = |epoch: &str, seq: u64| {
        let data = Bytes::from(format!("{{\"last\":\"{epoch}{seq}\"}}"));
        BusEvent { epoch: epoch.into(), seq, kind: BusEventKind::Data(data) }
    };
    for late in [event("1.e", 6), event("1.e", 7)] {
        service.cache.bus.publish(&topic, late).await.unwrap();
        // One thread runs all tasks: after these yields the session has either skipped or sent the event.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    service.cache.bus.publish(&topic, event("1.e", 8)).await.unwrap();
    assert_eq!(next(&mut socket).await["last"], "1.e8");
    service.cache.bus.publish(&topic, event("2.f", 1)).await.unwrap();
    assert_eq!(next(&mut socket).await["last"], "2.f1", "a new collector starts a new epoch");
    service.shut_down().await;
}

#[tokio::test]
async fn invalid_socket_request_is_rejected_before_upgrade() {
    let service = TestService::start().await;
    for (path, status, code) in [
        ("/ws/subscribe/X-Y?exchange=binance", 404, "unknown_symbol"),
        ("/ws/realtime?symbol=BTC/USDT&exchange=nope", 404, "unknown_exchange"),
        ("/ws/realtime?exchange=binance", 400, "invalid_parameter"),
        ("/ws/subscribe/BTC-USDT?x=1", 400, "invalid_parameter"),
    ] {
        match connect_async(format!("ws://{}{path}", service.address)).await {
            Err(Error::Http(response)) => {
                assert_eq!(
                    (response.status().as_u16(), &response.headers()["content-type"]),
                    (status, &"application/problem+json".parse().unwrap()),
                    "{path}"
                );
                let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap();
                assert_eq!(body["code"], code, "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    service.shut_down().await;
}

#[tokio::test]
async fn drain_notifies_and_closes_legacy_socket() {
    let service = TestService::start().await;
    let mut socket = service.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    service.lifecycle.drain();
    assert_eq!(next(&mut socket).await, serde_json::json!({"type": "shutdown", "in_ms": 200}));
    match connect_async(format!("ws://{}/ws/subscribe/BTC-USDT", service.address)).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    match socket.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    service.shut_down().await;
}

#[tokio::test]
async fn unanswered_close_does_not_delay_shutdown() {
    let service = TestService::start().await;
    let mut socket = service.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    service.shut_down().await;
}

#[tokio::test]
async fn oversized_frame_closes_socket() {
    let service = TestService::start().await;
    let mut socket = service.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    socket.send(Message::text("x".repeat(60_000))).await.unwrap();
    service.publish_ticker(5, 5).await;
    assert_eq!(next(&mut socket).await["last"], 5, "a shorter frame is ignored");
    socket.send(Message::text("x".repeat(70_000))).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
        // The server does not read the rest of the frame, so the connection may be reset first.
        Some(Err(_)) | None => {}
        other => panic!("{other:?}"),
    }
    service.shut_down().await;
}

#[tokio::test]
async fn rejects_sockets_past_limit() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig { max_sockets: 1, shutdown_notice: Duration::from_millis(100), ..ApiConfig::default() };
    let service = TestService::with_store(store, config).await;
    let mut first = service.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut first).await;
    match connect_async(format!("ws://{}/ws/subscribe/BTC-USDT", service.address)).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    service.shut_down().await;
}
