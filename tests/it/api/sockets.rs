//! The kept sockets.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl House {
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
async fn a_socket_gives_the_ticker_at_once_and_at_every_change() {
    let house = House::open().await;
    let mut last = 67_000;
    for (seq, path) in (2..).zip([
        "/ws/subscribe/BTC-USDT",
        "/ws/subscribe/BTC%2FUSDT?exchange=binance",
        "/ws/realtime?symbol=BTC/USDT&exchange=binance",
    ]) {
        let mut socket = house.connect(path).await;
        let ticker = next(&mut socket).await;
        assert_eq!((&ticker["symbol"], &ticker["last"]), (&"BTC/USDT".into(), &last.into()));
        assert!(ticker.get("age_ms").is_none() && ticker.get("stale").is_none());
        last += 1;
        house.put_ticker(seq, last).await;
        assert_eq!(next(&mut socket).await["last"], last);
        socket.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
        socket.close(None).await.unwrap();
        let answer = socket.next().await;
        assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    }
    let wanted = house.cache.demand.wanted(ExchangeId::Binance).await.unwrap();
    assert_eq!(wanted, [btc()], "whoever listens wants the market");
    house.close().await;
}

#[tokio::test]
async fn a_socket_never_goes_back_in_time() {
    let house = House::open().await;
    house.put_ticker(7, 700).await;
    let mut socket = house.connect("/ws/subscribe/BTC-USDT").await;
    assert_eq!(next(&mut socket).await["last"], 700);
    let topic = Topic::Ticker { exchange: ExchangeId::Binance, symbol: btc() };
    let event = |epoch: &str, seq: u64| {
        let data = Bytes::from(format!("{{\"last\":\"{epoch}{seq}\"}}"));
        BusEvent { epoch: epoch.into(), seq, kind: BusEventKind::Data(data) }
    };
    for late in [event("1.e", 6), event("1.e", 7)] {
        house.cache.bus.publish(&topic, late).await.unwrap();
        // One thread runs all tasks: after so many turns the session has seen it, and sent it if it ever will.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    house.cache.bus.publish(&topic, event("1.e", 8)).await.unwrap();
    assert_eq!(next(&mut socket).await["last"], "1.e8");
    house.cache.bus.publish(&topic, event("2.f", 1)).await.unwrap();
    assert_eq!(next(&mut socket).await["last"], "2.f1", "another collector counts anew");
    house.close().await;
}

#[tokio::test]
async fn a_socket_is_refused_before_the_upgrade() {
    let house = House::open().await;
    for (path, status, code) in [
        ("/ws/subscribe/X-Y?exchange=binance", 404, "unknown_symbol"),
        ("/ws/realtime?symbol=BTC/USDT&exchange=nope", 404, "unknown_exchange"),
        ("/ws/realtime?exchange=binance", 400, "invalid_parameter"),
        ("/ws/subscribe/BTC-USDT?x=1", 400, "invalid_parameter"),
    ] {
        match connect_async(format!("ws://{}{path}", house.address)).await {
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
    house.close().await;
}

#[tokio::test]
async fn a_socket_gets_its_notice_and_is_closed_when_the_process_ends() {
    let house = House::open().await;
    let mut socket = house.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    house.life.drain();
    assert_eq!(next(&mut socket).await, serde_json::json!({"type": "shutdown", "in_ms": 200}));
    match connect_async(format!("ws://{}/ws/subscribe/BTC-USDT", house.address)).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    match socket.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    house.close().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_does_not_hold_the_shutdown() {
    let house = House::open().await;
    let mut socket = house.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    house.close().await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_socket() {
    let house = House::open().await;
    let mut socket = house.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut socket).await;
    socket.send(Message::text("x".repeat(60_000))).await.unwrap();
    house.put_ticker(5, 5).await;
    assert_eq!(next(&mut socket).await["last"], 5, "what is short enough has no meaning and does no harm");
    socket.send(Message::text("x".repeat(70_000))).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
        // The rest of the frame was not read, so the connection may be reset first.
        Some(Err(_)) | None => {}
        other => panic!("{other:?}"),
    }
    house.close().await;
}

#[tokio::test]
async fn sockets_past_the_bound_are_refused() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig { max_sockets: 1, notice: Duration::from_millis(100), ..ApiConfig::default() };
    let house = House::with(store, config).await;
    let mut first = house.connect("/ws/subscribe/BTC-USDT").await;
    next(&mut first).await;
    match connect_async(format!("ws://{}/ws/subscribe/BTC-USDT", house.address)).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    house.close().await;
}
