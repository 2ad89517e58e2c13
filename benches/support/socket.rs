//! A minimal client of `/v1/stream`, with little overhead on the measurement.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connects and sends a short subscribe message.
pub async fn connect(address: SocketAddr, message: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let upgrade = format!(
        "GET /v1/stream HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("the server answers"));
    }
    // A zero mask leaves the payload unchanged.
    let mut frame = vec![0x81, 0xfe];
    frame.extend_from_slice(&u16::try_from(message.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(message.as_bytes());
    socket.write_all(&frame).await.expect("the server reads");
    socket
}

/// Start and end of the text of the frame at `at`, if the frame is complete.
pub fn frame(buffer: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = buffer.get(at..at + 4)?;
    let (start, length) = match head[1] {
        126 => (at + 4, usize::from(u16::from_be_bytes([head[2], head[3]]))),
        short => (at + 2, usize::from(short)),
    };
    (buffer.len() >= start + length).then_some((start, start + length))
}
