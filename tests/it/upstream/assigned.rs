//! Connections whose address the exchange assigns, and compressed frames.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::exchanges::{ConnectionPlan, Encoding, RestCall, RestError, RestErrorKind, SocketAddress};
use candlewick::upstream::{Dial, Feed, FeedItem, RestClient};
use flate2::Compression;
use flate2::read::GzEncoder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::fake::{FakeExchange, MemoryDialer, profile, session, trade, trades};

const BTC: &str = "BTC/USDT";

/// The response is the address.
fn address() -> RestCall<SocketAddress> {
    RestCall::post("/address").read(|body, _| {
        let url = String::from_utf8(body.to_vec());
        let url = url.map_err(|error| RestError::new(RestErrorKind::Malformed, error.to_string()))?;
        Ok(SocketAddress { url, ping_interval: Some(Duration::from_secs(7)) })
    })
}

fn gzip(text: &str) -> Vec<u8> {
    let mut compressed = Vec::new();
    GzEncoder::new(text.as_bytes(), Compression::fast()).read_to_end(&mut compressed).unwrap();
    compressed
}

/// The next item that is not the report of a loss.
async fn next_item(items: &mut mpsc::Receiver<FeedItem>) -> FeedItem {
    loop {
        match items.recv().await.unwrap() {
            FeedItem::Lost { .. } => {}
            item => return item,
        }
    }
}

#[tokio::test]
async fn asks_for_address_before_each_dial_and_decompresses_frames() {
    let rest = MockServer::start().await;
    let assign = |url: &str| {
        let reply = ResponseTemplate::new(200).set_body_string(url);
        Mock::given(method("POST")).and(path("/address")).respond_with(reply).up_to_n_times(1)
    };
    assign("ws://three/a?token=1").mount(&rest).await;
    assign("ws://four/b?token=2").mount(&rest).await;
    let (clock, exchange) = (Clock::scaled(10.0), FakeExchange::leak(profile(&[])));
    let (dialer, mut servers) = MemoryDialer::new(clock.clone());
    let client = RestClient::new(exchange, &[rest.uri()], clock.clone()).unwrap();
    let feed = Feed::new(exchange, Vec::new(), dialer as Arc<dyn Dial>, clock).with_rest(client);
    let plan = ConnectionPlan {
        path: "/".to_owned(),
        address: Some(address),
        encoding: Encoding::Gzip,
        subscriptions: vec![trades(BTC)],
        spare_capacity: 0,
        session,
    };
    let (sender, mut items) = mpsc::channel(100);
    let stop = CancellationToken::new();
    let (_handle, runner) = feed.open("binance.1", plan, sender, stop.clone());
    let task = tokio::spawn(runner);
    for (url, id) in [("ws://three/a?token=1", "1"), ("ws://four/b?token=2", "2")] {
        let mut server = servers.recv().await.unwrap();
        assert_eq!(server.url, url);
        server.expect("ping every 7 s").await;
        server.expect("+BTC/USDT").await;
        server.send_binary(b"not compressed".to_vec()).await;
        server.send_binary(gzip("ok BTC/USDT")).await;
        assert!(matches!(next_item(&mut items).await, FeedItem::Events(_) | FeedItem::Acknowledged { .. }));
        server.send_binary(gzip(&format!("trade BTC/USDT {id}"))).await;
        while next_item(&mut items).await != FeedItem::Events(vec![trade(BTC, id)]) {}
    }
    stop.cancel();
    task.await.unwrap();
}
