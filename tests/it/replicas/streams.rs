//! Clients that lose their connection again and again, and come back to either of two replicas.

use candlewick::model::ExchangeId;
use serde_json::json;

use super::shared::Shared;
use crate::support::listener::Listener;
use crate::support::process::Process;
use crate::support::until;

const CUTS: usize = 200;

/// Both processes tell the ticker of Binance.
async fn until_live(shared: &Shared, serving: &mut [Process]) {
    for process in serving {
        until("the ticker is live", async || {
            let ticker = shared.get(process, "/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
            ticker.is_some_and(|ticker| ticker["source"] == "stream" && ticker["stale"] == false)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_sees_each_number_once_or_a_gap_that_names_it() {
    let shared = Shared::new().await;
    let mut serving = [shared.spawn("api"), shared.spawn("api")];
    let mut collecting = [shared.spawn("collector"), shared.spawn("collector")];
    until_live(&shared, &mut serving).await;
    let mut listeners = [
        Listener::new(json!({"channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT"], "snapshot": 0})),
        Listener::new(json!({"channel": "candles", "exchange": "binance", "symbols": ["BTC/USDT"], "snapshot": 5})),
    ];
    for cut in 0..CUTS {
        let chance = shared.world.clock.random_u64();
        let address = serving[usize::from(chance % 2 == 0)].address().await;
        // Mostly the line breaks before anything has come.
        let events = if (chance >> 1).is_multiple_of(4) { usize::try_from(chance >> 8 & 3).unwrap() } else { 0 };
        let [one, two] = &mut listeners;
        let (one, two) = tokio::join!(one.listen(address, events), two.listen(address, events));
        assert!(one && two, "the replica serves");
        // The collector at work dies once, the other takes over.
        if cut == CUTS / 2 {
            let of = |process: &Process| super::shared::token_of(process, ExchangeId::Binance);
            let worker = usize::from(of(&collecting[1]) > of(&collecting[0]));
            collecting[worker].kill();
            collecting[worker] = shared.spawn("collector");
        }
    }
    for listener in &listeners {
        assert!(listener.events > 10, "{}", listener.events);
        assert_eq!(listener.epochs, 2, "{:?}", listener.gaps);
        let told = listener.gaps.iter().any(|gap| gap["reason"] == "new_epoch" && gap["from_seq"] == 1);
        assert!(told, "{:?}", listener.gaps);
    }
    assert!(listeners[1].snapshots > 1, "the new collector's candles are shown");

    // Everything is restarted.
    drop((serving, collecting));
    let mut serving = [shared.spawn("api"), shared.spawn("api")];
    let _collecting = shared.spawn("collector");
    until_live(&shared, &mut serving).await;
    for listener in &mut listeners {
        let before = listener.snapshots;
        for process in &mut serving {
            let address = process.address().await;
            assert!(listener.listen(address, 5).await);
        }
        assert_eq!(listener.epochs, 3, "{:?}", listener.gaps);
        let wanted = usize::from(listener.snapshots > 0);
        assert!(listener.snapshots >= before + wanted, "a gap and a snapshot");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_listens_to_on_any_replica_is_collected() {
    let shared = Shared::new().await;
    let mut serving = [shared.spawn("api"), shared.spawn("api")];
    let _collecting = shared.spawn("collector");
    until_live(&shared, &mut serving).await;
    let path = "/v1/exchanges/binance";
    for (process, symbol) in serving.iter_mut().zip(["ADA/USDT", "XRP/USDT"]) {
        let state = shared.get(process, path).await.unwrap();
        assert!(!state["symbols"].to_string().contains(symbol), "{state}");
        let address = process.address().await;
        let wish = json!({"channel": "trades", "exchange": "binance", "symbols": [symbol], "snapshot": 0});
        assert!(Listener::new(wish).listen(address, 3).await);
        let state = shared.get(process, path).await.unwrap();
        assert!(state["symbols"].to_string().contains(symbol), "{state}");
    }
}
