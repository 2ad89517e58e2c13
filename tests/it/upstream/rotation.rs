//! Rotation: a new connection takes over before the old one ends.

use std::time::Duration;

use candlewick::exchanges::{Profile, RateLimit};
use candlewick::model::FeedState;
use candlewick::upstream::FeedItem;
use tokio_tungstenite::tungstenite::Message;

use super::fake::{FeedHarness, profile, trade, trades};

const BTC: &str = "BTC/USDT";
const ETH: &str = "ETH/USDT";

fn is_loss_or_gap(item: &FeedItem) -> bool {
    match item {
        FeedItem::Events(events) => events.iter().any(|event| event.channel().is_none()),
        _ => true,
    }
}

#[tokio::test]
async fn rotation_notice_takes_over_without_gap() {
    let mut harness = FeedHarness::new(&[BTC, ETH]);
    let mut old = harness.accept_and_acknowledge().await;
    harness.take_items();
    old.send("rotate").await;
    let mut new = harness.accept().await;
    new.send("ok BTC/USDT").await;
    new.send("trade BTC/USDT 2").await;
    old.send("trade BTC/USDT 2").await;
    old.send("trade ETH/USDT 1").await;
    harness.advance(5).await;
    old.ping().await;
    assert_eq!(
        old.receive().await,
        Some(Message::Pong("x".into())),
        "the old connection stays until the new one is acknowledged"
    );

    new.send("ok ETH/USDT").await;
    harness.advance(1).await;
    old.send("trade ETH/USDT 2").await;
    harness.advance(1).await;
    assert!(matches!(old.receive().await, Some(Message::Close(_))));
    new.send("trade ETH/USDT 3").await;
    harness.settle().await;
    let received = harness.take_items();
    assert!(!received.iter().any(is_loss_or_gap), "{received:?}");
    let events: Vec<_> = received
        .into_iter()
        .filter_map(|item| if let FeedItem::Events(e) = item { Some(e) } else { None })
        .flatten()
        .collect();
    for (symbol, id, times) in [(BTC, "2", 2), (ETH, "1", 1), (ETH, "2", 1), (ETH, "3", 1)] {
        assert_eq!(events.iter().filter(|event| **event == trade(symbol, id)).count(), times, "{symbol} {id}");
    }
    assert_eq!((harness.handle.state().state, harness.handle.state().reconnects), (FeedState::Live, 0));
}

#[tokio::test]
async fn rotation_notices_are_followed_once_a_minute() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut old = harness.accept_and_acknowledge().await;
    for _ in 0..3 {
        harness.advance(6).await;
        old.send("rotate").await;
        let mut new = harness.accept().await;
        new.expect("+BTC/USDT").await;
        new.send("ok BTC/USDT").await;
        harness.advance(3).await;
        assert!(matches!(old.receive().await, Some(Message::Close(_))));
        old = new;
        old.send("rotate").await;
        let dials = harness.dialer.dials.lock().len();
        for second in 0..55 {
            old.send(&format!("trade BTC/USDT {second}")).await;
            harness.advance(1).await;
        }
        assert_eq!(harness.dialer.dials.lock().len(), dials, "a second notice within a minute is not followed");
    }
}

#[tokio::test]
async fn max_connection_age_triggers_takeover() {
    let hour = Duration::from_hours(1);
    let mut harness =
        FeedHarness::with_profile(&[BTC], Profile { max_connection_age: Some(hour), ..profile(&[]) }, 1_000);
    let mut old = harness.accept_and_acknowledge().await;
    for _ in 0..48 {
        harness.clock.advance(Duration::from_secs(59)).await;
        old.send("heartbeat").await;
        harness.take_items();
    }
    assert_eq!(harness.dialer.dials.lock().len(), 1, "not after 47 min: the takeover is spread over minutes 48 to 54");
    while harness.dialer.dials.lock().len() == 1 {
        harness.clock.advance(Duration::from_secs(1)).await;
        old.send("heartbeat").await;
    }
    assert!(harness.clock.now().millis() <= 3_241_000, "54 min");
    let mut new = harness.accept().await;
    new.send("ok BTC/USDT").await;
    harness.advance(3).await;
    assert_eq!(harness.take_items(), []);
    drop(old);
    harness.advance(3).await;
    assert_eq!(harness.take_items(), []);
}

