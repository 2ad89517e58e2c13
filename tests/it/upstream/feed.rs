//! One connection over memory, on a clock that the test moves.

use std::time::Duration;

use candlewick::exchanges::Profile;
use candlewick::model::{FeedState, Timestamp};
use candlewick::upstream::{FeedItem, NoRoom};
use tokio_tungstenite::tungstenite::Message;

use super::fake::{Rig, gap, profile, trade, trades};

const BTC: &str = "BTC/USDT";
const ETH: &str = "ETH/USDT";

#[tokio::test]
async fn it_subscribes_and_tells_what_comes_in_order() {
    let mut rig = Rig::new(&[BTC]);
    assert_eq!(rig.handle.state().state, FeedState::Connecting);
    let mut server = rig.accept().await;
    assert_eq!(server.url, "ws://one/ws");
    server.expect("+BTC/USDT").await;
    server.send("trade BTC/USDT 1").await;
    server.send("ok BTC/USDT").await;
    server.send("trade BTC/USDT 2").await;
    server.send("trade BTC/USDT 3").await;
    rig.settle().await;
    let expected = [
        FeedItem::Events(vec![trade(BTC, "1")]),
        Rig::confirmed(BTC, 0),
        FeedItem::Events(vec![trade(BTC, "2"), trade(BTC, "3")]),
    ];
    assert_eq!(rig.told(), expected);
    let state = rig.handle.state();
    assert_eq!((state.id.as_str(), state.state, state.topics, state.reconnects), ("binance.1", FeedState::Live, 1, 0));
    assert_eq!(state.last_message, Some(Timestamp::EPOCH));
}

#[tokio::test]
async fn silence_is_a_loss_and_the_gap_stands_before_the_next_data() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.advance(5).await;
    server.send("trade BTC/USDT 1").await;
    rig.settle().await;
    rig.told();
    rig.advance(59).await;
    assert_eq!(rig.told(), [], "a second is left");
    rig.advance(1).await;
    let since = Timestamp::from_millis(5_000);
    assert_eq!(rig.told(), [FeedItem::Lost { subscriptions: vec![trades(BTC)], since }]);
    assert_eq!(rig.handle.state().state, FeedState::Stale);

    let mut server = rig.accept().await;
    server.expect("+BTC/USDT").await;
    let now = rig.clock.now().millis();
    server.send("trade BTC/USDT 2").await;
    server.send("ok BTC/USDT").await;
    rig.settle().await;
    let expected = [FeedItem::Events(vec![gap(&[BTC], 5_000, now), trade(BTC, "2")]), Rig::confirmed(BTC, now)];
    assert_eq!(rig.told(), expected);
    assert_eq!((rig.handle.state().state, rig.handle.state().reconnects), (FeedState::Live, 1));
}

#[tokio::test]
async fn a_ping_is_answered_and_counts_as_a_sign_of_life() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    for _ in 0..5 {
        rig.advance(40).await;
        server.ping().await;
        assert_eq!(server.receive().await, Some(Message::Pong("x".into())));
    }
    assert_eq!(rig.told(), []);
}

#[tokio::test]
async fn each_topic_has_its_own_end_of_the_gap() {
    let mut rig = Rig::new(&[BTC, ETH]);
    let server = rig.live().await;
    let since = rig.clock.now().millis();
    rig.told();
    drop(server);
    rig.settle().await;
    let FeedItem::Lost { subscriptions, .. } = rig.item().await else { panic!("no loss") };
    assert_eq!(subscriptions, [trades(BTC), trades(ETH)]);
    assert_eq!(rig.handle.state().state, FeedState::Reconnecting);
    let mut server = rig.accept().await;
    server.send("ok ETH/USDT").await;
    let eth_at = rig.clock.now().millis();
    rig.advance(3).await;
    server.send("trade ETH/USDT 1").await;
    server.send("ok BTC/USDT").await;
    rig.settle().await;
    let expected = [
        FeedItem::Events(vec![gap(&[ETH], since, eth_at)]),
        Rig::confirmed(ETH, eth_at),
        FeedItem::Events(vec![trade(ETH, "1")]),
        FeedItem::Events(vec![gap(&[BTC], since, eth_at + 3_000)]),
        Rig::confirmed(BTC, eth_at + 3_000),
    ];
    assert_eq!(rig.told(), expected);
}

