//! What a service does not do: let this machine change something where it should not, and fill the memory.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::Interval;
use serde_json::{Value, json};

use crate::support::{SPEED, Service, until};

#[tokio::test(flavor = "multi_thread")]
async fn loopback_changes_without_a_key_only_where_the_configuration_says_so() {
    for (toml, status) in [
        ("", 201),
        ("[auth]\nrequired = false\nopen_on_loopback = true", 201),
        ("[auth]\nrequired = false\nopen_on_loopback = false", 401),
        // Reading is another matter.
        ("[auth]\nrequired = true", 201),
        ("[auth]\nrequired = true\nopen_on_loopback = false", 401),
    ] {
        let service = Service::start(&format!("data = \"simulated\"\n{toml}"), Clock::scaled(SPEED)).await;
        let asked = json!({"exchange": "binance", "symbol": "BTC/USDT", "since": 0, "until": 60_000});
        let (got, body) = service.post("/v1/backfills", &asked).await;
        assert_eq!(got, status, "{toml}: {body}");
        assert!(service.end().await);
    }
}

/// The most candles of simulated exchanges here.
const MOST: i64 = 20_000;

/// So many days have twice as many, with the longer candles that are derived.
const DAYS: u32 = 20;

/// How many candles of a series the ledger says are there; the simulator has no silent minutes for so long.
async fn known(service: &Service, query: &str) -> (i64, Option<i64>) {
    let (mut known, mut first, mut path) = (0, None, format!("/v1/coverage?{query}&limit=1000"));
    loop {
        let page = service.ok(&path).await;
        for range in page["ranges"].as_array().unwrap() {
            let (start, end) = (range["start"].as_i64().unwrap(), range["end"].as_i64().unwrap());
            if matches!(range["state"].as_str().unwrap(), "fetched" | "observed" | "derived") {
                known += (end - start) / 60_000;
                first = first.or(Some(start));
            }
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return (known, first) };
        path = format!("/v1/coverage?{query}&limit=1000&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_backfill_of_simulated_candles_does_not_fill_the_memory() {
    let others: String =
        ["kraken", "coinbase", "okx", "bybit"].map(|id| format!("[exchanges.{id}]\nenabled = false\n")).concat();
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::scaled(SPEED));
    let store =
        format!("[store]\nurl = \"sqlite://{}/candles.db\"\nsimulated_candles = {MOST}\n", folder.path().display());
    let service = Service::on(&format!("data = \"simulated\"\n{others}{store}"), clock.clone()).await;
    let now = clock.now();
    let since = Interval::D1.floor(now - Duration::from_hours(24) * DAYS);
    let until_day = Interval::D1.floor(now - Duration::from_hours(24));
    let asked = json!({
        "exchange": "binance", "symbol": "BTC/USDT", "interval": "1m", "since": since.millis(), "until": until_day.millis(),
    });
    let (status, begun) = service.post("/v1/backfills", &asked).await;
    assert_eq!(status, 201, "{begun}");
    let path = format!("/v1/backfills/{}", begun["id"].as_str().unwrap());
    let query = "exchange=binance&symbol=BTC/USDT&interval=1m";
    let mut most = 0;
    until("the backfill is done", async || {
        most = most.max(known(&service, query).await.0);
        service.ok(&path).await["state"] == "done"
    })
    .await;
    most = most.max(known(&service, query).await.0);
    assert!((MOST / 4..=MOST).contains(&most), "{most}");

    // The newest are there; of the oldest nobody says that they are.
    let (_, first) = known(&service, query).await;
    let first = first.unwrap();
    assert!(first > since.millis() + i64::from(DAYS) * 86_400_000 / 4, "{first}");
    let hour = |start: i64| format!("/v1/history?{query}&start={start}&end={}&limit=60", start + 3_600_000);
    let newest = service.ok(&hour(until_day.millis() - 3_600_000)).await;
    assert_eq!(
        (&newest["complete"], newest["candles"].as_array().unwrap().len()),
        (&Value::Bool(true), 60),
        "{newest}"
    );
    for day in [0, 1, 5] {
        let old = service.ok(&hour(since.millis() + day * 86_400_000)).await;
        let (candles, gaps) = (old["candles"].as_array().unwrap().len(), old["gaps"].to_string());
        // Either it was fetched anew, or it is said to be unknown.
        let whole = old["complete"] == true && candles == 60;
        assert!(whole || (old["complete"] == false && gaps.contains("pending")), "{old}");
    }
    let ledger = service.ok(&format!("/v1/coverage?{query}&start={}&end={first}", since.millis())).await;
    assert_eq!(ledger["complete"], false, "{ledger}");
    assert!(service.end().await);
}
