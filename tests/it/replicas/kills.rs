//! Two API replicas and two collectors. The active collector is killed repeatedly.

use std::time::Duration;

use candlewick::cache::{BusEventKind, Cache};
use candlewick::model::{ExchangeId, Symbol, TimeRange, Topic};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::deployment::{Deployment, lease_token};
use crate::support::process::Process;
use crate::support::{candle_rows, json_rows, markets, minutes_after, wait_until};

const KILLS: usize = 10;

/// Maximum time from the kill of a collector until another one has its lease.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(10);

/// Starts a task that receives a topic and panics if sequence numbers are missing without a gap event.
async fn check_sequence(cache: &Cache, topic: Topic) -> tokio::task::JoinHandle<()> {
    let mut subscriber = cache.bus.subscribe(&topic).await.unwrap();
    tokio::spawn(async move {
        let mut last: Option<(std::sync::Arc<str>, u64)> = None;
        while let Some(event) = subscriber.next().await {
            if let (Some((epoch, seq)), BusEventKind::Data(_)) = (&last, &event.kind) {
                assert!(*epoch == event.epoch && event.seq == seq + 1, "{topic}: {event:?} after {seq} of {epoch}");
            }
            last = Some((event.epoch, event.seq));
        }
    })
}

/// The index of the collector that has the lease of an exchange, and its lease token.
fn active_collector(collectors: &[Process; 2], exchange: ExchangeId) -> (usize, u64) {
    let tokens = collectors.each_ref().map(|collector| lease_token(collector, exchange));
    let active = usize::from(tokens[1] > tokens[0]);
    (active, tokens[active])
}

/// Waits until the candles of a range are complete, and compares them with those of the simulator.
async fn assert_complete_history(deployment: &Deployment, api: &mut Process, range: TimeRange) {
    for (exchange, symbol) in markets() {
        let path = format!(
            "/v1/history?exchange={exchange}&symbol={symbol}&start={}&end={}&limit=5000",
            range.start().millis(),
            range.end().millis()
        );
        let mut page = Value::Null;
        wait_until(&format!("{exchange} {symbol} is complete"), async || {
            page = deployment.get(api, &path).await.unwrap_or_default();
            page["complete"] == true
        })
        .await;
        assert_eq!(
            json_rows(&page["candles"]),
            candle_rows(&deployment.simulation.expected_candles(exchange, symbol, range)),
            "{exchange} {symbol}"
        );
    }
}

/// The number of overlapping coverage claims. The primary key prevents duplicate candles, but not these.
async fn overlapping_claims(deployment: &Deployment) -> i64 {
    let mut database = PgConnection::connect(&deployment.database).await.unwrap();
    sqlx::query_scalar(
        "SELECT count(*) FROM coverage a JOIN coverage b ON a.series_id = b.series_id AND a.start_time < b.start_time \
         AND a.end_time > b.start_time",
    )
    .fetch_one(&mut database)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_collector_is_replaced_without_data_loss() {
    let deployment = Deployment::new().await;
    let clock = deployment.simulation.clock.clone();
    let mut apis = [deployment.spawn("api"), deployment.spawn("api")];
    let mut collectors = [deployment.spawn("collector"), deployment.spawn("collector")];
    let is_live = async |process: &mut Process, exchange: ExchangeId, symbol: &str| {
        let ticker = deployment.get(process, &format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        ticker.is_some_and(|ticker| ticker["source"] == "stream" && ticker["stale"] == false)
    };
    for process in &mut apis {
        for (exchange, symbol) in markets() {
            wait_until(&format!("{exchange} is live"), async || is_live(process, exchange, symbol).await).await;
        }
    }
    let sockets = deployment.open_sockets();
    let since = clock.now();
    let cache = deployment.open_cache().await;
    let mut subscribers = Vec::new();
    for (exchange, symbol) in markets() {
        let symbol: Symbol = symbol.parse().unwrap();
        subscribers.push(check_sequence(&cache, Topic::Trades { exchange, symbol }).await);
    }

    let mut slowest = Duration::ZERO;
    for kill in 0..KILLS {
        let exchange = ExchangeId::all().cycle().nth(kill).unwrap();
        let (active, before) = active_collector(&collectors, exchange);
        collectors[active].kill();
        let killed_at = clock.elapsed();
        let standby = &collectors[1 - active];
        wait_until(&format!("{exchange} is collected again"), async || lease_token(standby, exchange) > before).await;
        slowest = slowest.max(clock.elapsed().saturating_sub(killed_at));
        collectors[active] = deployment.spawn("collector");
        collectors[active].address().await;
        for (exchange, symbol) in markets() {
            let what = format!("{exchange} is live again after kill {kill}");
            wait_until(&what, async || is_live(&mut apis[kill % 2], exchange, symbol).await).await;
        }
    }
    eprintln!("{KILLS} kills of the active collector: another one had the lease within {slowest:?} of simulated time");
    assert!(slowest <= TAKEOVER_WITHIN, "{slowest:?}");
    wait_until("only one collector has connections", async || deployment.open_sockets() == sockets).await;
    assert!(ExchangeId::all().all(|id| deployment.simulation.simulator.stats(id).bans == 0));

    let range = minutes_after(since, i64::try_from(clock.now().since(since).as_secs() / 60).unwrap().max(3));
    clock.sleep_until(range.end()).await;
    assert_complete_history(&deployment, &mut apis[0], range).await;
    assert!(subscribers.iter().all(|task| !task.is_finished()), "no subscriber lost events without a gap event");
    assert_eq!(overlapping_claims(&deployment).await, 0);

    // After a clean shutdown the standby takes over immediately, before the lease would expire.
    let exchange = ExchangeId::BINANCE;
    let (active, before) = active_collector(&collectors, exchange);
    let stopped_at = clock.elapsed();
    collectors[active].signal("TERM");
    assert_eq!(collectors[active].wait_for_exit().await, Some(0));
    wait_until("the standby collects", async || lease_token(&collectors[1 - active], exchange) > before).await;
    eprintln!("clean shutdown: another one had the lease within {:?}", clock.elapsed().saturating_sub(stopped_at));
}
