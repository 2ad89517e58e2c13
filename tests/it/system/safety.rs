//! Access without a key from loopback, and bounded memory for simulated candles.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::Interval;
use serde_json::{Value, json};

use crate::support::{SPEED, Service, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn loopback_writes_without_key_only_if_configured() {
    for (toml, status) in [
        ("", 201),
        ("[auth]\nrequired = false\nopen_on_loopback = true", 201),
        ("[auth]\nrequired = false\nopen_on_loopback = false", 401),
        // `required` only affects reads.
        ("[auth]\nrequired = true", 201),
        ("[auth]\nrequired = true\nopen_on_loopback = false", 401),
    ] {
        let service = Service::start(&format!("data = \"simulated\"\n{toml}"), Clock::scaled(SPEED)).await;
        let request = json!({"exchange": "binance", "symbol": "BTC/USDT", "since": 0, "until": 60_000});
        let (actual_status, body) = service.post("/v1/backfills", &request).await;
        assert_eq!(actual_status, status, "{toml}: {body}");
        assert!(service.shut_down().await);
    }
}

/// Maximum number of simulated candles in the store.
const MAX_CANDLES: i64 = 20_000;

/// These days have twice as many candles, including the derived longer ones.
const DAYS: u32 = 20;

/// Number of minutes that the coverage ledger claims, and the start of the first claim. Each minute of this market has
/// a candle.
async fn covered_minutes(service: &Service, query: &str) -> (i64, Option<i64>) {
    let (mut minutes, mut first, mut path) = (0, None, format!("/v1/coverage?{query}&limit=1000"));
    loop {
        let page = service.get_ok(&path).await;
        for range in page["ranges"].as_array().unwrap() {
            let (start, end) = (range["start"].as_i64().unwrap(), range["end"].as_i64().unwrap());
            if matches!(range["state"].as_str().unwrap(), "fetched" | "observed" | "derived") {
                minutes += (end - start) / 60_000;
                first = first.or(Some(start));
            }
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return (minutes, first) };
        path = format!("/v1/coverage?{query}&limit=1000&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_backfill_of_simulated_candles_has_bounded_memory() {
    let others: String =
        ["kraken", "coinbase", "okx", "bybit"].map(|id| format!("[exchanges.{id}]\nenabled = false\n")).concat();
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::scaled(SPEED));
    let store = format!(
        "[store]\nurl = \"sqlite://{}/candles.db\"\nsimulated_candles = {MAX_CANDLES}\n",
        folder.path().display()
    );
    let service = Service::start_with_store(&format!("data = \"simulated\"\n{others}{store}"), clock.clone()).await;
    let now = clock.now();
    let since = Interval::D1.floor(now - Duration::from_hours(24) * DAYS);
    let end = Interval::D1.floor(now - Duration::from_hours(24));
    let request = json!({
        "exchange": "binance", "symbol": "BTC/USDT", "interval": "1m", "since": since.millis(), "until": end.millis(),
    });
    let (status, started) = service.post("/v1/backfills", &request).await;
    assert_eq!(status, 201, "{started}");
    let path = format!("/v1/backfills/{}", started["id"].as_str().unwrap());
    let query = "exchange=binance&symbol=BTC/USDT&interval=1m";
    let mut max = 0;
    wait_until("the backfill is done", async || {
        max = max.max(covered_minutes(&service, query).await.0);
        service.get_ok(&path).await["state"] == "done"
    })
    .await;
    max = max.max(covered_minutes(&service, query).await.0);
    assert!((MAX_CANDLES / 4..=MAX_CANDLES).contains(&max), "{max}");

    // The newest candles are stored. The ledger claims none of the removed oldest ones.
    let (_, first) = covered_minutes(&service, query).await;
    let first = first.unwrap();
    assert!(first > since.millis() + i64::from(DAYS) * 86_400_000 / 4, "{first}");
    let hour = |start: i64| format!("/v1/history?{query}&start={start}&end={}&limit=60", start + 3_600_000);
    let newest = service.get_ok(&hour(end.millis() - 3_600_000)).await;
    assert_eq!(
        (&newest["complete"], newest["candles"].as_array().unwrap().len()),
        (&Value::Bool(true), 60),
        "{newest}"
    );
    for day in [0, 1, 5] {
        let old = service.get_ok(&hour(since.millis() + day * 86_400_000)).await;
        let (candles, gaps) = (old["candles"].as_array().unwrap().len(), old["gaps"].to_string());
        // The hour is either fetched again or reported as pending.
        let is_complete = old["complete"] == true && candles == 60;
        assert!(is_complete || (old["complete"] == false && gaps.contains("pending")), "{old}");
    }
    let coverage = service.get_ok(&format!("/v1/coverage?{query}&start={}&end={first}", since.millis())).await;
    assert_eq!(coverage["complete"], false, "{coverage}");
    assert!(service.shut_down().await);
}
