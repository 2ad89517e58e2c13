//! OKX's protocol: public and business WebSocket paths, limits, and faults in OKX's format.

use super::*;

/// Opens a socket on a path, subscribes to a channel of BTC-USDT and checks the acknowledgement.
async fn subscribe<'a>(fixture: &'a SimulatorFixture, path: &str, channel: &str) -> Socket<'a> {
    let mut socket = fixture.socket(path).await;
    socket.send(subscribe_request(channel, "BTC-USDT")).await;
    let ack = socket.receive().await.unwrap();
    let arg = json!({"channel": channel, "instId": "BTC-USDT"});
    assert_eq!((&ack["event"], &ack["arg"], &ack["id"]), (&json!("subscribe"), &arg, &json!("7")));
    socket
}

fn subscribe_request(channel: &str, native: &str) -> Value {
    json!({"id": "7", "op": "subscribe", "args": [{"channel": channel, "instId": native}]})
}

async fn public<'a>(fixture: &'a SimulatorFixture, channel: &str) -> Socket<'a> {
    subscribe(fixture, "/ws/v5/public", channel).await
}

async fn business(fixture: &SimulatorFixture) -> Socket<'_> {
    subscribe(fixture, "/ws/v5/business", "candle1m").await
}

fn is_closed_candle(frame: &Value) -> bool {
    frame["arg"]["channel"] == "candle1m" && frame["data"][0][8] == "1"
}

#[tokio::test]
async fn channels_require_their_path_and_each_argument_gets_a_reply() {
    let fixture = fixture().await;
    let mut socket = fixture.socket("/ws/v5/public").await;
    let args = json!([
        {"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "candle1m", "instId": "BTC-USDT"},
        {"channel": "trades", "instId": "NO-USDT"},
    ]);
    socket.send(json!({"id": "a1", "op": "subscribe", "args": args})).await;
    let ack = socket.receive().await.unwrap();
    assert_eq!((&ack["id"], &ack["event"], &ack["arg"]), (&json!("a1"), &json!("subscribe"), &args[0]));
    let first = socket.receive().await.unwrap();
    assert_eq!(
        (&first["arg"], &first["data"][0]["instType"]),
        (&args[0], &json!("SPOT")),
        "the latest ticker is sent immediately"
    );
    for (channel, native) in [("candle1m", "BTC-USDT"), ("trades", "NO-USDT")] {
        let error = socket.receive().await.unwrap();
        assert_eq!((&error["id"], &error["event"], &error["code"]), (&json!("a1"), &json!("error"), &json!("60018")));
        let expected = format!("Wrong URL or channel:{channel},instId:{native} doesn't exist.");
        assert!(error["msg"].as_str().unwrap().starts_with(&expected), "{error}");
    }
    socket.send(json!({"op": "unsubscribe", "args": [args[0]]})).await;
    let ack = socket.receive_until(|frame| frame["event"] == "unsubscribe").await.pop().unwrap();
    assert_eq!((&ack["arg"], ack.get("id")), (&args[0], None));
    for (text, code) in [
        ("{", "60012"),
        ("{\"op\":\"fly\",\"args\":[{\"channel\":\"x\"}]}", "60019"),
        ("{\"op\":\"subscribe\"}", "60013"),
    ] {
        socket.stream.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.receive().await.unwrap()["code"], code, "{text}");
    }
    let error = connect_async(format!("ws://{}/ws/v5/private", fixture.address)).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn idle_socket_is_closed_after_30_s_without_ping() {
    let fixture = fixture().await;
    let (mut idle, mut active) = (fixture.socket("/ws/v5/public").await, fixture.socket("/ws/v5/business").await);
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_secs(20)).await;
        active.stream.send(Message::text("ping")).await.unwrap();
        let Some(Message::Text(pong)) = active.receive_message().await else { panic!("no text frame") };
        assert_eq!(pong.as_str(), "pong");
    }
    assert_eq!(idle.receive().await, Some(json!({"close": 4004})));
    assert_eq!(fixture.simulator.stats(OKX).sockets_open, 1);
    let mut tickers = public(&fixture, "tickers").await;
    assert!(tickers.receive_for(90_000).await.len() > 100, "data keep the socket open");
}