#[tokio::test]
async fn old_connection_stays_until_takeover_succeeds() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut old = harness.accept_and_acknowledge().await;
    harness.take_items();
    harness.dialer.unreachable.lock().extend(["ws://one", "ws://two"]);
    old.send("rotate").await;
    for second in 0..125 {
        harness.advance(1).await;
        old.send(&format!("trade BTC/USDT {second}")).await;
    }
    harness.settle().await;
    let received = harness.take_items();
    assert!(received.len() >= 120 && !received.iter().any(is_loss_or_gap), "{received:?}");
    assert_eq!(harness.dialer.dials.lock().len(), 1 + 2 * 3, "one attempt per minute, two origins each");

    harness.dialer.unreachable.lock().clear();
    let mut new = harness.accept().await;
    new.expect("+BTC/USDT").await;
    drop(new);
    harness.settle().await;
    old.send("trade BTC/USDT x").await;
    harness.settle().await;
    assert_eq!(
        harness.take_items().last(),
        Some(&FeedItem::Events(vec![trade(BTC, "x")])),
        "the old connection continues after the new one breaks"
    );
}

#[tokio::test]
async fn loss_during_takeover_covers_only_unconfirmed_topics() {
    let mut harness = FeedHarness::new(&[BTC, ETH]);
    let mut old = harness.accept_and_acknowledge().await;
    harness.take_items();
    old.send("rotate").await;
    let mut new = harness.accept().await;
    new.send("ok BTC/USDT").await;
    harness.settle().await;
    let since = harness.clock.now();
    harness.advance(1).await;
    old.send("trade ETH/USDT 1").await;
    drop(old);
    harness.settle().await;
    let received = harness.take_items();
    let lost = FeedItem::Lost { subscriptions: vec![trades(ETH)], since: since + Duration::from_secs(1) };
    assert_eq!(received.last(), Some(&lost), "{received:?}");
    new.send("ok ETH/USDT").await;
    harness.settle().await;
    let now = harness.clock.now().millis();
    assert_eq!(harness.take_items()[1], FeedHarness::acknowledged(ETH, now));
    assert_eq!(harness.dialer.dials.lock().len(), 2, "no third connection");
}

#[tokio::test]
async fn connects_stay_within_rate_limit() {
    let connection_limit =
        RateLimit { name: "connections", limit: 3, window: Duration::from_secs(100), used_header: None };
    let mut harness = FeedHarness::with_profile(&[BTC], Profile { connection_limit, ..profile(&[]) }, 1_000);
    // The exchange accepts each connection, sends data and closes it: the backoff does not grow.
    for _ in 0..5 {
        let mut server = harness.accept_and_acknowledge().await;
        server.send("trade BTC/USDT 1").await;
        harness.settle().await;
    }
    let dials: Vec<i64> = harness.dialer.dials.lock().iter().map(|(at, _)| *at).collect();
    assert_eq!(dials.len(), 5);
    assert!(dials[2] < 30_000 && dials.windows(4).all(|window| window[3] - window[0] > 100_000), "{dials:?}");
}

#[tokio::test]
async fn connection_without_topics_closes_and_reopens() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.handle.update_subscriptions(&[], &[trades(BTC)]).unwrap();
    harness.settle().await;
    assert!(matches!(server.receive().await, Some(Message::Close(_)) | None));
    harness.take_items();
    harness.advance(600).await;
    assert_eq!(harness.take_items(), [], "without topics there is no loss");
    harness.handle.update_subscriptions(&[trades(BTC)], &[]).unwrap();
    harness.accept_and_acknowledge().await;
    assert!(matches!(harness.take_items()[..], [FeedItem::Acknowledged { .. }]));
}
