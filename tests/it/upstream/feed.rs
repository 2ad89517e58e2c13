//! One connection over an in-memory socket, on a manual clock.

use std::time::Duration;

use candlewick::exchanges::Profile;
use candlewick::model::{FeedState, Timestamp};
use candlewick::upstream::{ConnectionFull, FeedItem};
use tokio_tungstenite::tungstenite::Message;

use super::fake::{FeedHarness, gap, profile, trade, trades};

const BTC: &str = "BTC/USDT";
const ETH: &str = "ETH/USDT";

#[tokio::test]
async fn subscribes_and_emits_items_in_order() {
    let mut harness = FeedHarness::new(&[BTC]);
    assert_eq!(harness.handle.state().state, FeedState::Connecting);
    let mut server = harness.accept().await;
    assert_eq!(server.url, "ws://one/ws");
    server.expect("+BTC/USDT").await;
    server.send("trade BTC/USDT 1").await;
    server.send("ok BTC/USDT").await;
    server.send("trade BTC/USDT 2").await;
    server.send("trade BTC/USDT 3").await;
    harness.settle().await;
    let expected = [
        FeedItem::Events(vec![trade(BTC, "1")]),
        FeedHarness::acknowledged(BTC, 0),
        FeedItem::Events(vec![trade(BTC, "2"), trade(BTC, "3")]),
    ];
    assert_eq!(harness.take_items(), expected);
    let state = harness.handle.state();
    assert_eq!((state.id.as_str(), state.state, state.topics, state.reconnects), ("binance.1", FeedState::Live, 1, 0));
    assert_eq!(state.last_message, Some(Timestamp::EPOCH));
}

#[tokio::test]
async fn silence_is_a_loss_and_gap_precedes_next_data() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.advance(5).await;
    server.send("trade BTC/USDT 1").await;
    harness.settle().await;
    harness.take_items();
    harness.advance(59).await;
    assert_eq!(harness.take_items(), [], "the timeout is one second away");
    harness.advance(1).await;
    let since = Timestamp::from_millis(5_000);
    assert_eq!(harness.take_items(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(harness.handle.state().state, FeedState::Stale);

    let mut server = harness.accept().await;
    server.expect("+BTC/USDT").await;
    let now = harness.clock.now().millis();
    server.send("trade BTC/USDT 2").await;
    server.send("ok BTC/USDT").await;
    harness.settle().await;
    let expected =
        [FeedItem::Events(vec![gap(&[BTC], 5_000, now), trade(BTC, "2")]), FeedHarness::acknowledged(BTC, now)];
    assert_eq!(harness.take_items(), expected);
    assert_eq!((harness.handle.state().state, harness.handle.state().reconnects), (FeedState::Live, 1));
}

#[tokio::test]
async fn ping_is_answered_and_counts_for_liveness() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    for _ in 0..5 {
        harness.advance(40).await;
        server.ping().await;
        assert_eq!(server.receive().await, Some(Message::Pong("x".into())));
    }
    assert_eq!(harness.take_items(), []);
}

#[tokio::test]
async fn gap_ends_per_topic() {
    let mut harness = FeedHarness::new(&[BTC, ETH]);
    let server = harness.accept_and_acknowledge().await;
    let since = harness.clock.now().millis();
    harness.take_items();
    drop(server);
    harness.settle().await;
    let FeedItem::Lost { subscriptions, .. } = harness.next_item().await else { panic!("no loss") };
    assert_eq!(subscriptions, [trades(BTC), trades(ETH)]);
    assert_eq!(harness.handle.state().state, FeedState::Reconnecting);
    let mut server = harness.accept().await;
    server.send("ok ETH/USDT").await;
    let eth_at = harness.clock.now().millis();
    harness.advance(3).await;
    server.send("trade ETH/USDT 1").await;
    server.send("ok BTC/USDT").await;
    harness.settle().await;
    let expected = [
        FeedItem::Events(vec![gap(&[ETH], since, eth_at)]),
        FeedHarness::acknowledged(ETH, eth_at),
        FeedItem::Events(vec![trade(ETH, "1")]),
        FeedItem::Events(vec![gap(&[BTC], since, eth_at + 3_000)]),
        FeedHarness::acknowledged(BTC, eth_at + 3_000),
    ];
    assert_eq!(harness.take_items(), expected);
}

