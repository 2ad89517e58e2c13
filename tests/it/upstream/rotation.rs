//! A new connection takes over before the old one is cut.

use std::time::Duration;

use candlewick::exchanges::{Profile, Scope};
use candlewick::model::FeedState;
use candlewick::upstream::FeedItem;
use tokio_tungstenite::tungstenite::Message;

use super::fake::{Rig, profile, trade, trades};

const BTC: &str = "BTC/USDT";
const ETH: &str = "ETH/USDT";

fn is_hole(item: &FeedItem) -> bool {
    match item {
        FeedItem::Events(events) => events.iter().any(|event| event.channel().is_none()),
        _ => true,
    }
}

#[tokio::test]
async fn a_notice_makes_a_new_connection_take_over_without_a_hole() {
    let mut rig = Rig::new(&[BTC, ETH]);
    let mut old = rig.live().await;
    rig.told();
    old.send("rotate").await;
    let mut new = rig.accept().await;
    new.send("ok BTC/USDT").await;
    new.send("trade BTC/USDT 2").await;
    old.send("trade BTC/USDT 2").await;
    old.send("trade ETH/USDT 1").await;
    rig.advance(5).await;
    old.ping().await;
    assert_eq!(old.receive().await, Some(Message::Pong("x".into())), "it stands until the new one is whole");

    new.send("ok ETH/USDT").await;
    rig.advance(1).await;
    old.send("trade ETH/USDT 2").await;
    rig.advance(1).await;
    assert!(matches!(old.receive().await, Some(Message::Close(_))));
    new.send("trade ETH/USDT 3").await;
    rig.settle().await;
    let told = rig.told();
    assert!(!told.iter().any(is_hole), "{told:?}");
    let events: Vec<_> = told
        .into_iter()
        .filter_map(|item| if let FeedItem::Events(e) = item { Some(e) } else { None })
        .flatten()
        .collect();
    for (symbol, id, times) in [(BTC, "2", 2), (ETH, "1", 1), (ETH, "2", 1), (ETH, "3", 1)] {
        assert_eq!(events.iter().filter(|event| **event == trade(symbol, id)).count(), times, "{symbol} {id}");
    }
    assert_eq!((rig.handle.state().state, rig.handle.state().reconnects), (FeedState::Live, 0));
}

#[tokio::test]
async fn an_end_that_each_connection_announces_is_followed_once_a_minute() {
    let mut rig = Rig::new(&[BTC]);
    let mut old = rig.live().await;
    for _ in 0..3 {
        rig.advance(6).await;
        old.send("rotate").await;
        let mut new = rig.accept().await;
        new.expect("+BTC/USDT").await;
        new.send("ok BTC/USDT").await;
        rig.advance(3).await;
        assert!(matches!(old.receive().await, Some(Message::Close(_))));
        old = new;
        old.send("rotate").await;
        let dialed = rig.dialer.dialed.lock().len();
        for second in 0..55 {
            old.send(&format!("trade BTC/USDT {second}")).await;
            rig.advance(1).await;
        }
        assert_eq!(rig.dialer.dialed.lock().len(), dialed, "it was followed at once");
    }
}

#[tokio::test]
async fn age_makes_a_new_connection_take_over_in_time() {
    let hour = Duration::from_hours(1);
    let mut rig = Rig::with(&[BTC], Profile { max_connection_age: Some(hour), ..profile(&[]) }, 1_000);
    let mut old = rig.live().await;
    for _ in 0..48 {
        rig.clock.advance(Duration::from_secs(59)).await;
        old.send("alive").await;
        rig.told();
    }
    assert_eq!(rig.dialer.dialed.lock().len(), 1, "47 min, and it is spread over the 6 min before the last 6");
    while rig.dialer.dialed.lock().len() == 1 {
        rig.clock.advance(Duration::from_secs(1)).await;
        old.send("alive").await;
    }
    assert!(rig.clock.now().millis() <= 3_241_000, "54 min");
    let mut new = rig.accept().await;
    new.send("ok BTC/USDT").await;
    rig.advance(3).await;
    assert_eq!(rig.told(), []);
    drop(old);
    rig.advance(3).await;
    assert_eq!(rig.told(), []);
}

