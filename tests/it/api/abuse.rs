//! Clients that mean no good: whatever they do, others are answered meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use candlewick::api::AccessConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// A connection from an address of this machine, of which 127.0.0.0/8 has many.
async fn connect(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0).into())?;
    socket.connect(to).await
}

/// What comes until the other side closes, or for so long.
async fn rest(stream: &mut TcpStream, patience: Duration) -> (String, bool) {
    let mut bytes = Vec::new();
    let read = Clock::system().timeout(patience, stream.read_to_end(&mut bytes)).await;
    (String::from_utf8_lossy(&bytes).into_owned(), read.is_ok())
}

/// Asks as a well-meaning client from an address of its own, and is answered at once.
async fn is_answered(house: &House) {
    let mut stream = connect(9, house.address).await.unwrap();
    stream.write_all(b"GET /v1/exchanges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (answer, ended) = rest(&mut stream, Duration::from_secs(5)).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && ended, "{answer}");
}

#[tokio::test]
async fn half_requests_hold_nobody_up_and_are_given_up() {
    let house = House::open().await;
    let mut half = Vec::new();
    for at in 0..300 {
        let mut stream = connect(2, house.address).await.unwrap();
        let part =
            ["GET /v1/ticker HTTP/1.1\r\nHost: x\r\nX-A: ", "G", "", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"];
        stream.write_all(part[at % 4].as_bytes()).await.unwrap();
        half.push(stream);
    }
    is_answered(&house).await;
    // A byte now and then does not help.
    for stream in &mut half {
        let _ = stream.write_all(b"x").await;
    }
    is_answered(&house).await;
    for mut stream in half {
        let (_, closed) = rest(&mut stream, Duration::from_secs(30)).await;
        assert!(closed, "it is given up");
    }
    house.close().await;
}

#[tokio::test]
async fn five_thousand_connections_of_one_address_leave_room_for_others() {
    // Both ends of each are in this process.
    rlimit::increase_nofile_limit(16_384).unwrap();
    let house = House::open().await;
    let mut idle = Vec::new();
    for _ in 0..5_000 {
        idle.push(connect(2, house.address).await.unwrap());
    }
    is_answered(&house).await;
    let mut closed = 0;
    for stream in idle.iter_mut().rev().take(5_000 - 4_096) {
        closed += usize::from(rest(stream, Duration::from_secs(5)).await.1);
    }
    assert_eq!(closed, 5_000 - 4_096, "past the bound they are closed at once");
    // The places of those that go are free again.
    idle.truncate(4_000);
    is_answered(&house).await;
    let mut again = connect(2, house.address).await.unwrap();
    again.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut again, Duration::from_secs(5)).await.0.starts_with("HTTP/1.1 200 "));
    drop(idle);
    house.close().await;
}

#[tokio::test]
async fn a_request_that_could_be_two_is_none() {
    let house = House::open().await;
    let hidden = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = hidden.len();
    for head in [
        // Two lengths, two words for the length, and lengths that are none.
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
        let mut stream = connect(2, house.address).await.unwrap();
        stream.write_all(format!("{head}{hidden}").as_bytes()).await.unwrap();
        let (answer, closed) = rest(&mut stream, Duration::from_secs(15)).await;
        assert!(!answer.contains("\"exchanges\":") && closed, "{head:?}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{head:?}: {answer}");
    }
    is_answered(&house).await;
    house.close().await;
}

#[tokio::test]
async fn what_is_oversized_is_refused() {
    let house = House::open().await;
    let many = "X-A: 1\r\n".repeat(200);
    let long = "a".repeat(300 * 1024);
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("{long} /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("POST /v1/backfills HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{long}"),
        format!(
            "POST /v1/backfills HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n{long}"
        ),
    ] {
        let mut stream = connect(2, house.address).await.unwrap();
        // It may be cut off while it still speaks.
        let _ = stream.write_all(request.as_bytes()).await;
        let (answer, _) = rest(&mut stream, Duration::from_secs(15)).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{}: {answer}", &request[..60]);
        is_answered(&house).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_flood_is_refused_and_others_are_not() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let access = AccessConfig { per_minute: 60, ..AccessConfig::default() };
    let house = House::with(store, ApiConfig { access, ..ApiConfig::default() }).await;
    let mut stream = connect(2, house.address).await.unwrap();
    let flood = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    let last = "GET /v1/exchanges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{flood}{last}").as_bytes()).await.unwrap();
    let (answers, _) = rest(&mut stream, Duration::from_secs(15)).await;
    let (well, refused) = (answers.matches("HTTP/1.1 200 ").count(), answers.matches("HTTP/1.1 429 ").count());
    assert!((60..=65).contains(&well) && well + refused == 201, "{well} and {refused}");
    is_answered(&house).await;
    house.close().await;
}
