//! Our service with nothing but its doors, and raw sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use candlewick::cache::{BusEvent, BusEventKind, Cache};
use candlewick::hub::put_text_frame;
use candlewick::model::{Topic, wire};
use tokio::net::{TcpListener, TcpStream};

use crate::PADDING;
use crate::child::Load;
use crate::service::serve;

/// An event's data, with the time at which it was made.
fn data() -> Vec<u8> {
    let clock = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    format!("{{\"t\":{:020},\"x\":\"{}\"}}", clock.as_nanos(), "x".repeat(PADDING)).into_bytes()
}

fn topic() -> Topic {
    "trades:binance:BTC/USDT".parse().expect("a topic")
}

/// A frame as our clients get it.
pub fn frame(seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put_text_frame(&mut out, &wire::data_frame(&topic(), "1.bench", 1_000_000_000 + seq, &data()));
    out
}

fn load(kind: &str, address: SocketAddr, count: usize) -> Load {
    Load::spawn(&[kind.to_owned(), address.to_string(), count.to_string()])
}

/// Raw sockets to `count` clients.
pub async fn bare(count: usize) -> (Vec<TcpStream>, Load) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let load = load("bare", listener.local_addr().expect("an address"), count);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let (socket, _) = listener.accept().await.expect("a client");
        socket.set_nodelay(true).expect("a socket");
        sockets.push(socket);
    }
    let (load, _) = load.answer().await;
    (sockets, load)
}

/// A client of ours that subscribes and never reads.
pub async fn stuck(ours: &crate::Server) -> Option<Load> {
    let crate::Server::Ours(ours) = ours else { return None };
    Some(load("stuck", ours.address, 1).answer().await.0)
}

/// A service that nobody collects for.
pub struct Ours {
    address: SocketAddr,
    cache: Cache,
    topic: Topic,
    epoch: Arc<str>,
    seq: u64,
}

impl Ours {
    pub async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.seq += 1;
            let kind = BusEventKind::Data(data().into());
            let event = BusEvent { epoch: Arc::clone(&self.epoch), seq: self.seq, kind };
            self.cache.bus.publish(&self.topic, event).await.expect("memory");
        }
    }
}

/// Our service with `count` clients of one topic.
pub async fn ours(count: usize) -> (Ours, Load) {
    let (address, cache) = serve(async |_, _, _| {}).await;
    let (load, _) = load("ours", address, count).answer().await;
    (Ours { address, cache, topic: topic(), epoch: Arc::from("1.bench"), seq: 1_000_000_000 }, load)
}