#[tokio::test]
async fn an_old_connection_is_kept_while_no_new_one_takes_over() {
    let mut rig = Rig::new(&[BTC]);
    let mut old = rig.live().await;
    rig.told();
    rig.dialer.dark.lock().extend(["ws://one", "ws://two"]);
    old.send("rotate").await;
    for second in 0..125 {
        rig.advance(1).await;
        old.send(&format!("trade BTC/USDT {second}")).await;
    }
    rig.settle().await;
    let told = rig.told();
    assert!(told.len() >= 120 && !told.iter().any(is_hole), "{told:?}");
    assert_eq!(rig.dialer.dialed.lock().len(), 1 + 2 * 3, "two origins, once a minute");

    rig.dialer.dark.lock().clear();
    let mut new = rig.accept().await;
    new.expect("+BTC/USDT").await;
    drop(new);
    rig.settle().await;
    old.send("trade BTC/USDT x").await;
    rig.settle().await;
    assert_eq!(rig.told().last(), Some(&FeedItem::Events(vec![trade(BTC, "x")])), "the new one broke at once");
}

#[tokio::test]
async fn if_the_old_one_dies_first_only_what_is_not_yet_confirmed_is_lost() {
    let mut rig = Rig::new(&[BTC, ETH]);
    let mut old = rig.live().await;
    rig.told();
    old.send("rotate").await;
    let mut new = rig.accept().await;
    new.send("ok BTC/USDT").await;
    rig.settle().await;
    let since = rig.clock.now();
    rig.advance(1).await;
    old.send("trade ETH/USDT 1").await;
    drop(old);
    rig.settle().await;
    let told = rig.told();
    let lost = FeedItem::Lost { subscriptions: vec![trades(ETH)], since: since + Duration::from_secs(1) };
    assert_eq!(told.last(), Some(&lost), "{told:?}");
    new.send("ok ETH/USDT").await;
    rig.settle().await;
    let now = rig.clock.now().millis();
    assert_eq!(rig.told()[1], Rig::confirmed(ETH, now));
    assert_eq!(rig.dialer.dialed.lock().len(), 2, "no third one");
}

#[tokio::test]
async fn connections_are_opened_within_their_budget() {
    let connects = Scope { name: "connections", limit: 3, window: Duration::from_secs(100), used_header: None };
    let mut rig = Rig::with(&[BTC], Profile { connects, ..profile(&[]) }, 1_000);
    // The exchange takes each connection, speaks, and cuts it at once: the backoff does not grow.
    for _ in 0..5 {
        let mut server = rig.live().await;
        server.send("trade BTC/USDT 1").await;
        rig.settle().await;
    }
    let dialed: Vec<i64> = rig.dialer.dialed.lock().iter().map(|(at, _)| *at).collect();
    assert_eq!(dialed.len(), 5);
    assert!(dialed[2] < 30_000 && dialed.windows(4).all(|four| four[3] - four[0] > 100_000), "{dialed:?}");
}

#[tokio::test]
async fn a_connection_without_a_topic_is_closed_and_opened_again_when_one_comes() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.handle.change(&[], &[trades(BTC)]).unwrap();
    rig.settle().await;
    assert!(matches!(server.receive().await, Some(Message::Close(_)) | None));
    rig.told();
    rig.advance(600).await;
    assert_eq!(rig.told(), [], "nothing is missed where nothing is wanted");
    rig.handle.change(&[trades(BTC)], &[]).unwrap();
    rig.live().await;
    assert!(matches!(rig.told()[..], [FeedItem::Confirmed { .. }]));
}
