//! OKX's dialect: its two doors, its limits, and the faults in its own way.

use super::*;

/// A socket of a path with one channel of BTC-USDT, acknowledged.
async fn listening<'a>(world: &'a World, path: &str, channel: &str) -> Socket<'a> {
    let mut socket = world.socket(path).await;
    socket.say(subscribe(channel, "BTC-USDT")).await;
    let ack = socket.hear().await.unwrap();
    let arg = json!({"channel": channel, "instId": "BTC-USDT"});
    assert_eq!((&ack["event"], &ack["arg"], &ack["id"]), (&json!("subscribe"), &arg, &json!("7")));
    socket
}

fn subscribe(channel: &str, native: &str) -> Value {
    json!({"id": "7", "op": "subscribe", "args": [{"channel": channel, "instId": native}]})
}

async fn public<'a>(world: &'a World, channel: &str) -> Socket<'a> {
    listening(world, "/ws/v5/public", channel).await
}

async fn business(world: &World) -> Socket<'_> {
    listening(world, "/ws/v5/business", "candle1m").await
}

fn closes_here(frame: &Value) -> bool {
    frame["arg"]["channel"] == "candle1m" && frame["data"][0][8] == "1"
}

#[tokio::test]
async fn each_channel_has_its_door_and_each_argument_its_answer() {
    let world = world().await;
    let mut socket = world.socket("/ws/v5/public").await;
    let args = json!([
        {"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "candle1m", "instId": "BTC-USDT"},
        {"channel": "trades", "instId": "NO-USDT"},
    ]);
    socket.say(json!({"id": "a1", "op": "subscribe", "args": args})).await;
    let ack = socket.hear().await.unwrap();
    assert_eq!((&ack["id"], &ack["event"], &ack["arg"]), (&json!("a1"), &json!("subscribe"), &args[0]));
    let first = socket.hear().await.unwrap();
    assert_eq!((&first["arg"], &first["data"][0]["instType"]), (&args[0], &json!("SPOT")), "the newest comes at once");
    for (channel, native) in [("candle1m", "BTC-USDT"), ("trades", "NO-USDT")] {
        let error = socket.hear().await.unwrap();
        assert_eq!((&error["id"], &error["event"], &error["code"]), (&json!("a1"), &json!("error"), &json!("60018")));
        let named = format!("Wrong URL or channel:{channel},instId:{native} doesn't exist.");
        assert!(error["msg"].as_str().unwrap().starts_with(&named), "{error}");
    }
    socket.say(json!({"op": "unsubscribe", "args": [args[0]]})).await;
    let left = socket.until(|frame| frame["event"] == "unsubscribe").await.pop().unwrap();
    assert_eq!((&left["arg"], left.get("id")), (&args[0], None));
    for (text, code) in [
        ("{", "60012"),
        ("{\"op\":\"fly\",\"args\":[{\"channel\":\"x\"}]}", "60019"),
        ("{\"op\":\"subscribe\"}", "60013"),
    ] {
        socket.stream.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.hear().await.unwrap()["code"], code, "{text}");
    }
    let refused = connect_async(format!("ws://{}/ws/v5/private", world.address)).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
}

#[tokio::test]
async fn silence_is_closed_after_half_a_minute_unless_it_is_broken_by_a_ping() {
    let world = world().await;
    let (mut absent, mut present) = (world.socket("/ws/v5/public").await, world.socket("/ws/v5/business").await);
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(20)).await;
        present.stream.send(Message::text("ping")).await.unwrap();
        let Some(Message::Text(pong)) = present.message().await else { panic!("a text") };
        assert_eq!(pong.as_str(), "pong");
    }
    assert_eq!(absent.hear().await, Some(json!({"close": 4004})));
    assert_eq!(world.simulator.stats(OKX).sockets_open, 1);
    let mut fed = public(&world, "tickers").await;
    assert!(fed.during(90_000).await.len() > 100, "data keep it open");
}

