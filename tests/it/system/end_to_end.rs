//! From the exchange's socket to the API, without injected faults.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};

use crate::support::{Service, Simulation, markets, minutes_after, wait_until};

const MARKETS: [(ExchangeId, &str); 4] = [
    (ExchangeId::BINANCE, "BTC/USDT"),
    (ExchangeId::KRAKEN, "BTC/USD"),
    (ExchangeId::KRAKEN, "SOL/USD"),
    (ExchangeId::OKX, "BTC/USDT"),
];

#[tokio::test(flavor = "multi_thread")]
async fn collected_candles_are_complete_and_equal_exchange_candles() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    let live = minutes_after(simulation.clock.now(), 6);
    let past = TimeRange::new(Interval::M1.back(live.start(), 600), live.start());
    simulation.clock.sleep_until(live.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in MARKETS {
        service.assert_complete(&simulation, exchange, symbol, past).await;
        service.assert_complete(&simulation, exchange, symbol, live).await;
        let path =
            format!("/v1/coverage?exchange={exchange}&symbol={symbol}&interval=1m&start={}", live.start().millis());
        let ranges = service.get_ok(&path).await["ranges"].clone();
        assert!(
            ranges.to_string().contains("observed"),
            "{exchange} {symbol} was not collected from the stream: {ranges}"
        );
    }
    for exchange in ExchangeId::all() {
        assert_eq!(simulation.simulator.stats(exchange).limit_violations, 0, "{exchange}");
        let connections = service.get_ok(&format!("/v1/exchanges/{exchange}")).await["connections"].clone();
        let no_reconnects = connections.as_array().unwrap().iter().all(|connection| connection["reconnects"] == 0);
        assert!(no_reconnects, "repair must not hide disconnects of {exchange}: {connections}");
    }
    assert!(service.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_interval_equals_exchange_candles() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    let now = simulation.clock.now();
    for (exchange, symbol) in markets() {
        for interval in Interval::ALL {
            let range =
                TimeRange::new(interval.back(now, if interval < Interval::D1 { 10 } else { 3 }), interval.floor(now));
            let query = format!(
                "exchange={exchange}&symbol={symbol}&interval={interval}&start={}&end={}",
                range.start().millis(),
                range.end().millis()
            );
            let path = format!("/v1/history?{query}");
            wait_until(&format!("{path} is complete"), async || service.get_ok(&path).await["complete"] == true).await;
            let page = service.get_ok(&path).await;
            let expected = simulation.simulator.market().candles(exchange, &symbol.parse().unwrap(), interval, range);
            assert_eq!(crate::support::json_rows(&page["candles"]), crate::support::candle_rows(&expected), "{path}");
            // Intervals that can be derived from stored 1m candles are not fetched, even if the exchange offers them.
            if (Interval::M3..=Interval::M30).contains(&interval) {
                let ranges = service.get_ok(&format!("/v1/coverage?{query}")).await["ranges"].to_string();
                assert!(ranges.contains("derived"), "{query}: {ranges}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uncollected_market_is_fetched_on_request_and_stored() {
    let simulation = Simulation::without_default_faults(2.0).await;
    let service = Service::live(&simulation).await;
    let path = "/v1/ticker?exchange=binance&symbol=ADA/USDT";
    wait_until("the ticker is fetched", async || service.get(path).await.0 == 200).await;
    let ticker = service.get_ok(path).await;
    assert_eq!(
        (&ticker["source"], &ticker["stale"], &ticker["simulated"]),
        (&"rest".into(), &false.into(), &false.into())
    );

    // Wait until the collector has fetched its history, so that it sends no more requests.
    let now = simulation.clock.now();
    let past = TimeRange::new(Interval::M1.back(now, 990), Interval::M1.back(now, 1));
    for symbol in ["BTC/USDT", "ETH/USDT", "SOL/USDT"] {
        service.assert_complete(&simulation, ExchangeId::BINANCE, symbol, past).await;
    }
    // Ten concurrent requests for candles of a year ago.
    let old = minutes_after(Interval::D1.back(simulation.clock.now(), 365), 300);
    let before = simulation.simulator.stats(ExchangeId::BINANCE).rest_requests;
    let requests = (0..10).map(|_| service.minute_candles(ExchangeId::BINANCE, "ADA/USDT", old));
    // On the fast clock, responses may time out while the fetch is pending; later requests return its candles.
    futures_util::future::join_all(requests).await;
    service.assert_complete(&simulation, ExchangeId::BINANCE, "ADA/USDT", old).await;
    assert_eq!(
        simulation.simulator.stats(ExchangeId::BINANCE).rest_requests - before,
        1,
        "identical requests share one fetch"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_reaches_first_candle_and_ends() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    // Pages start at the epoch. The range before the first candle is `empty`.
    let mut path = "/v1/history?exchange=binance&symbol=BTC/USDT&interval=1d&start=0&limit=1000".to_owned();
    let mut days = Vec::new();
    for _ in 0..20 {
        wait_until(&format!("{path} is complete"), async || service.get_ok(&path).await["complete"] == true).await;
        let page = service.get_ok(&path).await;
        days.extend(crate::support::json_rows(&page["candles"]));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/history?exchange=binance&symbol=BTC/USDT&interval=1d&start=0&limit=1000&cursor={cursor}");
    }
    let (today, first) = (Interval::D1.floor(simulation.clock.now()).millis(), days[0][0].parse::<i64>().unwrap());
    // The open day is returned only if all of its minutes are known.
    days.retain(|day| day[0].parse::<i64>().unwrap() < today);
    assert_eq!(days.len(), usize::try_from((today - first) / 86_400_000).unwrap());
    assert!(days.is_sorted_by(|a, b| a[0] < b[0]));

    // Candles that the exchange no longer has are `unavailable`, and paging backwards ends there.
    let path = "/v1/history?exchange=kraken&symbol=BTC/USD&interval=1h&limit=5000";
    wait_until("nothing is pending", async || !service.get_ok(path).await["gaps"].to_string().contains("pending"))
        .await;
    let page = service.get_ok(path).await;
    assert_eq!((&page["complete"], &page["next_cursor"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(page["gaps"][0]["reason"], "unavailable");
    assert!(page["candles"].as_array().unwrap().len() > 700);
}
