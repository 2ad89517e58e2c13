//! Stream clients of two API replicas: repeated reconnects to either replica, and demand.

use candlewick::model::ExchangeId;
use serde_json::json;

use super::deployment::Deployment;
use crate::support::process::Process;
use crate::support::stream_client::StreamClient;
use crate::support::wait_until;

const RECONNECTS: usize = 200;

/// Waits until all API replicas have a live ticker of Binance.
async fn wait_until_live(deployment: &Deployment, apis: &mut [Process]) {
    for process in apis {
        wait_until("the ticker is live", async || {
            let ticker = deployment.get(process, "/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
            ticker.is_some_and(|ticker| ticker["source"] == "stream" && ticker["stale"] == false)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_client_receives_every_sequence_number_or_a_gap() {
    let deployment = Deployment::new().await;
    let mut apis = [deployment.spawn("api"), deployment.spawn("api")];
    let mut collectors = [deployment.spawn("collector"), deployment.spawn("collector")];
    wait_until_live(&deployment, &mut apis).await;
    let mut clients = [
        StreamClient::new(json!({"channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT"], "snapshot": 0})),
        StreamClient::new(json!({"channel": "candles", "exchange": "binance", "symbols": ["BTC/USDT"], "snapshot": 5})),
    ];
    for reconnect in 0..RECONNECTS {
        let random = deployment.simulation.clock.random_u64();
        let address = apis[usize::from(random % 2 == 0)].address().await;
        // Most connections close before any event arrives.
        let events = if (random >> 1).is_multiple_of(4) { usize::try_from(random >> 8 & 3).unwrap() } else { 0 };
        let [one, two] = &mut clients;
        let (one, two) = tokio::join!(one.receive_events(address, events), two.receive_events(address, events));
        assert!(one && two, "the replica accepts clients");
        // The active collector is killed once, and the standby takes over.
        if reconnect == RECONNECTS / 2 {
            let token = |process: &Process| super::deployment::lease_token(process, ExchangeId::BINANCE);
            let active = usize::from(token(&collectors[1]) > token(&collectors[0]));
            collectors[active].kill();
            collectors[active] = deployment.spawn("collector");
        }
    }
    for client in &clients {
        assert!(client.events > 10, "{}", client.events);
        assert_eq!(client.epochs, 2, "{:?}", client.gaps);
        let has_gap = client.gaps.iter().any(|gap| gap["reason"] == "new_epoch" && gap["from_seq"] == 1);
        assert!(has_gap, "{:?}", client.gaps);
    }
    assert!(clients[1].snapshots > 1, "the client receives a snapshot after the takeover");

    // All replicas restart.
    drop((apis, collectors));
    let mut apis = [deployment.spawn("api"), deployment.spawn("api")];
    let _collector = deployment.spawn("collector");
    wait_until_live(&deployment, &mut apis).await;
    for client in &mut clients {
        let before = client.snapshots;
        for process in &mut apis {
            let address = process.address().await;
            assert!(client.receive_events(address, 5).await);
        }
        assert_eq!(client.epochs, 3, "{:?}", client.gaps);
        let expected = usize::from(client.snapshots > 0);
        assert!(client.snapshots >= before + expected, "the client receives a gap and a snapshot");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn demand_on_any_replica_starts_collection() {
    let deployment = Deployment::new().await;
    let mut apis = [deployment.spawn("api"), deployment.spawn("api")];
    let _collector = deployment.spawn("collector");
    wait_until_live(&deployment, &mut apis).await;
    let path = "/v1/exchanges/binance";
    for (process, symbol) in apis.iter_mut().zip(["ADA/USDT", "XRP/USDT"]) {
        let state = deployment.get(process, path).await.unwrap();
        assert!(!state["symbols"].to_string().contains(symbol), "{state}");
        let address = process.address().await;
        let subscription = json!({"channel": "trades", "exchange": "binance", "symbols": [symbol], "snapshot": 0});
        assert!(StreamClient::new(subscription).receive_events(address, 3).await);
        let state = deployment.get(process, path).await.unwrap();
        assert!(state["symbols"].to_string().contains(symbol), "{state}");
    }
}
