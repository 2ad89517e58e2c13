//! Many clients in one process: they read, count frames and look at how old these are.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::socket::{connect, frame};

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
            let socket = open(kind != "bare", address).await;
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

async fn open(ours: bool, address: SocketAddr) -> TcpStream {
    if !ours {
        return TcpStream::connect(address).await.expect("the server listens");
    }
    let message = r#"{"op":"subscribe","channel":"trades","exchange":"binance","symbols":["BTC/USDT"],"snapshot":0}"#;
    let mut socket = connect(address, message).await;
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
                if counted.frames.is_multiple_of(16) {
                    counted.ages.push(u64::try_from(now.saturating_sub(made) / 1_000).unwrap_or(u64::MAX));
                }
            }
            at = end;
        }
        buffer.drain(..at);
        report(&counted);
    }
}
