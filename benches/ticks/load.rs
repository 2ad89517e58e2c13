//! The fake exchange and 100 clients that subscribe to every ticker.

use std::cell::{Cell, RefCell};
use std::io::BufRead;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use candlewick::clock::Clock;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::exchange;
use crate::socket::{connect, frame};

const CLIENTS: usize = 100;
const LAST_FIELD: &[u8] = b"\"last\":";

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (start_ticking, sent) = (Rc::<Cell<bool>>::default(), Rc::<Cell<u64>>::default());
        let (rest, ws) =
            (exchange::start_rest(), exchange::start_streams(Rc::clone(&start_ticking), Rc::clone(&sent)).await);
        println!("{rest} {ws}");
        let address = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).expect("a pipe");
            line.trim().parse::<SocketAddr>().expect("an address")
        });
        let address = address.await.expect("an address");
        let latencies = Rc::<RefCell<Vec<u64>>>::default();
        let symbols = serde_json::json!(exchange::symbols());
        let message = format!(
            "{{\"op\":\"subscribe\",\"channel\":\"ticker\",\"exchange\":\"okx\",\"symbols\":{symbols},\"snapshot\":0}}"
        );
        for _ in 0..CLIENTS {
            let socket = connect(address, &message).await;
            tokio::task::spawn_local(read(socket, Rc::clone(&latencies)));
        }
        start_ticking.set(true);
        Clock::system().sleep(exchange::RUN_TIME + Duration::from_secs(1)).await;
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        let percentile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
        let expected = sent.get() * CLIENTS as u64;
        println!(
            "{} ticks/s to {CLIENTS} clients: p50 {} us, p99 {} us; {:.1} % delivered one by one, the rest conflated",
            sent.get() / exchange::RUN_TIME.as_secs(),
            percentile(0.5),
            percentile(0.99),
            latencies.len() as f64 * 100.0 / expected as f64
        );
    });
}

/// Records the latency of each ticker, in microseconds.
async fn read(mut socket: TcpStream, latencies: Rc<RefCell<Vec<u64>>>) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    while socket.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros();
        let mut at = 0;
        let mut latencies = latencies.borrow_mut();
        while let Some((start, end)) = frame(&buffer, at) {
            let text = &buffer[start..end];
            if let Some(found) = text.windows(LAST_FIELD.len()).position(|part| part == LAST_FIELD) {
                let digits = text[found + LAST_FIELD.len()..].iter().take_while(|byte| byte.is_ascii_digit());
                let created_at = digits.fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
                latencies.push(u64::try_from(now.saturating_sub(created_at)).unwrap_or(u64::MAX));
            }
            at = end;
        }
        buffer.drain(..at);
    }
}
