//! Malicious clients: the service keeps answering all others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use candlewick::api::AccessConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// Connects from 127.0.0.`last_octet`: one machine can act as several clients.
async fn connect(last_octet: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last_octet)), 0).into())?;
    socket.connect(to).await
}

/// Reads until the server closes the connection or `time_limit` passes. Returns the text and whether it was closed.
async fn read_response(stream: &mut TcpStream, time_limit: Duration) -> (String, bool) {
    let mut bytes = Vec::new();
    let read = Clock::system().timeout(time_limit, stream.read_to_end(&mut bytes)).await;
    (String::from_utf8_lossy(&bytes).into_owned(), read.is_ok())
}

/// Checks that a client at another address gets a response at once.
async fn expect_others_served(service: &TestService) {
    let mut stream = connect(9, service.address).await.unwrap();
    stream.write_all(b"GET /v1/exchanges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (response, closed) = read_response(&mut stream, Duration::from_secs(5)).await;
    assert!(response.starts_with("HTTP/1.1 200 ") && closed, "{response}");
}

#[tokio::test]
async fn partial_requests_time_out_without_blocking_others() {
    let service = TestService::start().await;
    let mut partial = Vec::new();
    for index in 0..300 {
        let mut stream = connect(2, service.address).await.unwrap();
        let parts =
            ["GET /v1/ticker HTTP/1.1\r\nHost: x\r\nX-A: ", "G", "", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"];
        stream.write_all(parts[index % 4].as_bytes()).await.unwrap();
        partial.push(stream);
    }
    expect_others_served(&service).await;
    // Another byte does not extend the time limit.
    for stream in &mut partial {
        let _ = stream.write_all(b"x").await;
    }
    expect_others_served(&service).await;
    for mut stream in partial {
        let (_, closed) = read_response(&mut stream, Duration::from_secs(30)).await;
        assert!(closed, "the request times out");
    }
    service.shut_down().await;
}

#[tokio::test]
async fn connections_past_limit_per_address_are_closed_at_once() {
    // Client and server sockets are both in this process.
    rlimit::increase_nofile_limit(16_384).unwrap();
    let service = TestService::start().await;
    let mut idle = Vec::new();
    for _ in 0..5_000 {
        idle.push(connect(2, service.address).await.unwrap());
    }
    expect_others_served(&service).await;
    let mut closed = 0;
    for stream in idle.iter_mut().rev().take(5_000 - 4_096) {
        closed += usize::from(read_response(stream, Duration::from_secs(5)).await.1);
    }
    assert_eq!(closed, 5_000 - 4_096, "connections past the limit are closed at once");
    // Closed connections release their permits.
    idle.truncate(4_000);
    expect_others_served(&service).await;
    let mut new = connect(2, service.address).await.unwrap();
    new.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_response(&mut new, Duration::from_secs(5)).await.0.starts_with("HTTP/1.1 200 "));
    drop(idle);
    service.shut_down().await;
}

#[tokio::test]
async fn rejects_ambiguous_request_framing() {
    let service = TestService::start().await;
    let smuggled = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = smuggled.len();
    for head in [
        // Two lengths, a length and an encoding, and invalid lengths.
        format!("POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Length: 0\r\n\r\n"),
        format!(
            "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n".to_owned(),
        "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\n".to_owned(),
        "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n".to_owned(),
        "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n".to_owned(),
        "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nHost: x\0y\r\n\r\n".to_owned(),
        "GET /livez HTTP/3.7\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        let mut stream = connect(2, service.address).await.unwrap();
        stream.write_all(format!("{head}{smuggled}").as_bytes()).await.unwrap();
        let (response, closed) = read_response(&mut stream, Duration::from_secs(15)).await;
        assert!(!response.contains("\"exchanges\":") && closed, "{head:?}: {response}");
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{head:?}: {response}");
        assert!(response.matches("HTTP/1.1 ").count() <= 1, "{head:?}: {response}");
    }
    expect_others_served(&service).await;
    service.shut_down().await;
}

#[tokio::test]
async fn rejects_oversized_requests() {
    let service = TestService::start().await;
    let headers = "X-A: 1\r\n".repeat(200);
    let long = "a".repeat(300 * 1024);
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("{long} /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{long}"),
        format!(
            "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n{long}"
        ),
    ] {
        let mut stream = connect(2, service.address).await.unwrap();
        // The server may close the connection before it reads everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let (response, _) = read_response(&mut stream, Duration::from_secs(15)).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{}: {response}", &request[..60]);
        expect_others_served(&service).await;
    }
    service.shut_down().await;
}

#[tokio::test]
async fn request_flood_is_rate_limited_without_affecting_others() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let access = AccessConfig { per_minute: 60, ..AccessConfig::default() };
    let service = TestService::with_store(store, ApiConfig { access, ..ApiConfig::default() }).await;
    let mut stream = connect(2, service.address).await.unwrap();
    let flood = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    let last = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{flood}{last}").as_bytes()).await.unwrap();
    let (responses, _) = read_response(&mut stream, Duration::from_secs(15)).await;
    let (served, limited) = (responses.matches("HTTP/1.1 200 ").count(), responses.matches("HTTP/1.1 429 ").count());
    assert!((60..=65).contains(&served) && served + limited == 201, "{served} and {limited}");
    expect_others_served(&service).await;
    service.shut_down().await;
}
