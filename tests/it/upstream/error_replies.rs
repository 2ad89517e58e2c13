//! Error replies of exchanges and of proxies in front of them, with the real exchanges' codecs over loopback.

use std::sync::Arc;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::exchanges::{RestCall, RestErrorKind};
use candlewick::model::{ExchangeId, Instrument, TickerPatch};
use candlewick::upstream::{RestClient, UpstreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::adapter;

const BINANCE: ExchangeId = ExchangeId::BINANCE;
const BYBIT: ExchangeId = ExchangeId::BYBIT;
const PAGE: &str = "<html>\r\n<head><title>Forbidden</title></head>\r\n<body><h1>Forbidden</h1></body>\r\n</html>\r\n";
const BYBIT_TICKER: &str = r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"BTCUSDT",
    "bid1Price":"1","bid1Size":"2","ask1Price":"3","ask1Size":"4","lastPrice":"2","prevPrice24h":"2","price24hPcnt":"0",
    "highPrice24h":"3","lowPrice24h":"1","turnover24h":"5","volume24h":"6"}]},"time":1700000000000}"#;

/// An origin that sends `reply` to every request.
async fn origin(reply: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(reply).mount(&server).await;
    server
}

async fn request_count(server: &MockServer) -> usize {
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
    RestClient::new(adapter(id), &origins, clock.clone()).unwrap()
}

/// The first of the calls for an exchange's ticker.
fn ticker(id: ExchangeId) -> RestCall<TickerPatch> {
    let instrument = Instrument::new(id, "BTC/USDT".parse().unwrap(), "BTCUSDT");
    adapter(id).ticker(&instrument).remove(0)
}

#[tokio::test]
async fn firewall_page_defers_calls_and_is_no_region_block() {
    let (firewalled, other) = (origin(page(403)).await, origin(json(200, "{}")).await);
    let clock = Clock::scaled(60.0);
    let client = client(BINANCE, &clock, &[&firewalled, &other]);
    let before = clock.now();
    let error = client.call(&ticker(BINANCE)).await.unwrap_err();
    let until = error.retry_at().unwrap();
    assert!(until.since(before) >= Duration::from_mins(2), "{error}");
    assert!(error.is_transient() && !error.to_string().contains("region"), "{error}");
    assert!(matches!(client.call(&ticker(BINANCE)).await, Err(UpstreamError::Deferred { .. })));
    assert_eq!((request_count(&firewalled).await, request_count(&other).await), (1, 0), "a ban applies to all origins");
    clock.sleep_until(until + Duration::from_secs(1)).await;
    let _ = client.call(&ticker(BINANCE)).await;
    assert_eq!(
        (request_count(&firewalled).await, request_count(&other).await),
        (1, 1),
        "after the pause the next origin is tried first"
    );
}

