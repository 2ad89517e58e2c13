//! Many clients in one process: they read frames, count them and measure their latency.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::socket::{connect, frame};

/// Start of the data of an event; its creation time in nanoseconds follows.
const CREATED_FIELD: &[u8] = b"\"t\":";
const DIGITS: usize = 20;

#[derive(Default)]
struct Received {
    frames: usize,
    expected: usize,
    /// Microseconds from the creation of an event to its arrival.
    latencies: Vec<u64>,
}

pub fn run(kind: &str, address: SocketAddr, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let received = Rc::new(RefCell::new(Received::default()));
        for _ in 0..count {
            let socket = open(kind != "baseline", address).await;
            let received = Rc::clone(&received);
            if kind == "stalled" {
                tokio::task::spawn_local(async move {
                    let _open = socket;
                    std::future::pending::<()>().await;
                });
            } else {
                tokio::task::spawn_local(read(socket, received));
            }
        }
        println!("ready");
        let (sender, mut receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let _ = sender.send(line.parse::<usize>().expect("a number"));
            }
        });
        while let Some(expected) = receiver.recv().await {
            received.borrow_mut().expected += expected;
            report(&received);
        }
    });
}

/// Prints the latencies when all expected frames were received.
fn report(received: &RefCell<Received>) {
    let mut received = received.borrow_mut();
    if received.expected == 0 || received.frames < received.expected {
        return;
    }
    received.frames -= received.expected;
    received.expected = 0;
    let mut latencies = std::mem::take(&mut received.latencies);
    latencies.sort_unstable();
    let percentile =
        |part: f64| latencies.get((latencies.len() as f64 * part) as usize).or(latencies.last()).copied().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {}", percentile(0.5), percentile(0.99)).expect("a pipe");
    out.flush().expect("a pipe");
}

async fn open(subscribes: bool, address: SocketAddr) -> TcpStream {
    if !subscribes {
        return TcpStream::connect(address).await.expect("the server listens");
    }
    let message = r#"{"op":"subscribe","channel":"trades","exchange":"binance","symbols":["BTC/USDT"],"snapshot":0}"#;
    let mut socket = connect(address, message).await;
    let mut reply = [0; 2];
    socket.read_exact(&mut reply).await.expect("the server answers");
    let mut text = vec![0; usize::from(reply[1])];
    socket.read_exact(&mut text).await.expect("the server answers");
    assert!(text.starts_with(b"{\"type\":\"subscribed\""), "{}", String::from_utf8_lossy(&text));
    socket
}

/// Counts the frames of events; heartbeats are not counted.
async fn read(mut socket: TcpStream, received: Rc<RefCell<Received>>) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    while socket.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
        let mut at = 0;
        while let Some((start, end)) = frame(&buffer, at) {
            let text = &buffer[start..end];
            // The data follow the message head, whose length hardly varies.
            if let Some(found) = text
                .get(70..140)
                .and_then(|part| part.windows(CREATED_FIELD.len()).position(|part| part == CREATED_FIELD))
            {
                let digits = &text[70 + found + CREATED_FIELD.len()..][..DIGITS];
                let created_at = digits.iter().fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
                let mut received = received.borrow_mut();
                received.frames += 1;
                if received.frames.is_multiple_of(16) {
                    received.latencies.push(u64::try_from(now.saturating_sub(created_at) / 1_000).unwrap_or(u64::MAX));
                }
            }
            at = end;
        }
        buffer.drain(..at);
        report(&received);
    }
}
