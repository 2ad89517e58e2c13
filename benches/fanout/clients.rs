//! Many clients in one process: they read, count frames and look at how old these are.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// The first byte of a frame's data, with the age of the event behind it.
const MARK: &[u8] = b"\"t\":";
const DIGITS: usize = 20;

#[derive(Default)]
struct Counted {
    frames: usize,
    expected: usize,
    /// Microseconds from an event's making to its arrival.
    ages: Vec<u64>,
}

pub fn run(kind: &str, address: SocketAddr, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let counted = Rc::new(RefCell::new(Counted::default()));
        for _ in 0..count {
            let socket = connect(kind != "bare", address).await;
            let counted = Rc::clone(&counted);
            if kind == "stuck" {
                tokio::task::spawn_local(async move {
                    let _open = socket;
                    std::future::pending::<()>().await;
                });
            } else {
                tokio::task::spawn_local(read(socket, counted));
            }
        }
        println!("ready");
        let (says, mut said) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let _ = says.send(line.parse::<usize>().expect("a number"));
            }
        });
        while let Some(expected) = said.recv().await {
            counted.borrow_mut().expected += expected;
            report(&counted);
        }
    });
}

/// Says so when all frames that are expected have come.
fn report(counted: &RefCell<Counted>) {
    let mut counted = counted.borrow_mut();
    if counted.expected == 0 || counted.frames < counted.expected {
        return;
    }
    counted.frames -= counted.expected;
    counted.expected = 0;
    let mut ages = std::mem::take(&mut counted.ages);
    ages.sort_unstable();
    let at = |part: f64| ages.get((ages.len() as f64 * part) as usize).or(ages.last()).copied().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {}", at(0.5), at(0.99)).expect("a pipe");
    out.flush().expect("a pipe");
}

async fn connect(ours: bool, address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    if !ours {
        return socket;
    }
    let upgrade = format!(
        "GET /v1/stream HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("the server answers"));
    }
    let message = br#"{"op":"subscribe","channel":"trades","exchange":"binance","symbols":["BTC/USDT"],"snapshot":0}"#;
    // A mask of zeros masks nothing.
    let mut frame = vec![0x81, 0x80 | u8::try_from(message.len()).expect("short"), 0, 0, 0, 0];
    frame.extend_from_slice(message);
    socket.write_all(&frame).await.expect("the server reads");
    let mut answer = [0; 2];
    socket.read_exact(&mut answer).await.expect("the server answers");
    let mut text = vec![0; usize::from(answer[1])];
    socket.read_exact(&mut text).await.expect("the server answers");
    assert!(text.starts_with(b"{\"type\":\"subscribed\""), "{}", String::from_utf8_lossy(&text));
    socket
}

/// Counts the frames of events; heartbeats are not counted.
async fn read(mut socket: TcpStream, counted: Rc<RefCell<Counted>>) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    while socket.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
        let mut at = 0;
        while let Some((start, end)) = frame(&buffer, at) {
            let text = &buffer[start..end];
            // Data stand behind the head, whose length hardly varies.
            if let Some(found) =
                text.get(70..140).and_then(|part| part.windows(MARK.len()).position(|part| part == MARK))
            {
                let digits = &text[70 + found + MARK.len()..][..DIGITS];
                let made = digits.iter().fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
                let mut counted = counted.borrow_mut();
                counted.frames += 1;
                if counted.frames % 16 == 0 {
                    counted.ages.push(u64::try_from(now.saturating_sub(made) / 1_000).unwrap_or(u64::MAX));
                }
            }
            at = end;
        }
        buffer.drain(..at);
        report(&counted);
    }
}

/// Where the frame at `at` has its text, if all of it is here.
fn frame(buffer: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = buffer.get(at..at + 4)?;
    let (start, length) = match head[1] {
        126 => (at + 4, usize::from(u16::from_be_bytes([head[2], head[3]]))),
        short => (at + 2, usize::from(short)),
    };
    (buffer.len() >= start + length).then_some((start, start + length))
}
