//! Faulty listings (all markets halted, most markets missing, invalid rows), and markets with unusual symbols.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, Symbol};
use candlewick::simulator::FaultKind;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Service, Simulation, markets, minutes_after, servers, wait_until};

/// Interval between two reads of the listing.
const LISTING_INTERVAL: &str = "[collect]\nlisting_minutes = 2";
/// The listing is read again within this time.
const UNTIL_NEXT_READ: Duration = Duration::from_mins(4);
/// A listing that lacks most markets is accepted after a second one, at least this much later, confirms it.
const CONFIRM_AFTER: Duration = Duration::from_mins(10);
/// Low enough for leases, which Redis expires in real time.
const SPEED_WITH_REDIS: f64 = 10.0;

async fn state(service: &Service, exchange: ExchangeId) -> Value {
    service.get_ok(&format!("/v1/exchanges/{exchange}")).await
}

/// The value of a counter of an exchange, or 0. All services of this process share the counters.
async fn metric(service: &Service, name: &str, exchange: ExchangeId, label: &str) -> f64 {
    let page = service.http.get(format!("{}/metrics", service.base_url)).send().await.unwrap().text().await.unwrap();
    let matches = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && line.contains(&format!("\"{exchange}\"")) && line.contains(label)
    };
    let line = page.lines().find(matches).and_then(|line| line.rsplit(' ').next());
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn instrument_status(service: &Service, exchange: ExchangeId, symbol: &str) -> Value {
    let listed = service.get_ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
    let instruments = listed["instruments"].as_array().unwrap();
    let instrument = instruments.iter().find(|instrument| instrument["symbol"] == symbol).cloned();
    instrument.unwrap_or_default()["status"].take()
}

async fn is_collected(service: &Service, exchange: ExchangeId, symbol: &str) -> bool {
    let state = state(service, exchange).await;
    state["ended"].as_array().unwrap().is_empty() && state["symbols"].to_string().contains(&format!("\"{symbol}\""))
}

