//! How fast events reach clients, beside a bare broadcast of the same bytes in the same run.
//!
//! `cargo bench --bench fanout`. The server runs on one thread; its clients are a process of their own. The ceiling writes
//! the very frames to raw sockets. Two shapes: one event at a time, which is one write an event and a client, and sixty-four
//! at a time, which may be written at once. Goals: 0.8 of the ceiling in both; at half of the load p99 within 10 ms; an idle
//! socket within 24 KiB.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "../support/child.rs"]
mod child;
mod clients;
mod server;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/socket.rs"]
mod socket;

use std::time::Duration;

use candlewick::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use self::child::Load;
use self::server::Ours;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// About the length of a ticker's frame.
pub const PADDING: usize = 190;

const CLIENTS: [usize; 3] = [1, 100, 1_000];
const ROUND: Duration = Duration::from_secs(3);

/// Latencies that the clients saw, in microseconds.
struct Seen {
    p50: u64,
    p99: u64,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {} us, p99 {} us", self.p50, self.p99)
    }
}

async fn seen(load: Load) -> (Load, Seen) {
    let (load, line) = load.answer().await;
    let mut numbers = line.split(' ').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("two numbers");
    (load, Seen { p50: next(), p99: next() })
}

/// Something that hands an event to all clients.
enum Server {
    Bare(Vec<TcpStream>),
    Ours(Box<Ours>),
}

impl Server {
    /// Hands on `count` events, gathered if that may be.
    async fn send(&mut self, count: usize) {
        match self {
            Self::Ours(ours) => ours.publish(count).await,
            Self::Bare(sockets) => {
                let frames: Vec<u8> = (0..count).flat_map(|_| server::frame(1)).collect();
                for socket in sockets {
                    socket.write_all(&frames).await.expect("the clients read");
                }
            }
        }
    }
}

/// Delivered frames a second when the next `at_a_time` events are sent as soon as all clients have the last ones.
async fn throughput(server: &mut Server, mut load: Load, clients: usize, at_a_time: usize) -> (Load, f64) {
    let clock = Clock::system();
    let begun = clock.elapsed();
    let mut events = 0;
    while clock.elapsed().saturating_sub(begun) < ROUND {
        load.ask(&(clients * at_a_time).to_string());
        server.send(at_a_time).await;
        (load, _) = seen(load).await;
        events += at_a_time;
    }
    let took = clock.elapsed().saturating_sub(begun);
    (load, (events * clients) as f64 / took.as_secs_f64())
}

/// What clients see at so many events a second. What is due is sent together, as it would come from an exchange's socket.
async fn latency(server: &mut Server, mut load: Load, clients: usize, rate: f64) -> (Load, Seen) {
    let clock = Clock::system();
    let events = (rate * ROUND.as_secs_f64()).max(1.0) as usize;
    load.ask(&(clients * events).to_string());
    let begun = clock.elapsed();
    let mut sent = 0;
    while sent < events {
        let passed = clock.elapsed().saturating_sub(begun).as_secs_f64();
        let due = ((passed * rate) as usize + 1).min(events) - sent;
        if due > 0 {
            server.send(due).await;
            sent += due;
            tokio::task::yield_now().await;
        } else {
            let next = begun + Duration::from_secs_f64(sent as f64 / rate);
            clock.sleep(next.saturating_sub(clock.elapsed())).await;
        }
    }
    seen(load).await
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

async fn run() {
    println!("{:<22} {:>12} {:>12} {:>6}", "frames/s delivered", "ours", "bare", "ratio");
    for clients in CLIENTS {
        let (bare, bare_load) = server::bare(clients).await;
        let before = resident_kib();
        let (ours, mut ours_load) = server::ours(clients).await;
        let memory = (resident_kib() - before) / clients as f64;
        let (mut bare, mut ours) = (Server::Bare(bare), Server::Ours(Box::new(ours)));
        let mut bare_load = bare_load;
        let mut single = 0.0;
        for at_a_time in [1, 64] {
            let (mut best_bare, mut best_ours) = (0.0_f64, 0.0_f64);
            for _ in 0..2 {
                let rate;
                (bare_load, rate) = throughput(&mut bare, bare_load, clients, at_a_time).await;
                best_bare = best_bare.max(rate);
                let rate;
                (ours_load, rate) = throughput(&mut ours, ours_load, clients, at_a_time).await;
                best_ours = best_ours.max(rate);
            }
            if at_a_time == 1 {
                single = best_bare;
            }
            let shape = format!("{clients} clients, {at_a_time} at once");
            println!("{shape:<22} {best_ours:>12.0} {best_bare:>12.0} {:>6.2}", best_ours / best_bare);
        }
        let mut rates = vec![(single / 2.0 / clients as f64).min(10_000.0)];
        if clients == 100 {
            rates.push(10_000.0);
        }
        for rate in rates {
            let (seen_bare, seen_ours);
            (bare_load, seen_bare) = latency(&mut bare, bare_load, clients, rate).await;
            (ours_load, seen_ours) = latency(&mut ours, ours_load, clients, rate).await;
            println!("{clients} clients at {rate:.0} events/s: {seen_ours}; bare {seen_bare}");
        }
        if clients > 100 {
            println!("{clients} idle sockets: {memory:.1} KiB each, of the whole server's process");
            let before = resident_kib();
            let _stuck = server::stuck(&ours).await;
            let (rate, seen_ours);
            (ours_load, rate) = throughput(&mut ours, ours_load, clients, 64).await;
            (ours_load, seen_ours) = latency(&mut ours, ours_load, clients, single / 2.0 / clients as f64).await;
            let grown = resident_kib() - before;
            println!(
                "the same beside one that stops reading: {rate:.0} frames/s, 64 at once; {seen_ours}; memory {grown:+.0} KiB"
            );
        }
        drop((bare_load, ours_load));
    }
}

fn main() {
    if let Some([kind, address, count]) = Load::arguments().as_deref() {
        let (address, count) = (address.parse().expect("an address"), count.parse().expect("a number"));
        return clients::run(kind, address, count);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