#[tokio::test]
async fn requests_of_an_hour_and_connections_of_a_second_are_counted() {
    let world = world().await;
    let mut socket = business(&world).await;
    for _ in 1..480 {
        socket.say(json!({"op": "unsubscribe", "args": [{"channel": "candle1m", "instId": "BTC-USDT"}]})).await;
        socket.until(|frame| frame["event"] == "unsubscribe").await;
    }
    socket.say(subscribe("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.hear().await.unwrap()["code"], "60014");
    world.clock.advance(Duration::from_secs(1)).await;
    for _ in 0..3 {
        world.socket("/ws/v5/public").await;
    }
    let refused = connect_async(format!("ws://{}/ws/v5/public", world.address)).await.unwrap_err();
    assert!(refused.to_string().contains("429"), "{refused}");
    world.clock.advance(Duration::from_secs(1)).await;
    world.socket("/ws/v5/public").await;
    assert_eq!(world.simulator.stats(OKX).limit_violations, 1);
}

#[tokio::test]
async fn each_path_is_metered_apart_and_errors_come_with_status_200() {
    let world = world().await;
    let status = async |path: &str| world.get(path).await.unwrap().status().as_u16();
    for _ in 0..20 {
        assert_eq!(status("/api/v5/market/ticker?instId=BTC-USDT").await, 200);
    }
    let refused = world.get("/api/v5/market/ticker?instId=BTC-USDT").await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (429, None));
    assert_eq!(refused.text().await.unwrap(), r#"{"msg":"Too Many Requests","code":"50011"}"#);
    for path in ["candles?instId=ETH-BTC&limit=1", "history-candles?instId=ETH-BTC&limit=1"] {
        assert_eq!(world.json(&format!("/api/v5/market/{path}")).await["code"], "0", "{path}");
    }
    world.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(status("/api/v5/market/ticker?instId=BTC-USDT").await, 200);
    let unknown = world.get("/api/v5/market/candles?instId=BTC-USDT-SWAP").await.unwrap();
    assert_eq!(unknown.status(), 200);
    let body: Value = serde_json::from_str(&unknown.text().await.unwrap()).unwrap();
    assert_eq!((&body["code"], &body["data"]), (&json!("51001"), &json!([])));
    assert_eq!(status("/api/v5/market/candles?instId=BTC-USDT&bar=1h").await, 400);
    assert_eq!(world.simulator.stats(OKX).limit_violations, 1);
}

#[tokio::test]
async fn okxs_streams_agree_with_its_history() {
    let world = world().await;
    let (mut candles, mut trades) = (business(&world).await, public(&world, "trades").await);
    candles.until(closes_here).await;
    let heard = candles.until(closes_here).await;
    let row = &heard.last().unwrap()["data"][0];
    let open: i64 = row[0].as_str().unwrap().parse().unwrap();
    assert_eq!(open, START.millis() / MINUTE * MINUTE + MINUTE);
    let truth = world.truth(OKX, "BTC/USDT", open);
    let told = [1, 2, 3, 4, 5].map(|place| decimal(&row[place]));
    assert_eq!((told, None), essence(&truth));
    assert_eq!(Some(decimal(&row[7])), truth.quote_volume);
    let page = format!("/api/v5/market/candles?instId=BTC-USDT&bar=1m&before={}&after={}", open - 1, open + 1);
    assert_eq!(world.json(&page).await["data"], json!([row]));
    let traded: Decimal = trades
        .during(0)
        .await
        .iter()
        .flat_map(|frame| frame["data"].as_array().unwrap().clone())
        .filter(|one| (open..open + MINUTE).contains(&one["ts"].as_str().unwrap().parse().unwrap()))
        .map(|one| decimal(&one["sz"]))
        .sum();
    assert_eq!(traded, truth.volume);
}

#[tokio::test]
async fn a_notice_comes_before_the_end_at_the_public_door_only() {
    let world = world().await;
    let (mut public, mut business) = (public(&world, "trades").await, business(&world).await);
    world.inject(OKX, FaultKind::ShutdownNotice, 0);
    let is_end = |frame: &Value| frame.get("close").is_some();
    let mut heard = public.until(is_end).await;
    assert_eq!(heard.pop(), Some(json!({"close": 1001})));
    assert!(heard.iter().any(|frame| frame["event"] == "notice" && frame["code"] == "64008"));
    assert!(business.until(is_end).await.iter().all(|frame| frame["event"] != "notice"), "as documented");
}

#[tokio::test]
async fn faults_befall_okx_in_its_own_way() {
    let world = world().await;
    world.inject(OKX, FaultKind::Refuse, 0);
    let mut socket = world.socket("/ws/v5/business").await;
    socket.say(subscribe("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.hear().await.unwrap()["code"], "60018");
    socket.say(subscribe("candle1m", "BTC-USDT")).await;
    assert_eq!(socket.hear().await.unwrap()["event"], "subscribe");

    world.inject(OKX, FaultKind::SkipCandle, 0);
    let first = START.millis() / MINUTE * MINUTE;
    let heard = socket.until(closes_here).await;
    assert_eq!(heard.last().unwrap()["data"][0][0], (first + MINUTE).to_string());

    world.inject(OKX, FaultKind::LateTrade, 0);
    let told = socket.until(closes_here).await.pop().unwrap()["data"][0].clone();
    world.clock.advance(Duration::from_secs(2)).await;
    let open = first + 2 * MINUTE;
    let path = format!("/api/v5/market/candles?instId=BTC-USDT&before={}&after={}", open - 1, open + 1);
    let row = world.json(&path).await["data"][0].clone();
    assert_eq!((&row[0], row[4] == told[4]), (&told[0], false), "REST has the late trade");
    assert_eq!(decimal(&row[5]), world.truth(OKX, "BTC/USDT", open).volume);

    let mut trades = public(&world, "trades").await;
    trades.during(0).await;
    world.inject(OKX, FaultKind::Duplicate, 30_000);
    let heard = trades.during(29_000).await;
    assert!(heard.len() > 3 && heard.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
    world.clock.advance(Duration::from_secs(2)).await;
    trades.during(0).await;

    world.inject(OKX, FaultKind::Silent, 20_000);
    assert_eq!(trades.during(19_000).await, Vec::<Value>::new());
    world.inject(OKX, FaultKind::Malformed, 20_000);
    let heard = trades.during(21_000).await;
    assert!(heard.iter().any(|frame| frame["broken"].is_string()));
    world.inject(OKX, FaultKind::Malformed, 1_000);
    assert!(serde_json::from_str::<Value>(&world.text("/api/v5/public/time").await).is_err());

    world.inject(OKX, FaultKind::Drop, 0);
    world.clock.advance(Duration::from_secs(1)).await;
    while let Some(frame) = trades.hear().await {
        assert_eq!(frame["close"], Value::Null);
    }
    world.inject(OKX, FaultKind::Dark, 1_000);
    assert!(world.get("/api/v5/public/time").await.is_err());
    assert!(connect_async(format!("ws://{}/ws/v5/public", world.address)).await.is_err());
    assert!(world.get("/api/v3/ping").await.is_ok(), "the others go on");
}