#[tokio::test]
async fn the_backoff_grows_to_its_cap_while_nobody_answers() {
    let rig = Rig::new(&[BTC]);
    rig.dialer.dark.lock().extend(["ws://one", "ws://two"]);
    rig.advance(3_600).await;
    let dialed: Vec<_> =
        rig.dialer.dialed.lock().iter().filter(|(_, url)| url == "ws://one/ws").map(|(at, _)| *at).collect();
    let waits: Vec<_> = dialed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (index, wait) in waits.iter().enumerate() {
        assert!(*wait <= 30_000.min(1_000 << index.min(20)), "{waits:?}");
    }
    assert!((180..=320).contains(&waits.len()), "15 s on average, not {}", 3_600 / waits.len());
    assert_eq!(rig.handle.state().state, FeedState::Down);
}

#[tokio::test]
async fn only_data_end_the_growing_of_the_backoff() {
    let mut rig = Rig::new(&[BTC]);
    for _ in 0..12 {
        drop(rig.accept().await);
    }
    let connected = rig.dialer.dialed.lock().len();
    rig.advance(600).await;
    let again = rig.dialer.dialed.lock().len() - connected;
    assert!((25..=70).contains(&again), "connecting is not enough: {again} in ten minutes");

    rig.hang_up();
    let mut server = rig.live().await;
    for _ in 0..20 {
        server.send("trade BTC/USDT 1").await;
        rig.settle().await;
        drop(server);
        rig.settle().await;
        let lost_at = rig.clock.now();
        server = rig.live().await;
        assert!(rig.clock.now().since(lost_at) <= Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_malformed_frame_is_left_out() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    for frame in ["trade BTC/USDT 1", "gibberish", "trade BTC/USDT 2"] {
        server.send(frame).await;
    }
    rig.settle().await;
    assert_eq!(rig.told(), [FeedItem::Events(vec![trade(BTC, "1"), trade(BTC, "2")])]);
}

#[tokio::test]
async fn a_missing_acknowledgement_makes_it_connect_anew() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.accept().await;
    server.expect("+BTC/USDT").await;
    rig.advance(9).await;
    assert_eq!(rig.dialer.dialed.lock().len(), 1);
    rig.live().await;
    let at = rig.clock.now().millis();
    assert!((10_000..=12_500).contains(&at), "{at}");
    assert_eq!(rig.told(), [Rig::confirmed(BTC, at)], "what was never whole is not lost");
}

#[tokio::test]
async fn the_session_says_how_long_to_stay_away() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    server.send("again 90").await;
    rig.settle().await;
    let before = rig.clock.now();
    rig.live().await;
    assert!(rig.clock.now().since(before) >= Duration::from_secs(90));
}

#[tokio::test]
async fn messages_go_out_evenly() {
    let symbols: Vec<_> = (0..9).map(|i| format!("A{i}/USDT")).collect();
    let symbols: Vec<_> = symbols.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&symbols);
    let mut server = rig.accept().await;
    let clock = rig.clock.clone();
    let mut sent = Vec::new();
    for _ in 0..symbols.len() {
        Rig::until(&clock, server.receive()).await;
        sent.push(clock.now().millis());
    }
    let expected: Vec<_> = (0..9).map(|i| i * 250).collect();
    assert_eq!(sent, expected, "four a second where five are allowed");
}

