//! Sends requests over 64 connections, each one after the response to the previous one was read.

use std::cell::RefCell;
use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use candlewick::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

const CONNECTIONS: usize = 64;
const ROUND: Duration = Duration::from_secs(2);

fn request(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes()
}

/// Length of the head and of the whole response in `buffer`, if the head is complete.
fn response_length(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).expect("ASCII");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let body =
        text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    Some((head, head + body.expect("a length").trim().parse::<usize>().expect("a number")))
}

/// The body of one response.
pub fn fetch(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut socket = std::net::TcpStream::connect(address).expect("the server listens");
    socket.write_all(&request(address, path)).expect("the server reads");
    let mut buffer = Vec::new();
    let mut part = [0; 4_096];
    loop {
        if let Some((head, end)) = response_length(&buffer)
            && buffer.len() >= end
        {
            return buffer[head..end].to_vec();
        }
        let count = socket.read(&mut part).expect("the server answers");
        buffer.extend_from_slice(&part[..count]);
    }
}

pub fn run() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (address, path) = line.split_once(' ').expect("an address and a path");
        let address = address.parse().expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let times = Rc::new(RefCell::new(Vec::new()));
        LocalSet::new().block_on(&runtime, async {
            let connections: Vec<_> = (0..CONNECTIONS)
                .map(|_| tokio::task::spawn_local(send_requests(address, request(address, path), Rc::clone(&times))))
                .collect();
            for task in connections {
                task.await.expect("a connection");
            }
        });
        let mut times = times.borrow_mut();
        times.sort_unstable();
        let percentile = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)].as_micros();
        println!(
            "{:.0} p50 {} us, p99 {} us",
            times.len() as f64 / ROUND.as_secs_f64(),
            percentile(0.5),
            percentile(0.99)
        );
    }
}

async fn send_requests(address: SocketAddr, request: Vec<u8>, times: Rc<RefCell<Vec<Duration>>>) {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    socket.set_nodelay(true).expect("a socket");
    let clock = Clock::system();
    let mut buffer = Vec::with_capacity(128 * 1024);
    while clock.elapsed() < ROUND {
        let started = clock.elapsed();
        socket.write_all(&request).await.expect("the server reads");
        buffer.clear();
        let mut end = None;
        while end.is_none_or(|end| buffer.len() < end) {
            assert!(
                socket.read_buf(&mut buffer).await.expect("the server answers") > 0,
                "the server closed the connection"
            );
            end = end.or_else(|| response_length(&buffer).map(|(_, end)| end));
        }
        times.borrow_mut().push(clock.elapsed().saturating_sub(started));
    }
}
