//! Two processes that serve and two that collect; the one at work is killed again and again.

use std::time::Duration;

use candlewick::cache::{BusEventKind, Cache};
use candlewick::model::{ExchangeId, Symbol, Topic};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::shared::{Shared, token_of};
use crate::support::process::Process;
use crate::support::{markets, minutes_after, rows, truth_rows, until};

const KILLS: usize = 10;

/// From the death of a collector until another has its lease.
const TAKEOVER: Duration = Duration::from_secs(10);

/// Listens to a topic for good, and counts numbers that are missing without a gap having been told.
async fn listens(cache: &Cache, topic: Topic) -> tokio::task::JoinHandle<()> {
    let mut listener = cache.bus.subscribe(&topic).await.unwrap();
    tokio::spawn(async move {
        let mut last: Option<(std::sync::Arc<str>, u64)> = None;
        while let Some(event) = listener.next().await {
            if let (Some((epoch, number)), BusEventKind::Data(_)) = (&last, &event.kind) {
                assert!(
                    *epoch == event.epoch && event.seq == number + 1,
                    "{topic}: {event:?} after {number} of {epoch}"
                );
            }
            last = Some((event.epoch, event.seq));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_collector_is_replaced_and_nothing_is_missing() {
    let shared = Shared::new().await;
    let clock = shared.world.clock.clone();
    let mut serving = [shared.spawn("api"), shared.spawn("api")];
    let mut collecting = [shared.spawn("collector"), shared.spawn("collector")];
    let fresh = async |process: &mut Process, exchange: ExchangeId, symbol: &str| {
        let ticker = shared.get(process, &format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        ticker.is_some_and(|ticker| ticker["source"] == "stream" && ticker["stale"] == false)
    };
    for process in &mut serving {
        for (exchange, symbol) in markets() {
            until(&format!("{exchange} is live"), async || fresh(process, exchange, symbol).await).await;
        }
    }
    let alone = shared.sockets();
    let since = clock.now();
    let replica = shared.replica().await;
    let mut listening = Vec::new();
    for (exchange, symbol) in markets() {
        let symbol: Symbol = symbol.parse().unwrap();
        listening.push(listens(&replica, Topic::Trades { exchange, symbol }).await);
    }

    let mut slowest = Duration::ZERO;
    for kill in 0..KILLS {
        let exchange = ExchangeId::ALL[kill % ExchangeId::ALL.len()];
        let worker = usize::from(token_of(&collecting[1], exchange) > token_of(&collecting[0], exchange));
        let before = token_of(&collecting[worker], exchange);
        collecting[worker].kill();
        let killed_at = clock.elapsed();
        let other = 1 - worker;
        until(&format!("{exchange} is collected again"), async || token_of(&collecting[other], exchange) > before)
            .await;
        slowest = slowest.max(clock.elapsed().saturating_sub(killed_at));
        collecting[worker] = shared.spawn("collector");
        collecting[worker].address().await;
        for (exchange, symbol) in markets() {
            let what = format!("{exchange} is live again after kill {kill}");
            until(&what, async || fresh(&mut serving[kill % 2], exchange, symbol).await).await;
        }
    }
    eprintln!(
        "{KILLS} kills of the working collector: another had the lease within {slowest:?} (as the market counts)"
    );
    assert!(slowest <= TAKEOVER, "{slowest:?}");
    until("there is one set of connections", async || shared.sockets() == alone).await;
    assert!(ExchangeId::ALL.into_iter().all(|id| shared.world.simulator.stats(id).bans == 0));

    let range = minutes_after(since, i64::try_from(clock.now().since(since).as_secs() / 60).unwrap().max(3));
    clock.sleep_until(range.end()).await;
    for (exchange, symbol) in markets() {
        let path = format!(
            "/v1/history?exchange={exchange}&symbol={symbol}&start={}&end={}&limit=5000",
            range.start().millis(),
            range.end().millis()
        );
        let mut page = Value::Null;
        until(&format!("{exchange} {symbol} is complete"), async || {
            page = shared.get(&mut serving[0], &path).await.unwrap_or_default();
            page["complete"] == true
        })
        .await;
        assert_eq!(
            rows(&page["candles"]),
            truth_rows(&shared.world.truth(exchange, symbol, range)),
            "{exchange} {symbol}"
        );
    }
    assert!(listening.iter().all(|task| !task.is_finished()), "somebody missed something and was not told");
    // The key forbids two rows of one candle; that one claim covers it is the ledger's own matter.
    let mut database = PgConnection::connect(&shared.database).await.unwrap();
    let overlaps: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM coverage a JOIN coverage b ON a.series_id = b.series_id AND a.start_time < b.start_time \
         AND a.end_time > b.start_time",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(overlaps, 0);

    // On a clean end the other takes over at once, long before the lease would have run out.
    let exchange = ExchangeId::Binance;
    let worker = usize::from(token_of(&collecting[1], exchange) > token_of(&collecting[0], exchange));
    let before = token_of(&collecting[worker], exchange);
    let asked_at = clock.elapsed();
    collecting[worker].signal("TERM");
    assert_eq!(collecting[worker].ended().await, Some(0));
    until("the other collects", async || token_of(&collecting[1 - worker], exchange) > before).await;
    eprintln!("a clean end: another had the lease within {:?}", clock.elapsed().saturating_sub(asked_at));
}