#[tokio::test]
async fn changes_reach_the_open_connection_and_the_next_one() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.handle.change(&[trades(ETH)], &[]).unwrap();
    let clock = rig.clock.clone();
    Rig::until(&clock, server.confirm(1)).await;
    assert_eq!(rig.handle.change(&[trades("SOL/USDT")], &[]), Err(NoRoom { room: 0 }));
    drop(server);
    rig.settle().await;
    // While it is broken.
    rig.handle.change(&[trades("SOL/USDT")], &[trades(BTC)]).unwrap();
    rig.told();
    let mut server = rig.accept().await;
    for expected in ["+ETH/USDT", "+SOL/USDT"] {
        assert_eq!(Rig::until(&clock, server.receive()).await, Some(Message::text(expected)));
    }
    server.send("ok SOL/USDT").await;
    server.send("ok ETH/USDT").await;
    rig.settle().await;
    let told = rig.told();
    assert!(matches!(&told[0], FeedItem::Confirmed { subscriptions, .. } if *subscriptions == [trades("SOL/USDT")]));
    assert!(matches!(&told[1], FeedItem::Events(gaps) if gaps.len() == 1), "the new topic missed nothing: {told:?}");
    rig.handle.change(&[], &[trades(ETH)]).unwrap();
    assert_eq!(Rig::until(&clock, server.receive()).await, Some(Message::text("-ETH/USDT")));
    assert_eq!((rig.handle.spare(), rig.handle.state().topics), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_told_and_not_asked_for_again() {
    let mut rig = Rig::new(&[BTC, ETH]);
    let mut server = rig.accept().await;
    server.send("no ETH/USDT").await;
    server.send("ok BTC/USDT").await;
    rig.settle().await;
    let refused = FeedItem::Refused { subscription: trades(ETH), reason: "no ETH/USDT".to_owned() };
    assert_eq!(rig.told(), [refused, Rig::confirmed(BTC, 0)]);
    assert_eq!(rig.handle.subscriptions(), [trades(BTC)]);
    drop(server);
    let mut server = rig.accept().await;
    server.expect("+BTC/USDT").await;
    rig.advance(2).await;
    server.ping().await;
    assert_eq!(server.receive().await, Some(Message::Pong("x".into())), "nothing else was asked for");
}

#[tokio::test]
async fn giving_up_is_told_and_ends_it() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    server.send("giveup").await;
    rig.settle().await;
    let lost = FeedItem::Lost { subscriptions: vec![trades(BTC)], since: Timestamp::EPOCH };
    let gave_up = FeedItem::GaveUp { subscriptions: vec![trades(BTC)], reason: "giveup".to_owned() };
    assert_eq!(rig.told(), [lost, gave_up]);
    assert!(rig.task.is_finished());
    assert_eq!(rig.handle.state().state, FeedState::Down);
}

#[tokio::test]
async fn an_origin_that_refuses_is_passed_over_and_remembered() {
    let mut rig = Rig::new(&[BTC]);
    rig.dialer.dark.lock().push("ws://one");
    let server = rig.live().await;
    assert_eq!(server.url, "ws://two/ws");
    drop(server);
    assert_eq!(rig.live().await.url, "ws://two/ws");
    let dialed: Vec<_> = rig.dialer.dialed.lock().iter().map(|(_, url)| url.clone()).collect();
    assert_eq!(dialed, ["ws://one/ws", "ws://two/ws", "ws://two/ws"]);
}

#[tokio::test]
async fn stopping_takes_leave() {
    let mut rig = Rig::new(&[BTC]);
    let mut server = rig.live().await;
    rig.told();
    rig.stop.cancel();
    let Some(Message::Close(Some(frame))) = server.receive().await else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1000);
    assert_eq!(server.receive().await, None);
    rig.task.await.unwrap();
    assert_eq!(rig.items.recv().await, None, "stopping is no loss");
}

#[tokio::test]
async fn who_does_not_answer_the_leave_holds_nobody_up() {
    let mut rig = Rig::new(&[BTC]);
    let _server = rig.live().await;
    rig.stop.cancel();
    rig.settle().await;
    assert!(!rig.task.is_finished());
    rig.advance(1).await;
    assert!(rig.task.is_finished());
}

#[tokio::test]
async fn a_full_channel_makes_the_exchange_wait_and_loses_nothing() {
    let short = Profile { idle_timeout: Duration::from_secs(5), ..profile(&[]) };
    let mut rig = Rig::with(&[BTC], short, 1);
    let mut server = rig.accept().await;
    let sending = tokio::spawn(async move {
        for id in 0..20_000 {
            server.send(&format!("trade BTC/USDT {id}")).await;
        }
        server
    });
    rig.advance(4).await;
    assert!(!sending.is_finished(), "what nobody takes is not read");
    let mut next = 0;
    while next < 20_000 {
        let FeedItem::Events(events) = rig.items.recv().await.unwrap() else { panic!("not an event") };
        assert!(events.len() <= 64);
        for event in events {
            assert_eq!(event, trade(BTC, &next.to_string()));
            next += 1;
        }
    }
    sending.await.unwrap();
}
