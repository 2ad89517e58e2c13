//! Failed requests: problems with their codes, limits on methods and sizes, request ids.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn failed_requests_return_problem_codes() {
    let service = TestService::start().await;
    let long = "A".repeat(10_000);
    let flood = (0..100).map(|n| format!("x{n}=1")).collect::<Vec<_>>().join("&");
    let cases = [
        ("/v1/ticker", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=BTC/USDT&symbol=ETH/USDT", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=BTC/USDT&Exchange=binance", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=BTC%00USDT", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=%ff", 400, "invalid_parameter"),
        ("/v1/ticker?symbol=%zz", 400, "invalid_parameter"),
        ("/v1/ticker?exchange=binance&symbol=X/Y", 404, "unknown_symbol"),
        ("/v1/ticker?exchange=nope&symbol=BTC/USDT", 404, "unknown_exchange"),
        ("/v1/ticker?exchange=%2e%2e&symbol=BTC/USDT", 404, "unknown_exchange"),
        ("/v1/ticker?exchange=kraken&symbol=BTC/USDT", 503, "not_ready"),
        ("/v1/ticker?exchange=binance&symbol=ETH/USDT", 503, "upstream_unavailable"),
        ("/v1/history?symbol=BTC/USDT&limit=0", 400, "invalid_parameter"),
        ("/v1/history?symbol=BTC/USDT&limit=1e9", 400, "invalid_parameter"),
        ("/v1/history?symbol=BTC/USDT&interval=7m", 400, "invalid_parameter"),
        ("/v1/history?symbol=BTC/USDT&start=2&end=1", 400, "invalid_parameter"),
        ("/v1/history?symbol=BTC/USDT&fill=linear", 400, "invalid_parameter"),
        ("/v1/history?symbol=BTC/USDT&interval=1w", 404, "unsupported_interval"),
        ("/v1/history?symbol=BTC/USDT&format=csv&start=0&end=1&interval=1w", 404, "unsupported_interval"),
        ("/v1/tickers?symbols=,", 400, "invalid_parameter"),
        ("/v1/tickers?exchange=nope&symbols=BTC/USDT", 404, "unknown_exchange"),
        ("/v1/exchanges/nope", 404, "unknown_exchange"),
        ("/v1/exchanges?x=1", 400, "invalid_parameter"),
        ("/v1/instruments?limit=5001", 400, "invalid_parameter"),
        ("/v1/instruments?cursor=x", 400, "invalid_parameter"),
        ("/v1/coverage?symbol=BTC/USDT&interval=x", 400, "invalid_parameter"),
        ("/ticker/a%2fb%2fc?exchange=binance", 404, "unknown_symbol"),
        ("/ticker/%00", 400, "invalid_parameter"),
        ("/ticker/", 404, "not_found"),
        ("/v1/nothing", 404, "not_found"),
        ("/", 404, "not_found"),
        ("/ws/subscribe/BTC-USDT", 426, "upgrade_required"),
        (&format!("/v1/ticker?symbol={long}"), 400, "invalid_parameter"),
        (&format!("/ticker/{long}"), 400, "invalid_parameter"),
        (&format!("/v1/ticker?symbol=BTC/USDT&{flood}"), 400, "invalid_parameter"),
        (&format!("/v1/ticker?symbol={}", long.repeat(4)), 413, "too_large"),
    ];
    for (path, status, code) in cases {
        let body = expect_problem(service.get(path).await, status, code).await;
        assert_eq!(body.get("errors").is_some(), code == "invalid_parameter", "{path}: {body}");
    }
    // Over raw TCP: an HTTP client would normalize these paths.
    for (path, status) in
        [("/ticker/%2e%2e?exchange=binance", 404), ("/../v1/ticker", 404), ("/ticker/%ff", 400), ("//", 404)]
    {
        let mut raw = TcpStream::connect(service.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        raw.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        raw.read_to_string(&mut response).await.unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")) && response.contains("\"code\":\""),
            "{path}: {response}"
        );
    }
    service.shut_down().await;
}

#[tokio::test]
async fn rejects_unsupported_methods_and_large_bodies() {
    let service = TestService::start().await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let response = service.send(method, "/v1/ticker?symbol=BTC/USDT").await;
        assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
        expect_problem(response, 405, "method_not_allowed").await;
    }
    let options = service.send(Method::OPTIONS, "/v1/ticker").await;
    assert_eq!((options.status().as_u16(), &options.headers()["allow"]), (204, &"GET, HEAD, OPTIONS".parse().unwrap()));
    let head = service.send(Method::HEAD, "/v1/ticker?symbol=BTC/USDT").await;
    assert_eq!(head.status(), 200);
    let length: usize = head.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(length > 100 && head.text().await.unwrap().is_empty());
    for (size, status, code) in
        [(1_000, 405, "method_not_allowed"), (100_000, 413, "too_large"), (3_000_000, 413, "too_large")]
    {
        let request = service.client.post(format!("http://{}/v1/ticker", service.address)).body(vec![b'x'; size]);
        match request.send().await {
            Ok(response) => drop(expect_problem(response, status, code).await),
            // The server closes the connection during a far too long body. The client may not see the response.
            Err(error) => assert!(size > 1_000_000, "{error}"),
        }
    }
    service.shut_down().await;
}

#[tokio::test]
async fn every_response_has_a_request_id() {
    let service = TestService::start().await;
    let get_with_id = |id: &'static [u8]| {
        let id = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        service.client.get(format!("http://{}/livez", service.address)).header("X-Request-Id", id).send()
    };
    let response_id = |response: Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(response_id(get_with_id(b"abc-123/4").await.unwrap()), "abc-123/4");
    for invalid in [&b"two words"[..], &[b'a'; 65], b"\xff"] {
        let id = response_id(get_with_id(invalid).await.unwrap());
        assert!(id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    }
    let (first, second) = (response_id(service.get("/livez").await), response_id(service.get("/livez").await));
    assert_ne!(first, second);
    service.shut_down().await;
}
