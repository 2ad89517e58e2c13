//! Whatever is wrong with a request: a problem with its code, and nothing worse.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_code() {
    let house = House::open().await;
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
        let refusal = problem(house.get(path).await, status, code).await;
        assert_eq!(refusal.get("errors").is_some(), code == "invalid_parameter", "{path}: {refusal}");
    }
    // Past a client that would tidy the path up.
    for (path, status) in
        [("/ticker/%2e%2e?exchange=binance", 404), ("/../v1/ticker", 404), ("/ticker/%ff", 400), ("//", 404)]
    {
        let mut raw = TcpStream::connect(house.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        raw.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains("\"code\":\""),
            "{path}: {answer}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn methods_and_bodies_have_their_bounds() {
    let house = House::open().await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let response = house.send(method, "/v1/ticker?symbol=BTC/USDT").await;
        assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
        problem(response, 405, "method_not_allowed").await;
    }
    let options = house.send(Method::OPTIONS, "/v1/ticker").await;
    assert_eq!((options.status().as_u16(), &options.headers()["allow"]), (204, &"GET, HEAD, OPTIONS".parse().unwrap()));
    let head = house.send(Method::HEAD, "/v1/ticker?symbol=BTC/USDT").await;
    assert_eq!(head.status(), 200);
    let length: usize = head.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(length > 100 && head.text().await.unwrap().is_empty());
    for (size, status, code) in
        [(1_000, 405, "method_not_allowed"), (100_000, 413, "too_large"), (3_000_000, 413, "too_large")]
    {
        let request = house.client.post(format!("http://{}/v1/ticker", house.address)).body(vec![b'x'; size]);
        match request.send().await {
            Ok(response) => drop(problem(response, status, code).await),
            // What is far too long is cut while it is being sent, and not every client sees why.
            Err(error) => assert!(size > 1_000_000, "{error}"),
        }
    }
    house.close().await;
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let house = House::open().await;
    let ask = |id: &'static [u8]| {
        let id = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        house.client.get(format!("http://{}/livez", house.address)).header("X-Request-Id", id).send()
    };
    let answered = |response: Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(answered(ask(b"abc-123/4").await.unwrap()), "abc-123/4");
    for insane in [&b"two words"[..], &[b'a'; 65], b"\xff"] {
        let id = answered(ask(insane).await.unwrap());
        assert!(id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    }
    let (first, second) = (answered(house.get("/livez").await), answered(house.get("/livez").await));
    assert_ne!(first, second);
    house.close().await;
}
