//! What proves that a connection lives, and what a session that panics leads to.

use candlewick::model::{FeedState, Timestamp};
use candlewick::upstream::FeedItem;

use super::fake::{Rig, Server, gap, trade, trades};

const BTC: &str = "BTC/USDT";

/// A trade each second, often enough for a rhythm; says when the last one came.
async fn busy(rig: &mut Rig, server: &mut Server) -> Timestamp {
    for id in 0..30 {
        rig.advance(1).await;
        server.send(&format!("trade BTC/USDT {id}")).await;
        rig.settle().await;
    }
    rig.told();
    rig.clock.now()
}

/// Nothing but pings for so long.
async fn pings(rig: &Rig, server: &mut Server, secs: u64) {
    for _ in 0..secs / 10 {
        rig.advance(10).await;
        server.ping().await;
        server.receive().await.unwrap();
        rig.settle().await;
    }
}

#[tokio::test]
async fn data_that_stop_while_pings_go_on_are_a_loss() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    let since = busy(&mut rig, &mut server).await;
    pings(&rig, &mut server, 50).await;
    assert_eq!(rig.told(), []);
    rig.advance(10).await;
    assert_eq!(rig.told(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(rig.handle.state().state, FeedState::Stale);
    assert_eq!(rig.handle.state().last_message, Some(since), "a ping is no message");

    // A confirmation does not prove that data flow.
    let mut server = rig.live().await;
    assert_eq!(rig.handle.state().state, FeedState::Stale);
    rig.told();
    server.send("trade BTC/USDT 99").await;
    rig.settle().await;
    assert_eq!(rig.told(), [FeedItem::Events(vec![trade(BTC, "99")])]);
    assert_eq!(rig.handle.state().state, FeedState::Live);
}

#[tokio::test]
async fn a_heartbeat_is_life() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    busy(&mut rig, &mut server).await;
    for _ in 0..40 {
        rig.advance(10).await;
        server.send("alive").await;
        rig.settle().await;
    }
    assert_eq!(rig.told(), []);
    assert_eq!(rig.handle.state().state, FeedState::Live);
}

#[tokio::test]
async fn a_session_that_panics_is_a_lost_connection() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    let since = rig.clock.now();
    server.send("absurd").await;
    rig.settle().await;
    assert_eq!(rig.told(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(rig.handle.state().state, FeedState::Reconnecting);
    assert!(!rig.task.is_finished());

    let mut server = rig.live().await;
    let FeedItem::Events(gaps) = rig.item().await else { panic!("no gap") };
    assert_eq!(gaps.len(), 1, "the gap stands before the confirmation");
    rig.told();
    server.send("trade BTC/USDT 1").await;
    rig.settle().await;
    assert_eq!(rig.told(), [FeedItem::Events(vec![trade(BTC, "1")])]);
    assert_eq!(rig.handle.state().reconnects, 1);
}

#[tokio::test]
async fn a_trade_that_was_left_out_is_a_gap() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    server.send("skipped BTC/USDT").await;
    rig.settle().await;
    let now = rig.clock.now();
    let expected = [
        FeedItem::Lost { subscriptions: vec![trades(BTC)], since: now },
        FeedItem::Events(vec![gap(&[BTC], now.millis(), now.millis())]),
        Rig::confirmed(BTC, now.millis()),
    ];
    assert_eq!(rig.told(), expected);
    server.send("skipped ETH/USDT").await;
    rig.settle().await;
    assert_eq!(rig.told(), [], "not one of its markets");
}
