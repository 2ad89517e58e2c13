//! From the socket to the API without any fault.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};

use crate::support::{Service, World, markets, minutes_after, until};

const MARKETS: [(ExchangeId, &str); 4] = [
    (ExchangeId::Binance, "BTC/USDT"),
    (ExchangeId::Kraken, "BTC/USD"),
    (ExchangeId::Kraken, "SOL/USD"),
    (ExchangeId::Okx, "BTC/USDT"),
];

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
    for exchange in ExchangeId::ALL {
        assert_eq!(world.simulator.stats(exchange).limit_violations, 0, "{exchange}");
        let connections = service.ok(&format!("/v1/exchanges/{exchange}")).await["connections"].clone();
        let steady = connections.as_array().unwrap().iter().all(|connection| connection["reconnects"] == 0);
        assert!(steady, "repair must not hide that {exchange} breaks off: {connections}");
    }
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_interval_of_every_exchange_agrees_with_its_own() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let now = world.clock.now();
    for (exchange, symbol) in markets() {
        for interval in Interval::ALL {
            let range =
                TimeRange::new(interval.back(now, if interval < Interval::D1 { 10 } else { 3 }), interval.floor(now));
            let asked = format!(
                "exchange={exchange}&symbol={symbol}&interval={interval}&start={}&end={}",
                range.start().millis(),
                range.end().millis()
            );
            let path = format!("/v1/history?{asked}");
            until(&format!("{path} is complete"), async || service.ok(&path).await["complete"] == true).await;
            let told = service.ok(&path).await;
            let truth = world.simulator.market().candles(exchange, &symbol.parse().unwrap(), interval, range);
            assert_eq!(crate::support::rows(&told["candles"]), crate::support::truth_rows(&truth), "{path}");
            // Natively offered or not: what the minutes at hand make is not asked for.
            if (Interval::M3..=Interval::M30).contains(&interval) {
                let ranges = service.ok(&format!("/v1/coverage?{asked}")).await["ranges"].to_string();
                assert!(ranges.contains("derived"), "{asked}: {ranges}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_collects_is_fetched_and_kept() {
    let world = World::prompt(2.0).await;
    let service = Service::live(&world).await;
    let path = "/v1/ticker?exchange=binance&symbol=ADA/USDT";
    until("the ticker was asked for", async || service.get(path).await.0 == 200).await;
    let ticker = service.ok(path).await;
    assert_eq!(
        (&ticker["source"], &ticker["stale"], &ticker["simulated"]),
        (&"rest".into(), &false.into(), &false.into())
    );

    // Nothing else is asked of the exchange any more.
    let now = world.clock.now();
    let past = TimeRange::new(Interval::M1.back(now, 990), Interval::M1.back(now, 1));
    for symbol in ["BTC/USDT", "ETH/USDT", "SOL/USDT"] {
        service.assert_whole(&world, ExchangeId::Binance, symbol, past).await;
    }
    // A year ago, and ten who ask at the same time.
    let old = minutes_after(Interval::D1.back(world.clock.now(), 365), 300);
    let before = world.simulator.stats(ExchangeId::Binance).rest_requests;
    let asked = (0..10).map(|_| service.minutes(ExchangeId::Binance, "ADA/USDT", old));
    // The time budget of an answer is short in a time-lapse; what is pending is there when asked again.
    futures_util::future::join_all(asked).await;
    service.assert_whole(&world, ExchangeId::Binance, "ADA/USDT", old).await;
    assert_eq!(
        world.simulator.stats(ExchangeId::Binance).rest_requests - before,
        1,
        "identical questions share one answer"
    );
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
