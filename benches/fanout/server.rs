//! The two servers: the API without collectors, and raw sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use candlewick::cache::{BusEvent, BusEventKind, Cache};
use candlewick::hub::put_text_frame;
use candlewick::model::{Topic, wire};
use tokio::net::{TcpListener, TcpStream};

use crate::PADDING;
use crate::load_generator::LoadGenerator;
use crate::service::serve;

/// The data of an event, with its creation time.
fn data() -> Vec<u8> {
    let clock = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    format!("{{\"t\":{:020},\"x\":\"{}\"}}", clock.as_nanos(), "x".repeat(PADDING)).into_bytes()
}

fn topic() -> Topic {
    "trades:binance:BTC/USDT".parse().expect("a topic")
}

/// A frame as the API sends it.
pub fn frame(seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put_text_frame(&mut out, &wire::data_frame(&topic(), "1.bench", 1_000_000_000 + seq, &data()));
    out
}

fn load(kind: &str, address: SocketAddr, count: usize) -> LoadGenerator {
    LoadGenerator::spawn(&[kind.to_owned(), address.to_string(), count.to_string()])
}

/// Raw sockets to `count` clients.
pub async fn baseline(count: usize) -> (Vec<TcpStream>, LoadGenerator) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let load = load("baseline", listener.local_addr().expect("an address"), count);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let (socket, _) = listener.accept().await.expect("a client");
        socket.set_nodelay(true).expect("a socket");
        sockets.push(socket);
    }
    let (load, _) = load.receive().await;
    (sockets, load)
}

/// A client that subscribes and never reads.
pub async fn stalled(service: &crate::Server) -> Option<LoadGenerator> {
    let crate::Server::Candlewick(service) = service else { return None };
    Some(load("stalled", service.address, 1).receive().await.0)
}

/// The API without collectors.
pub struct CandlewickServer {
    address: SocketAddr,
    cache: Cache,
    topic: Topic,
    epoch: Arc<str>,
    seq: u64,
}

impl CandlewickServer {
    pub async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.seq += 1;
            let kind = BusEventKind::Data(data().into());
            let event = BusEvent { epoch: Arc::clone(&self.epoch), seq: self.seq, kind };
            self.cache.bus.publish(&self.topic, event).await.expect("memory");
        }
    }
}

/// The API with `count` clients of one topic.
pub async fn service(count: usize) -> (CandlewickServer, LoadGenerator) {
    let (address, cache) = serve(async |_, _, _| {}).await;
    let (load, _) = load("candlewick", address, count).receive().await;
    (CandlewickServer { address, cache, topic: topic(), epoch: Arc::from("1.bench"), seq: 1_000_000_000 }, load)
}
