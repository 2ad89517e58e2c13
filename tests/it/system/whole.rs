//! From the socket to the API without any fault.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};

use crate::support::{Service, World, minutes_after, until};

const MARKETS: [(ExchangeId, &str); 3] =
    [(ExchangeId::Binance, "BTC/USDT"), (ExchangeId::Kraken, "BTC/USD"), (ExchangeId::Kraken, "SOL/USD")];

#[tokio::test(flavor = "multi_thread")]
async fn collected_candles_are_complete_and_equal_the_exchanges_own() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let live = minutes_after(world.clock.now(), 6);
    let past = TimeRange::new(Interval::M1.back(live.start(), 600), live.start());
    world.clock.sleep_until(live.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in MARKETS {
        service.assert_whole(&world, exchange, symbol, past).await;
        service.assert_whole(&world, exchange, symbol, live).await;
        let path =
            format!("/v1/coverage?exchange={exchange}&symbol={symbol}&interval=1m&start={}", live.start().millis());
        let ranges = service.ok(&path).await["ranges"].clone();
        assert!(
            ranges.to_string().contains("observed"),
            "{exchange} {symbol} was not collected from the stream: {ranges}"
        );
    }
    let stats = world.simulator.stats();
    assert_eq!((stats.binance.limit_violations, stats.kraken.limit_violations), (0, 0), "{stats:?}");
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_candles_agree_with_the_exchanges_own() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let now = world.clock.now();
    for (exchange, symbol, interval) in [
        (ExchangeId::Binance, "BTC/USDT", Interval::M5),
        (ExchangeId::Binance, "ETH/USDT", Interval::H1),
        (ExchangeId::Kraken, "BTC/USD", Interval::M15),
        // Not offered by the exchanges: made of what they offer.
        (ExchangeId::Kraken, "BTC/USD", Interval::H2),
        (ExchangeId::Binance, "BTC/USDT", Interval::D3),
    ] {
        let range = TimeRange::new(interval.back(now, 10), interval.floor(now));
        let path = format!(
            "/v1/history?exchange={exchange}&symbol={symbol}&interval={interval}&start={}&end={}",
            range.start().millis(),
            range.end().millis()
        );
        until(&format!("{path} is complete"), async || service.ok(&path).await["complete"] == true).await;
        let told = service.ok(&path).await;
        let truth = world.simulator.market().candles(exchange, &symbol.parse().unwrap(), interval, range);
        assert_eq!(crate::support::rows(&told["candles"]), crate::support::truth_rows(&truth), "{path}");
        assert_eq!(truth.len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_collects_is_fetched_and_kept() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let path = "/v1/ticker?exchange=binance&symbol=ADA/USDT";
    until("the ticker was asked for", async || service.get(path).await.0 == 200).await;
    let ticker = service.ok(path).await;
    assert_eq!(
        (&ticker["source"], &ticker["stale"], &ticker["simulated"]),
        (&"rest".into(), &false.into(), &false.into())
    );

    // A year ago, and ten who ask at the same time.
    let old = minutes_after(Interval::D1.back(world.clock.now(), 365), 300);
    let before = world.simulator.stats().binance.rest_requests;
    let asked = (0..10).map(|_| service.minutes(ExchangeId::Binance, "ADA/USDT", old));
    // The time budget of an answer is short in a time-lapse; what is pending is there when asked again.
    futures_util::future::join_all(asked).await;
    service.assert_whole(&world, ExchangeId::Binance, "ADA/USDT", old).await;
    assert_eq!(world.simulator.stats().binance.rest_requests - before, 1, "identical questions share one answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_reaches_the_listing_and_ends() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    // Days from the epoch on: what lies before the listing is known to be empty.
    let mut path = "/v1/history?exchange=binance&symbol=BTC/USDT&interval=1d&start=0&limit=1000".to_owned();
    let mut days = Vec::new();
    for _ in 0..20 {
        until(&format!("{path} is complete"), async || service.ok(&path).await["complete"] == true).await;
        let page = service.ok(&path).await;
        days.extend(crate::support::rows(&page["candles"]));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/history?exchange=binance&symbol=BTC/USDT&interval=1d&start=0&limit=1000&cursor={cursor}");
    }
    let (today, listed) = (Interval::D1.floor(world.clock.now()).millis(), days[0][0].parse::<i64>().unwrap());
    // The open day is told only where all of its minutes are known.
    days.retain(|day| day[0].parse::<i64>().unwrap() < today);
    assert_eq!(days.len(), usize::try_from((today - listed) / 86_400_000).unwrap());
    assert!(days.is_sorted_by(|a, b| a[0] < b[0]));

    // What the exchange cannot give any more is said to be so, and paging back ends as well.
    let path = "/v1/history?exchange=kraken&symbol=BTC/USD&interval=1h&limit=5000";
    until("nothing is pending", async || !service.ok(path).await["gaps"].to_string().contains("pending")).await;
    let page = service.ok(path).await;
    assert_eq!((&page["complete"], &page["next_cursor"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(page["gaps"][0]["reason"], "unavailable");
    assert!(page["candles"].as_array().unwrap().len() > 700);
}