#[tokio::test]
async fn status_451_switches_to_next_origin() {
    let eligibility =
        r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}"#;
    let (blocked, available) =
        (origin(json(451, eligibility)).await, origin(json(400, r#"{"code":-1121,"msg":"x"}"#)).await);
    let client_of_two = client(BINANCE, &Clock::system(), &[&blocked, &available]);
    for _ in 0..2 {
        let Err(UpstreamError::ErrorResponse { error, .. }) = client_of_two.call(&ticker(BINANCE)).await else {
            panic!("no error response")
        };
        assert_eq!(error.kind, RestErrorKind::UnknownSymbol);
    }
    assert_eq!((request_count(&blocked).await, request_count(&available).await), (1, 2));
    let origins = adapter(BINANCE).profile().rest_origins;
    assert_eq!(origins[1], "https://data-api.binance.vision", "this origin serves regions that the first one blocks");
    let alone = client(BINANCE, &Clock::system(), &[&blocked]);
    let error = alone.call(&ticker(BINANCE)).await.unwrap_err();
    assert_eq!(error, UpstreamError::RegionBlocked { exchange: BINANCE, status: 451 });
}

#[tokio::test]
async fn bybit_region_codes_with_http_200_switch_origin() {
    for code in [10_009, 10_024] {
        let rejection = format!(r#"{{"retCode":{code},"retMsg":"no","result":{{}},"time":1}}"#);
        let (blocked, available) = (origin(json(200, &rejection)).await, origin(json(200, BYBIT_TICKER)).await);
        let client_of_two = client(BYBIT, &Clock::system(), &[&blocked, &available]);
        client_of_two.call(&ticker(BYBIT)).await.unwrap();
        client_of_two.call(&ticker(BYBIT)).await.unwrap();
        assert_eq!((request_count(&blocked).await, request_count(&available).await), (1, 2), "{code}");
        let alone = client(BYBIT, &Clock::system(), &[&blocked]);
        assert!(matches!(alone.call(&ticker(BYBIT)).await, Err(UpstreamError::RegionBlocked { .. })), "{code}");
    }
}

#[tokio::test]
async fn bybit_rate_limits_defer_for_window_and_403_for_ten_minutes() {
    let clock = Clock::system();
    let visits = r#"{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1}"#;
    for status in [200, 429] {
        let reset = (clock.now() + Duration::from_secs(3)).millis().to_string();
        let with_reset = json(status, visits).insert_header("X-Bapi-Limit-Reset-Timestamp", reset.as_str());
        for (reply, expected_secs) in [(with_reset, 3), (json(status, visits), 5)] {
            let server = origin(reply).await;
            let before = clock.now();
            let error = client(BYBIT, &clock, &[&server]).call(&ticker(BYBIT)).await.unwrap_err();
            let pause = error.retry_at().unwrap().since(before);
            let expected = Duration::from_secs(expected_secs);
            assert!(
                pause + Duration::from_secs(2) > expected && pause < expected + Duration::from_secs(2),
                "{pause:?}"
            );
            assert_eq!(request_count(&server).await, 1);
        }
    }
    // Without an exceeded limit the header holds the current time, so the ban pause applies.
    let reset = (clock.now() + Duration::from_secs(1)).millis().to_string();
    let ban = ResponseTemplate::new(403).set_body_string("403, access too frequent");
    let server = origin(ban.insert_header("X-Bapi-Limit-Reset-Timestamp", reset.as_str())).await;
    let before = clock.now();
    let error = client(BYBIT, &clock, &[&server]).call(&ticker(BYBIT)).await.unwrap_err();
    assert!(error.retry_at().unwrap().since(before) >= Duration::from_mins(10), "{error}");
}

#[tokio::test]
async fn error_status_of_intermediary_is_transient() {
    for id in ExchangeId::all() {
        for status in [307, 400, 404, 410, 502] {
            let server = origin(page(status)).await;
            let client = client(id, &Clock::scaled(100.0), &[&server]);
            let error = client.call(&ticker(id)).await.unwrap_err();
            assert_eq!(error, UpstreamError::Unavailable { exchange: id, status, retry_at: None }, "{id}");
            assert!(error.is_transient() && request_count(&server).await == 3, "{id} {status}: the call is retried");
        }
    }
}

#[tokio::test]
async fn malformed_body_is_retried_at_next_origin() {
    for malformed in [PAGE, &BYBIT_TICKER[..100], ""] {
        let (bad, good) = (origin(json(200, malformed)).await, origin(json(200, BYBIT_TICKER)).await);
        let client_of_two = client(BYBIT, &Clock::scaled(100.0), &[&bad, &good]);
        assert!(client_of_two.call(&ticker(BYBIT)).await.unwrap().last.is_some(), "{malformed}");
        assert_eq!((request_count(&bad).await, request_count(&good).await), (1, 1));
        let alone = client(BYBIT, &Clock::scaled(100.0), &[&bad]);
        let Err(UpstreamError::ErrorResponse { error, .. }) = alone.call(&ticker(BYBIT)).await else {
            panic!("no error response")
        };
        assert_eq!(error.kind, RestErrorKind::Malformed);
        assert_eq!(request_count(&bad).await, 4, "retried, then returned");
    }
}

#[tokio::test]
async fn truncated_body_is_retried_at_next_origin() {
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
    let client = RestClient::new(adapter(BYBIT), &[broken, good.uri()], Clock::system()).unwrap();
    assert!(client.call(&ticker(BYBIT)).await.unwrap().last.is_some());
    assert_eq!(request_count(&good).await, 1);
}
