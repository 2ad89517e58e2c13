//! Liveness of connections, panicking sessions and skipped trades.

use candlewick::model::{FeedState, Timestamp};
use candlewick::upstream::FeedItem;

use super::fake::{FeedHarness, Server, gap, trade, trades};

const BTC: &str = "BTC/USDT";

/// Sends one trade per second for 30 s, enough for the liveness monitor. Returns the time of the last one.
async fn trade_every_second(harness: &mut FeedHarness, server: &mut Server) -> Timestamp {
    for id in 0..30 {
        harness.advance(1).await;
        server.send(&format!("trade BTC/USDT {id}")).await;
        harness.settle().await;
    }
    harness.take_items();
    harness.clock.now()
}

/// Sends only pings for `secs`.
async fn ping_every_ten_seconds(harness: &FeedHarness, server: &mut Server, secs: u64) {
    for _ in 0..secs / 10 {
        harness.advance(10).await;
        server.ping().await;
        server.receive().await.unwrap();
        harness.settle().await;
    }
}

#[tokio::test]
async fn missing_data_with_pings_is_a_loss() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    let since = trade_every_second(&mut harness, &mut server).await;
    ping_every_ten_seconds(&harness, &mut server, 50).await;
    assert_eq!(harness.take_items(), []);
    harness.advance(10).await;
    assert_eq!(harness.take_items(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(harness.handle.state().state, FeedState::Stale);
    assert_eq!(harness.handle.state().last_message, Some(since), "a ping is not a message");

    // An acknowledgement does not make the feed live; data does.
    let mut server = harness.accept_and_acknowledge().await;
    assert_eq!(harness.handle.state().state, FeedState::Stale);
    harness.take_items();
    server.send("trade BTC/USDT 99").await;
    harness.settle().await;
    assert_eq!(harness.take_items(), [FeedItem::Events(vec![trade(BTC, "99")])]);
    assert_eq!(harness.handle.state().state, FeedState::Live);
}

#[tokio::test]
async fn heartbeats_keep_connection_live() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    trade_every_second(&mut harness, &mut server).await;
    for _ in 0..40 {
        harness.advance(10).await;
        server.send("heartbeat").await;
        harness.settle().await;
    }
    assert_eq!(harness.take_items(), []);
    assert_eq!(harness.handle.state().state, FeedState::Live);
}

#[tokio::test]
async fn panicking_session_is_a_lost_connection() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    let since = harness.clock.now();
    server.send("panic").await;
    harness.settle().await;
    assert_eq!(harness.take_items(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(harness.handle.state().state, FeedState::Reconnecting);
    assert!(!harness.task.is_finished());

    let mut server = harness.accept_and_acknowledge().await;
    let FeedItem::Events(gaps) = harness.next_item().await else { panic!("no gap") };
    assert_eq!(gaps.len(), 1, "the gap precedes the acknowledgement");
    harness.take_items();
    server.send("trade BTC/USDT 1").await;
    harness.settle().await;
    assert_eq!(harness.take_items(), [FeedItem::Events(vec![trade(BTC, "1")])]);
    assert_eq!(harness.handle.state().reconnects, 1);
}

#[tokio::test]
async fn skipped_trade_is_a_gap() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    server.send("skipped BTC/USDT").await;
    harness.settle().await;
    let now = harness.clock.now();
    let expected = [
        FeedItem::Lost { subscriptions: vec![trades(BTC)], since: now },
        FeedItem::Events(vec![gap(&[BTC], now.millis(), now.millis())]),
        FeedHarness::acknowledged(BTC, now.millis()),
    ];
    assert_eq!(harness.take_items(), expected);
    server.send("skipped ETH/USDT").await;
    harness.settle().await;
    assert_eq!(harness.take_items(), [], "the connection does not subscribe to this market");
}
