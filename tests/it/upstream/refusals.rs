//! What an exchange, or something in front of it, answers instead of data: with the dialects of the real exchanges, over loopback.

use std::sync::Arc;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::exchanges::{ReplyErrorKind, RestCall, exchange};
use candlewick::model::{ExchangeId, Instrument, TickerPatch};
use candlewick::upstream::{RestClient, UpstreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const BINANCE: ExchangeId = ExchangeId::Binance;
const BYBIT: ExchangeId = ExchangeId::Bybit;
const PAGE: &str = "<html>\r\n<head><title>Forbidden</title></head>\r\n<body><h1>Forbidden</h1></body>\r\n</html>\r\n";
const BYBIT_TICKER: &str = r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"BTCUSDT",
    "bid1Price":"1","bid1Size":"2","ask1Price":"3","ask1Size":"4","lastPrice":"2","prevPrice24h":"2","price24hPcnt":"0",
    "highPrice24h":"3","lowPrice24h":"1","turnover24h":"5","volume24h":"6"}]},"time":1700000000000}"#;

/// An origin that answers everything with `reply`.
async fn origin(reply: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(reply).mount(&server).await;
    server
}

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn page(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(PAGE, "text/html")
}

fn json(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body, "application/json")
}

fn client(id: ExchangeId, clock: &Clock, origins: &[&MockServer]) -> Arc<RestClient> {
    let origins: Vec<String> = origins.iter().map(|server| server.uri()).collect();
    RestClient::new(exchange(id), &origins, clock.clone()).unwrap()
}

/// The first call that an exchange's ticker takes.
fn ticker(id: ExchangeId) -> RestCall<TickerPatch> {
    let instrument = Instrument {
        exchange: id,
        symbol: "BTC/USDT".parse().unwrap(),
        native: "BTCUSDT".to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: candlewick::model::InstrumentStatus::Trading,
    };
    exchange(id).ticker(&instrument).remove(0)
}

#[tokio::test]
async fn a_firewalls_page_is_a_pause_and_not_a_region() {
    let (walled, other) = (origin(page(403)).await, origin(json(200, "{}")).await);
    let clock = Clock::scaled(60.0);
    let client = client(BINANCE, &clock, &[&walled, &other]);
    let before = clock.now();
    let error = client.call(&ticker(BINANCE)).await.unwrap_err();
    let until = error.retry_at().unwrap();
    assert!(until.since(before) >= Duration::from_mins(2), "{error}");
    assert!(error.is_transient() && !error.to_string().contains("region"), "{error}");
    assert!(matches!(client.call(&ticker(BINANCE)).await, Err(UpstreamError::HeldBack { .. })));
    assert_eq!((asked(&walled).await, asked(&other).await), (1, 0), "neither this origin nor the others are asked");
    clock.sleep_until(until + Duration::from_secs(1)).await;
    let _ = client.call(&ticker(BINANCE)).await;
    assert_eq!((asked(&walled).await, asked(&other).await), (1, 1), "after the pause another one is tried first");
}

