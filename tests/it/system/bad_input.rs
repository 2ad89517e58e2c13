//! Invalid input is rejected or dropped, and the program logs no warning or error for it. The status and problem code
//! of each error are tested in `api/problems.rs`.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::Process;
use crate::support::wait_until;

/// Sends raw bytes, which an HTTP client would normalize, and reads the response.
async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before all bytes are sent.
    let _ = stream.write_all(bytes).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    send(address, format!("{head}\r\n{body}").as_bytes()).await
}

/// Method, path and body of requests that must be rejected with a problem.
fn invalid_requests() -> Vec<(&'static str, String, String)> {
    let long = "A".repeat(10_000);
    let flood = (0..100).map(|n| format!("&x{n}=1")).collect::<Vec<_>>().concat();
    let paths = [
        "/v1/ticker?symbol=NO/SUCH",
        "/ticker/NO-SUCH",
        "/v1/ticker?exchange=mtgox&symbol=BTC/USDT",
        "/v1/history?symbol=BTC/USDT&limit=0",
        "/v1/history?symbol=BTC/USDT&limit=1e9",
        "/v1/history?symbol=BTC/USDT&limit=1000000000",
        "/v1/history?symbol=BTC/USDT&interval=7m",
        "/v1/history?symbol=BTC/USDT&start=1763672400000&end=1763672300000",
        "/v1/history?symbol=BTC/USDT&start=99999999999999999999",
        "/history/BTC-USDT?interval=7m",
        &format!("/v1/ticker?symbol={long}"),
        &format!("/history/{long}"),
        "/%2e%2e/%2e%2e/etc/passwd",
        "/ticker/%2e%2e",
        "/ticker/%2e%2e%2fBTC-USDT",
        "/../../etc/passwd",
        "/ticker/%00",
        "/v1/ticker?symbol=BTC%00/USDT",
        "/v1/ticker?symbol=%ff%fe",
        &format!("/v1/ticker?symbol=BTC/USDT{flood}"),
        "/ws/subscribe/BTC-USDT",
        "/ws/realtime?symbol=NO/SUCH",
        "/v1/coverage?symbol=BTC/USDT&interval=7m",
        "/v1/instruments?limit=-1",
        "/nothing/here",
    ];
    let get = paths.into_iter().map(|path| ("GET", path.to_owned(), String::new()));
    let bodies = [0, 100, 1_000_000].map(|size| ("POST", "/v1/ticker".to_owned(), "x".repeat(size)));
    let others = ["DELETE", "BREW"].map(|method| (method, "/v1/ticker?symbol=BTC/USDT".to_owned(), String::new()));
    get.chain(bodies).chain(others).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_rejected_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"), ("CANDLEWICK__DATA", "simulated")];
    let mut process = Process::spawn(folder.path(), &[], &environment);
    let address = process.address().await;
    wait_until("the service is ready", async || {
        request(address, "GET", "/readyz", "").await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    process.wait_for_log("ready").await;
    let before = process.log().len();

    for (method, path, body) in invalid_requests() {
        let response = request(address, method, &path, &body).await;
        let what = format!("{method} {path:.80} -> {response:.800}");
        let (head, problem) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {what}"));
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 4"), "{what}");
        assert!(head.contains("content-type: application/problem+json"), "{what}");
        let problem: Value = serde_json::from_str(problem).unwrap_or_else(|error| panic!("{error}: {what}"));
        assert!(problem["code"].as_str().is_some_and(|code| !code.is_empty()), "{what}");
        assert_eq!(problem["status"].to_string(), head[9..12], "{what}");
    }
    // Bytes that are no HTTP request.
    let endless = format!("GET /{}", "a".repeat(300_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\n\0\0",
        b"GET / HTTP/9\r\n\r\n",
        endless.as_bytes(),
    ] {
        let response = send(address, bytes).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{response:.200}");
    }
    // Clients that disconnect before the response.
    for part in ["GET /v1/history?symbol=BTC/USDT&limit=5000 HTTP/1.1\r\nHost: x\r\n\r\n", "GET /livez HT"] {
        TcpStream::connect(address).await.unwrap().write_all(part.as_bytes()).await.unwrap();
    }

    assert!(request(address, "GET", "/livez", "").await.starts_with("HTTP/1.1 200 "));
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0), "{:#?}", process.lines());
    let log = process.log();
    let warnings: Vec<&Value> = log[before..].iter().filter(|line| line["level"] != "INFO").collect();
    assert!(log.len() > before && warnings.is_empty(), "{warnings:#?}");
}