#[tokio::test]
async fn requests_per_hour_and_connections_per_second_are_limited() {
    let fixture = fixture().await;
    let mut socket = business(&fixture).await;
    for _ in 1..480 {
        socket.send(json!({"op": "unsubscribe", "args": [{"channel": "candle1m", "instId": "BTC-USDT"}]})).await;
        socket.receive_until(|frame| frame["event"] == "unsubscribe").await;
    }
    socket.send(subscribe_request("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.receive().await.unwrap()["code"], "60014");
    fixture.clock.advance(Duration::from_secs(1)).await;
    for _ in 0..3 {
        fixture.socket("/ws/v5/public").await;
    }
    let error = connect_async(format!("ws://{}/ws/v5/public", fixture.address)).await.unwrap_err();
    assert!(error.to_string().contains("429"), "{error}");
    fixture.clock.advance(Duration::from_secs(1)).await;
    fixture.socket("/ws/v5/public").await;
    assert_eq!(fixture.simulator.stats(OKX).limit_violations, 1);
}

#[tokio::test]
async fn rest_paths_have_separate_limits_and_errors_have_status_200() {
    let fixture = fixture().await;
    let status = async |path: &str| fixture.get(path).await.unwrap().status().as_u16();
    for _ in 0..20 {
        assert_eq!(status("/api/v5/market/ticker?instId=BTC-USDT").await, 200);
    }
    let rejected = fixture.get("/api/v5/market/ticker?instId=BTC-USDT").await.unwrap();
    assert_eq!((rejected.status().as_u16(), rejected.headers().get("retry-after")), (429, None));
    assert_eq!(rejected.text().await.unwrap(), r#"{"msg":"Too Many Requests","code":"50011"}"#);
    for path in ["candles?instId=ETH-BTC&limit=1", "history-candles?instId=ETH-BTC&limit=1"] {
        assert_eq!(fixture.json(&format!("/api/v5/market/{path}")).await["code"], "0", "{path}");
    }
    fixture.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(status("/api/v5/market/ticker?instId=BTC-USDT").await, 200);
    let unknown = fixture.get("/api/v5/market/candles?instId=BTC-USDT-SWAP").await.unwrap();
    assert_eq!(unknown.status(), 200);
    let body: Value = serde_json::from_str(&unknown.text().await.unwrap()).unwrap();
    assert_eq!((&body["code"], &body["data"]), (&json!("51001"), &json!([])));
    assert_eq!(status("/api/v5/market/candles?instId=BTC-USDT&bar=1h").await, 400);
    assert_eq!(fixture.simulator.stats(OKX).limit_violations, 1);
}

#[tokio::test]
async fn okx_streams_match_rest_candles() {
    let fixture = fixture().await;
    let (mut candles, mut trades) = (business(&fixture).await, public(&fixture, "trades").await);
    candles.receive_until(is_closed_candle).await;
    let frames = candles.receive_until(is_closed_candle).await;
    let row = &frames.last().unwrap()["data"][0];
    let open: i64 = row[0].as_str().unwrap().parse().unwrap();
    assert_eq!(open, START.millis() / MINUTE * MINUTE + MINUTE);
    let expected = fixture.expected_candle(OKX, "BTC/USDT", open);
    let values = [1, 2, 3, 4, 5].map(|column| decimal(&row[column]));
    assert_eq!((values, None), candle_values(&expected));
    assert_eq!(Some(decimal(&row[7])), expected.quote_volume);
    let page = format!("/api/v5/market/candles?instId=BTC-USDT&bar=1m&before={}&after={}", open - 1, open + 1);
    assert_eq!(fixture.json(&page).await["data"], json!([row]));
    let traded: Decimal = trades
        .receive_for(0)
        .await
        .iter()
        .flat_map(|frame| frame["data"].as_array().unwrap().clone())
        .filter(|one| (open..open + MINUTE).contains(&one["ts"].as_str().unwrap().parse().unwrap()))
        .map(|one| decimal(&one["sz"]))
        .sum();
    assert_eq!(traded, expected.volume);
}

#[tokio::test]
async fn shutdown_notice_is_sent_only_on_public_path() {
    let fixture = fixture().await;
    let (mut public, mut business) = (public(&fixture, "trades").await, business(&fixture).await);
    fixture.inject(OKX, FaultKind::ShutdownNotice, 0);
    let is_close = |frame: &Value| frame.get("close").is_some();
    let mut frames = public.receive_until(is_close).await;
    assert_eq!(frames.pop(), Some(json!({"close": 1001})));
    assert!(frames.iter().any(|frame| frame["event"] == "notice" && frame["code"] == "64008"));
    assert!(business.receive_until(is_close).await.iter().all(|frame| frame["event"] != "notice"), "as documented");
}

#[tokio::test]
async fn faults_apply_in_okx_format() {
    let fixture = fixture().await;
    fixture.inject(OKX, FaultKind::Refuse, 0);
    let mut socket = fixture.socket("/ws/v5/business").await;
    socket.send(subscribe_request("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.receive().await.unwrap()["code"], "60018");
    socket.send(subscribe_request("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.receive().await.unwrap()["event"], "subscribe");

    fixture.inject(OKX, FaultKind::SkipCandle, 0);
    let first = START.millis() / MINUTE * MINUTE;
    let frames = socket.receive_until(is_closed_candle).await;
    assert_eq!(frames.last().unwrap()["data"][0][0], (first + MINUTE).to_string());

    fixture.inject(OKX, FaultKind::LateTrade, 0);
    let closed = socket.receive_until(is_closed_candle).await.pop().unwrap()["data"][0].clone();
    fixture.clock.advance(Duration::from_secs(2)).await;
    let open = first + 2 * MINUTE;
    let path = format!("/api/v5/market/candles?instId=BTC-USDT&before={}&after={}", open - 1, open + 1);
    let row = fixture.json(&path).await["data"][0].clone();
    assert_eq!((&row[0], row[4] == closed[4]), (&closed[0], false), "REST has the late trade");
    assert_eq!(decimal(&row[5]), fixture.expected_candle(OKX, "BTC/USDT", open).volume);

    let mut trades = public(&fixture, "trades").await;
    trades.receive_for(0).await;
    fixture.inject(OKX, FaultKind::Duplicate, 30_000);
    let frames = trades.receive_for(29_000).await;
    assert!(frames.len() > 3 && frames.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
    fixture.clock.advance(Duration::from_secs(2)).await;
    trades.receive_for(0).await;

    fixture.inject(OKX, FaultKind::Silent, 20_000);
    assert_eq!(trades.receive_for(19_000).await, Vec::<Value>::new());
    fixture.inject(OKX, FaultKind::Malformed, 20_000);
    let frames = trades.receive_for(21_000).await;
    assert!(frames.iter().any(|frame| frame["broken"].is_string()));
    fixture.inject(OKX, FaultKind::Malformed, 1_000);
    assert!(serde_json::from_str::<Value>(&fixture.text("/api/v5/public/time").await).is_err());

    fixture.inject(OKX, FaultKind::Drop, 0);
    fixture.clock.advance(Duration::from_secs(1)).await;
    while let Some(frame) = trades.receive().await {
        assert_eq!(frame["close"], Value::Null);
    }
    fixture.inject(OKX, FaultKind::Dark, 1_000);
    assert!(fixture.get("/api/v5/public/time").await.is_err());
    assert!(connect_async(format!("ws://{}/ws/v5/public", fixture.address)).await.is_err());
    assert!(fixture.get("/api/v3/ping").await.is_ok(), "other exchanges are unaffected");
}