#[tokio::test]
async fn backoff_grows_to_cap_while_unreachable() {
    let harness = FeedHarness::new(&[BTC]);
    harness.dialer.unreachable.lock().extend(["ws://one", "ws://two"]);
    harness.advance(3_600).await;
    let dials: Vec<_> =
        harness.dialer.dials.lock().iter().filter(|(_, url)| url == "ws://one/ws").map(|(at, _)| *at).collect();
    let waits: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (index, wait) in waits.iter().enumerate() {
        assert!(*wait <= 30_000.min(1_000 << index.min(20)), "{waits:?}");
    }
    assert!((180..=320).contains(&waits.len()), "15 s on average, not {}", 3_600 / waits.len());
    assert_eq!(harness.handle.state().state, FeedState::Down);
}

#[tokio::test]
async fn only_data_resets_backoff() {
    let mut harness = FeedHarness::new(&[BTC]);
    for _ in 0..12 {
        drop(harness.accept().await);
    }
    let connected = harness.dialer.dials.lock().len();
    harness.advance(600).await;
    let reconnects = harness.dialer.dials.lock().len() - connected;
    assert!((25..=70).contains(&reconnects), "connecting alone must not reset it: {reconnects} in ten minutes");

    harness.drop_connections();
    let mut server = harness.accept_and_acknowledge().await;
    for _ in 0..20 {
        server.send("trade BTC/USDT 1").await;
        harness.settle().await;
        drop(server);
        harness.settle().await;
        let lost_at = harness.clock.now();
        server = harness.accept_and_acknowledge().await;
        assert!(harness.clock.now().since(lost_at) <= Duration::from_secs(2));
    }
}

#[tokio::test]
async fn malformed_frame_is_skipped() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    for frame in ["trade BTC/USDT 1", "gibberish", "trade BTC/USDT 2"] {
        server.send(frame).await;
    }
    harness.settle().await;
    assert_eq!(harness.take_items(), [FeedItem::Events(vec![trade(BTC, "1"), trade(BTC, "2")])]);
}

#[tokio::test]
async fn missing_ack_reconnects() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept().await;
    server.expect("+BTC/USDT").await;
    harness.advance(9).await;
    assert_eq!(harness.dialer.dials.lock().len(), 1);
    harness.accept_and_acknowledge().await;
    let at = harness.clock.now().millis();
    assert!((10_000..=12_500).contains(&at), "{at}");
    assert_eq!(
        harness.take_items(),
        [FeedHarness::acknowledged(BTC, at)],
        "a topic that was never acknowledged is not lost"
    );
}

#[tokio::test]
async fn session_sets_reconnect_delay() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    server.send("reconnect 90").await;
    harness.settle().await;
    let before = harness.clock.now();
    harness.accept_and_acknowledge().await;
    assert!(harness.clock.now().since(before) >= Duration::from_secs(90));
}

#[tokio::test]
async fn outgoing_messages_are_paced() {
    let symbols: Vec<_> = (0..9).map(|i| format!("A{i}/USDT")).collect();
    let symbols: Vec<_> = symbols.iter().map(String::as_str).collect();
    let mut harness = FeedHarness::new(&symbols);
    let mut server = harness.accept().await;
    let clock = harness.clock.clone();
    let mut sent = Vec::new();
    for _ in 0..symbols.len() {
        FeedHarness::advance_until(&clock, server.receive()).await;
        sent.push(clock.now().millis());
    }
    let expected: Vec<_> = (0..9).map(|i| i * 250).collect();
    assert_eq!(sent, expected, "four messages per second, where five are allowed");
}

#[tokio::test]
async fn changes_apply_to_current_and_next_connection() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.handle.update_subscriptions(&[trades(ETH)], &[]).unwrap();
    let clock = harness.clock.clone();
    FeedHarness::advance_until(&clock, server.acknowledge(1)).await;
    assert_eq!(
        harness.handle.update_subscriptions(&[trades("SOL/USDT")], &[]),
        Err(ConnectionFull { spare_capacity: 0 })
    );
    drop(server);
    harness.settle().await;
    // Change while disconnected.
    harness.handle.update_subscriptions(&[trades("SOL/USDT")], &[trades(BTC)]).unwrap();
    harness.take_items();
    let mut server = harness.accept().await;
    for expected in ["+ETH/USDT", "+SOL/USDT"] {
        assert_eq!(FeedHarness::advance_until(&clock, server.receive()).await, Some(Message::text(expected)));
    }
    server.send("ok SOL/USDT").await;
    server.send("ok ETH/USDT").await;
    harness.settle().await;
    let received = harness.take_items();
    assert!(
        matches!(&received[0], FeedItem::Acknowledged { subscriptions, .. } if *subscriptions == [trades("SOL/USDT")])
    );
    assert!(
        matches!(&received[1], FeedItem::Events(gaps) if gaps.len() == 1),
        "only the old topic has a gap: {received:?}"
    );
    harness.handle.update_subscriptions(&[], &[trades(ETH)]).unwrap();
    assert_eq!(FeedHarness::advance_until(&clock, server.receive()).await, Some(Message::text("-ETH/USDT")));
    assert_eq!((harness.handle.spare_capacity(), harness.handle.state().topics), (1, 1));
}