#[tokio::test]
async fn a_closed_region_is_said_so_by_451_and_the_next_origin_is_asked() {
    let eligibility =
        r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}"#;
    let (closed, open) = (origin(json(451, eligibility)).await, origin(json(400, r#"{"code":-1121,"msg":"x"}"#)).await);
    let client_of_two = client(BINANCE, &Clock::system(), &[&closed, &open]);
    for _ in 0..2 {
        let Err(UpstreamError::Reply { error, .. }) = client_of_two.call(&ticker(BINANCE)).await else {
            panic!("no reply")
        };
        assert_eq!(error.kind, ReplyErrorKind::UnknownSymbol);
    }
    assert_eq!((asked(&closed).await, asked(&open).await), (1, 2));
    let origins = exchange(BINANCE).profile().rest_origins;
    assert_eq!(origins[1], "https://data-api.binance.vision", "it serves regions that the first is closed to");
    let alone = client(BINANCE, &Clock::system(), &[&closed]);
    let error = alone.call(&ticker(BINANCE)).await.unwrap_err();
    assert_eq!(error, UpstreamError::RegionClosed { exchange: BINANCE, status: 451 });
}

#[tokio::test]
async fn bybits_region_codes_come_with_http_200_and_close_the_origin() {
    for code in [10_009, 10_024] {
        let refusal = format!(r#"{{"retCode":{code},"retMsg":"no","result":{{}},"time":1}}"#);
        let (closed, open) = (origin(json(200, &refusal)).await, origin(json(200, BYBIT_TICKER)).await);
        let client_of_two = client(BYBIT, &Clock::system(), &[&closed, &open]);
        client_of_two.call(&ticker(BYBIT)).await.unwrap();
        client_of_two.call(&ticker(BYBIT)).await.unwrap();
        assert_eq!((asked(&closed).await, asked(&open).await), (1, 2), "{code}");
        let alone = client(BYBIT, &Clock::system(), &[&closed]);
        assert!(matches!(alone.call(&ticker(BYBIT)).await, Err(UpstreamError::RegionClosed { .. })), "{code}");
    }
}

#[tokio::test]
async fn bybit_is_left_alone_for_the_window_and_after_a_403_for_ten_minutes() {
    let clock = Clock::system();
    let visits = r#"{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1}"#;
    for status in [200, 429] {
        let reset = (clock.now() + Duration::from_secs(3)).millis().to_string();
        let named = json(status, visits).insert_header("X-Bapi-Limit-Reset-Timestamp", reset.as_str());
        for (reply, longest) in [(named, 3), (json(status, visits), 5)] {
            let server = origin(reply).await;
            let before = clock.now();
            let error = client(BYBIT, &clock, &[&server]).call(&ticker(BYBIT)).await.unwrap_err();
            let pause = error.retry_at().unwrap().since(before);
            let longest = Duration::from_secs(longest);
            assert!(pause + Duration::from_secs(2) > longest && pause < longest + Duration::from_secs(2), "{pause:?}");
            assert_eq!(asked(&server).await, 1);
        }
    }
    // Without an exceeded limit the header is just the current time.
    let reset = (clock.now() + Duration::from_secs(1)).millis().to_string();
    let ban = ResponseTemplate::new(403).set_body_string("403, access too frequent");
    let server = origin(ban.insert_header("X-Bapi-Limit-Reset-Timestamp", reset.as_str())).await;
    let before = clock.now();
    let error = client(BYBIT, &clock, &[&server]).call(&ticker(BYBIT)).await.unwrap_err();
    assert!(error.retry_at().unwrap().since(before) >= Duration::from_mins(10), "{error}");
}

#[tokio::test]
async fn a_status_of_something_in_front_is_never_the_exchanges_word() {
    for id in ExchangeId::ALL {
        for status in [307, 400, 404, 410, 502] {
            let server = origin(page(status)).await;
            let client = client(id, &Clock::scaled(100.0), &[&server]);
            let error = client.call(&ticker(id)).await.unwrap_err();
            assert_eq!(error, UpstreamError::Trouble { exchange: id, status, retry_at: None }, "{id}");
            assert!(error.is_transient() && asked(&server).await == 3, "{id} {status}: it is tried again");
        }
    }
}

#[tokio::test]
async fn a_page_with_status_200_and_half_a_reply_are_asked_for_elsewhere() {
    for damaged in [PAGE, &BYBIT_TICKER[..100], ""] {
        let (bad, good) = (origin(json(200, damaged)).await, origin(json(200, BYBIT_TICKER)).await);
        let client_of_two = client(BYBIT, &Clock::scaled(100.0), &[&bad, &good]);
        assert!(client_of_two.call(&ticker(BYBIT)).await.unwrap().last.is_some(), "{damaged}");
        assert_eq!((asked(&bad).await, asked(&good).await), (1, 1));
        let alone = client(BYBIT, &Clock::scaled(100.0), &[&bad]);
        let Err(UpstreamError::Reply { error, .. }) = alone.call(&ticker(BYBIT)).await else { panic!("no reply") };
        assert_eq!(error.kind, ReplyErrorKind::Malformed);
        assert_eq!(asked(&bad).await, 4, "tried again, and then told");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_elsewhere() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BYBIT_TICKER.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&BYBIT_TICKER.as_bytes()[..100]).await;
        }
    });
    let good = origin(json(200, BYBIT_TICKER)).await;
    let client = RestClient::new(exchange(BYBIT), &[broken, good.uri()], Clock::system()).unwrap();
    assert!(client.call(&ticker(BYBIT)).await.unwrap().last.is_some());
    assert_eq!(asked(&good).await, 1);
}