async fn wait_until_collected(service: &Service, exchange: ExchangeId, symbol: &str) {
    let what = format!("{exchange} {symbol} is collected");
    wait_until(&what, async || is_collected(service, exchange, symbol).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn halted_listing_is_reported_once_confirmed_and_ends_no_market() {
    let simulation = Simulation::new().await;
    let service = Service::live_with_config(&simulation, LISTING_INTERVAL).await;
    for (exchange, symbol) in markets() {
        wait_until_collected(&service, exchange, symbol).await;
    }
    for (exchange, _) in markets() {
        simulation.inject_fault(exchange, FaultKind::Halted, Duration::from_hours(1));
    }
    let (start, during) = (simulation.clock.now(), minutes_after(simulation.clock.now(), 3));
    for (exchange, symbol) in markets() {
        let what = format!("{exchange} {symbol} is halted");
        wait_until(&what, async || instrument_status(&service, exchange, symbol).await == "halted").await;
        let after = simulation.clock.now().since(start);
        assert!(after >= CONFIRM_AFTER, "{exchange}: the listing was accepted after {after:?}");
        assert!(metric(&service, "candlewick_listing_doubts_total", exchange, "").await > 0.0, "{exchange}");
        assert!(is_collected(&service, exchange, symbol).await, "{exchange} {symbol} is still collected");
        let instruments = service.get_ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
        assert_eq!(instruments["instruments"][0]["active"], false);
    }
    simulation.clock.sleep_until(during.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, during).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_without_most_markets_is_accepted_only_once_confirmed() {
    let simulation = Simulation::new().await;
    let service = Service::live_with_config(&simulation, LISTING_INTERVAL).await;
    for (exchange, symbol) in markets() {
        wait_until_collected(&service, exchange, symbol).await;
    }
    for (exchange, _) in markets() {
        simulation.inject_fault(exchange, FaultKind::EmptyListing, Duration::from_mins(8));
    }
    simulation.sleep(Duration::from_mins(9)).await;
    for (exchange, symbol) in markets() {
        assert!(metric(&service, "candlewick_listing_doubts_total", exchange, "").await > 0.0, "{exchange}");
        assert!(is_collected(&service, exchange, symbol).await, "{exchange} {symbol} is still collected");
        assert_eq!(instrument_status(&service, exchange, symbol).await, "trading");
        simulation.inject_fault(exchange, FaultKind::EmptyListing, Duration::from_hours(1));
    }
    for (exchange, symbol) in markets() {
        wait_until(&format!("{exchange} {symbol} has ended"), async || {
            let state = state(&service, exchange).await;
            state["ended"][0]["symbol"] == symbol && !state["symbols"].to_string().contains(&format!("\"{symbol}\""))
        })
        .await;
        assert_eq!(instrument_status(&service, exchange, symbol).await, "delisted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_listing_row_affects_no_other_row() {
    let simulation = Simulation::new().await;
    for (exchange, _) in markets() {
        simulation.inject_fault(exchange, FaultKind::OddListing, Duration::from_hours(10));
    }
    let service = Service::live(&simulation).await;
    for (exchange, symbol) in markets() {
        wait_until(&format!("{exchange} {symbol} is collected"), async || {
            state(&service, exchange).await["symbols"].to_string().contains(&format!("\"{symbol}\""))
        })
        .await;
        let left_out = metric(&service, "candlewick_listing_odd_rows_total", exchange, "left_out").await;
        let without_step = metric(&service, "candlewick_listing_odd_rows_total", exchange, "without_step").await;
        assert!(
            left_out >= 3.0 && without_step >= 1.0,
            "{exchange}: {left_out} rows skipped, {without_step} without a step"
        );
        let listed = service.get_ok(&format!("/v1/instruments?exchange={exchange}&base=ODDA")).await;
        assert_eq!(listed["instruments"][0]["price_step"].is_null(), exchange != ExchangeId::KRAKEN, "{listed}");
        let second = simulation.simulator.market().listings(exchange).nth(1).unwrap().symbol.clone();
        let status = instrument_status(&service, exchange, second.as_str()).await;
        assert_eq!(status, Value::Null, "{exchange} {second} is skipped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn market_whose_row_becomes_invalid_stays_collected() {
    let simulation = Simulation::new().await;
    let second = |exchange| simulation.simulator.market().listings(exchange).nth(1).unwrap().symbol.clone();
    let config = config(&simulation, |exchange| vec![second(exchange).to_string()]);
    let service = Service::start(&config, simulation.clock.clone()).await;
    for exchange in ExchangeId::all() {
        let symbol = second(exchange);
        wait_until_collected(&service, exchange, symbol.as_str()).await;
        simulation.inject_fault(exchange, FaultKind::OddListing, Duration::from_hours(1));
    }
    simulation.sleep(UNTIL_NEXT_READ).await;
    for exchange in ExchangeId::all() {
        assert!(is_collected(&service, exchange, second(exchange).as_str()).await, "{exchange}");
        assert_eq!(instrument_status(&service, exchange, second(exchange).as_str()).await, "trading");
    }
}

/// Configuration of a live service that collects these markets and reads the listings often.
fn config(simulation: &Simulation, symbols: impl Fn(ExchangeId) -> Vec<String>) -> String {
    let (rest, ws) = (format!("http://{}", simulation.address), format!("ws://{}", simulation.address));
    let exchange = |id: ExchangeId| {
        let symbols = json!(symbols(id));
        format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\nsymbols = {symbols}\n")
    };
    format!("data = \"live\"\n{}{LISTING_INTERVAL}\n", ExchangeId::all().map(exchange).collect::<String>())
}

/// Markets with unusual symbols: leading digits, other scripts, native names with lower-case letters (Kraken's
/// `AAPLx`), a quote of one letter, an alias of another order book (Coinbase's `BTC-USDC`).
const UNUSUAL_SYMBOLS: [(ExchangeId, &str); 9] = [
    (ExchangeId::BINANCE, "1000SATS/USDT"),
    (ExchangeId::BINANCE, "币安人生/USDT"),
    (ExchangeId::BINANCE, "BTC/U"),
    (ExchangeId::KRAKEN, "AAPLX/USD"),
    (ExchangeId::KRAKEN, "BTC/PYUSD"),
    (ExchangeId::COINBASE, "BTC/USDC"),
    (ExchangeId::COINBASE, "BTC/USD"),
    (ExchangeId::OKX, "1INCH/USDT"),
    (ExchangeId::BYBIT, "USD1/USDT"),
];

fn unusual_symbols(exchange: ExchangeId) -> Vec<String> {
    UNUSUAL_SYMBOLS.iter().filter(|(id, _)| *id == exchange).map(|(_, symbol)| (*symbol).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_symbols_work_end_to_end() {
    let simulation = Simulation::new().await;
    let service = Service::start(&config(&simulation, unusual_symbols), simulation.clock.clone()).await;
    assert_unusual_symbols_work(&simulation, &service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_symbols_work_with_postgres_and_redis() {
    let simulation = Simulation::with_speed(SPEED_WITH_REDIS).await;
    let (database, (redis, prefix)) = (servers::database().await, servers::redis().await);
    let stores = format!("[store]\nurl = \"{database}\"\n[cache]\nurl = \"{redis}\"\nprefix = \"{prefix}\"\n");
    let config = format!("{}{stores}", config(&simulation, unusual_symbols));
    let service = Service::start_with_store(&config, simulation.clock.clone()).await;
    assert_unusual_symbols_work(&simulation, &service).await;
    assert!(service.shut_down().await);
    servers::delete_keys(&redis, &prefix).await;
}

async fn assert_unusual_symbols_work(simulation: &Simulation, service: &Service) {
    for (exchange, symbol) in UNUSUAL_SYMBOLS {
        wait_until_collected(service, exchange, symbol).await;
    }
    let minutes = minutes_after(simulation.clock.now(), 2);
    simulation.clock.sleep_until(minutes.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in UNUSUAL_SYMBOLS {
        service.assert_complete(simulation, exchange, symbol, minutes).await;
        // With slash, dash or lower case.
        let dashed = symbol.parse::<Symbol>().unwrap().dashed();
        let lower = dashed.to_lowercase();
        for path in [
            format!("/v1/ticker?exchange={exchange}&symbol={symbol}"),
            format!("/v1/ticker?exchange={exchange}&symbol={lower}"),
            format!("/v1/tickers?exchange={exchange}&symbols={dashed}"),
        ] {
            wait_until(&path, async || service.get(&path).await.0 == 200).await;
            assert!(service.get_ok(&path).await.to_string().contains(&format!("\"{symbol}\"")), "{path}");
        }
        let range = format!("start={}&end={}", minutes.start().millis(), minutes.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&{range}&format=csv");
        let csv = service.http.get(format!("{}{path}", service.base_url)).send().await.unwrap().text().await.unwrap();
        let expected = simulation.expected_candles(exchange, symbol, minutes);
        assert_eq!(csv.lines().count(), expected.len() + 1, "{csv}");
        wait_until_streamed(service, exchange, symbol).await;
    }
    let path = format!("/v1/coverage?exchange=coinbase&symbol=BTC/USDC&interval={}", Interval::M1);
    assert!(!service.get_ok(&path).await["ranges"].as_array().unwrap().is_empty());
}

/// Waits until a subscribed client receives a ticker under the requested symbol.
async fn wait_until_streamed(service: &Service, exchange: ExchangeId, symbol: &str) {
    let url = format!("{}/v1/stream", service.base_url.replacen("http", "ws", 1));
    let (mut socket, _) = connect_async(url).await.unwrap();
    let subscribe = json!({"op": "subscribe", "channel": "ticker", "exchange": exchange.as_str(), "symbols": [symbol]});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    let topic = format!("\"ticker:{exchange}:{symbol}\"");
    let mut received = false;
    wait_until(&format!("{topic} is streamed"), async || {
        if let Some(Ok(Message::Text(text))) = socket.next().await {
            received |= text.contains(&topic) && text.contains("\"last\"");
        }
        received
    })
    .await;
}