#[tokio::test]
async fn rejected_subscription_is_reported_and_not_retried() {
    let mut harness = FeedHarness::new(&[BTC, ETH]);
    let mut server = harness.accept().await;
    server.send("no ETH/USDT").await;
    server.send("ok BTC/USDT").await;
    harness.settle().await;
    let rejected = FeedItem::Rejected { subscription: trades(ETH), reason: "no ETH/USDT".to_owned() };
    assert_eq!(harness.take_items(), [rejected, FeedHarness::acknowledged(BTC, 0)]);
    assert_eq!(harness.handle.subscriptions(), [trades(BTC)]);
    drop(server);
    let mut server = harness.accept().await;
    server.expect("+BTC/USDT").await;
    harness.advance(2).await;
    server.ping().await;
    assert_eq!(server.receive().await, Some(Message::Pong("x".into())), "no other subscription is sent");
}

#[tokio::test]
async fn give_up_is_reported_and_ends_runner() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    server.send("giveup").await;
    harness.settle().await;
    let lost = FeedItem::Lost { subscriptions: vec![trades(BTC)], since: Timestamp::EPOCH };
    let gave_up = FeedItem::GaveUp { subscriptions: vec![trades(BTC)], reason: "giveup".to_owned() };
    assert_eq!(harness.take_items(), [lost, gave_up]);
    assert!(harness.task.is_finished());
    assert_eq!(harness.handle.state().state, FeedState::Down);
}

#[tokio::test]
async fn unreachable_origin_is_skipped_and_remembered() {
    let mut harness = FeedHarness::new(&[BTC]);
    harness.dialer.unreachable.lock().push("ws://one");
    let server = harness.accept_and_acknowledge().await;
    assert_eq!(server.url, "ws://two/ws");
    drop(server);
    assert_eq!(harness.accept_and_acknowledge().await.url, "ws://two/ws");
    let dials: Vec<_> = harness.dialer.dials.lock().iter().map(|(_, url)| url.clone()).collect();
    assert_eq!(dials, ["ws://one/ws", "ws://two/ws", "ws://two/ws"]);
}

#[tokio::test]
async fn stop_sends_close_frame() {
    let mut harness = FeedHarness::new(&[BTC]);
    let mut server = harness.accept_and_acknowledge().await;
    harness.take_items();
    harness.stop.cancel();
    let Some(Message::Close(Some(frame))) = server.receive().await else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1000);
    assert_eq!(server.receive().await, None);
    harness.task.await.unwrap();
    assert_eq!(harness.items.recv().await, None, "a stop is not a loss");
}

#[tokio::test]
async fn stop_waits_at_most_one_second_for_close() {
    let mut harness = FeedHarness::new(&[BTC]);
    let _server = harness.accept_and_acknowledge().await;
    harness.stop.cancel();
    harness.settle().await;
    assert!(!harness.task.is_finished());
    harness.advance(1).await;
    assert!(harness.task.is_finished());
}

#[tokio::test]
async fn full_channel_applies_backpressure_without_loss() {
    let profile = Profile { idle_timeout: Duration::from_secs(5), ..profile(&[]) };
    let mut harness = FeedHarness::with_profile(&[BTC], profile, 1);
    let mut server = harness.accept().await;
    let sending = tokio::spawn(async move {
        for id in 0..20_000 {
            server.send(&format!("trade BTC/USDT {id}")).await;
        }
        server
    });
    harness.advance(4).await;
    assert!(!sending.is_finished(), "the socket is not read while the channel is full");
    let mut next = 0;
    while next < 20_000 {
        let FeedItem::Events(events) = harness.items.recv().await.unwrap() else { panic!("not an event") };
        assert!(events.len() <= 64);
        for event in events {
            assert_eq!(event, trade(BTC, &next.to_string()));
            next += 1;
        }
    }
    sending.await.unwrap();
}
