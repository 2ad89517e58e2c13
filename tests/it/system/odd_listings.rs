//! Listings as exchanges give them: halted in maintenance, nearly empty, with unreadable rows, with names of every kind.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, Symbol};
use candlewick::simulator::FaultKind;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Service, World, markets, minutes_after, servers, until};

/// How old the listings get here.
const READ_EVERY: &str = "[collect]\nlisting_minutes = 2";
/// Longer than that.
const UNTIL_READ: Duration = Duration::from_mins(4);
/// A listing without most of the markets counts when one that is so much younger agrees.
const CONFIRMED_AFTER: Duration = Duration::from_mins(10);
/// Slow enough for leases, whose end Redis counts.
const REDIS_PACE: f64 = 10.0;

async fn state(service: &Service, exchange: ExchangeId) -> Value {
    service.ok(&format!("/v1/exchanges/{exchange}")).await
}

/// The value of a counter of an exchange, or 0. Other services of this process count there, too.
async fn metric(service: &Service, name: &str, exchange: ExchangeId, label: &str) -> f64 {
    let page = service.http.get(format!("{}/metrics", service.base)).send().await.unwrap().text().await.unwrap();
    let of = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && line.contains(&format!("\"{exchange}\"")) && line.contains(label)
    };
    let line = page.lines().find(of).and_then(|line| line.rsplit(' ').next());
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn status(service: &Service, exchange: ExchangeId, symbol: &str) -> Value {
    let listed = service.ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
    let found = listed["instruments"].as_array().unwrap().iter().find(|one| one["symbol"] == symbol).cloned();
    found.unwrap_or_default()["status"].take()
}

async fn collects(service: &Service, exchange: ExchangeId, symbol: &str) -> bool {
    let state = state(service, exchange).await;
    state["ended"].as_array().unwrap().is_empty() && state["symbols"].to_string().contains(&format!("\"{symbol}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_maintenance_ends_nothing_and_is_told_as_halted_when_it_stays() {
    let world = World::new().await;
    let service = Service::live_with(&world, READ_EVERY).await;
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} collects"), async || collects(&service, exchange, symbol).await).await;
    }
    for (exchange, _) in markets() {
        world.fault(exchange, FaultKind::Halted, Duration::from_hours(1));
    }
    let (began, meanwhile) = (world.clock.now(), minutes_after(world.clock.now(), 3));
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} is halted"), async || status(&service, exchange, symbol).await == "halted").await;
        let after = world.clock.now().since(began);
        assert!(after >= CONFIRMED_AFTER, "{exchange}: listings of {after:?} are believed");
        assert!(metric(&service, "candlewick_listing_doubts_total", exchange, "").await > 0.0, "{exchange}");
        assert!(collects(&service, exchange, symbol).await, "{exchange} goes on");
        let instruments = service.ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
        assert_eq!(instruments["instruments"][0]["active"], false);
    }
    world.clock.sleep_until(meanwhile.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_whole(&world, exchange, symbol, meanwhile).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lost_most_markets_is_believed_only_when_it_stays() {
    let world = World::new().await;
    let service = Service::live_with(&world, READ_EVERY).await;
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} collects"), async || collects(&service, exchange, symbol).await).await;
    }
    for (exchange, _) in markets() {
        world.fault(exchange, FaultKind::EmptyListing, Duration::from_mins(8));
    }
    world.pass(Duration::from_mins(9)).await;
    for (exchange, symbol) in markets() {
        assert!(metric(&service, "candlewick_listing_doubts_total", exchange, "").await > 0.0, "{exchange}");
        assert!(collects(&service, exchange, symbol).await, "{exchange} goes on");
        assert_eq!(status(&service, exchange, symbol).await, "trading");
        world.fault(exchange, FaultKind::EmptyListing, Duration::from_hours(1));
    }
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} {symbol} has ended"), async || {
            let state = state(&service, exchange).await;
            state["ended"][0]["symbol"] == symbol && !state["symbols"].to_string().contains(&format!("\"{symbol}\""))
        })
        .await;
        assert_eq!(status(&service, exchange, symbol).await, "delisted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_row_of_a_listing_costs_itself_only() {
    let world = World::new().await;
    for (exchange, _) in markets() {
        world.fault(exchange, FaultKind::OddListing, Duration::from_hours(10));
    }
    let service = Service::live(&world).await;
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} collects"), async || {
            state(&service, exchange).await["symbols"].to_string().contains(&format!("\"{symbol}\""))
        })
        .await;
        let left_out = metric(&service, "candlewick_listing_odd_rows_total", exchange, "left_out").await;
        let without_step = metric(&service, "candlewick_listing_odd_rows_total", exchange, "without_step").await;
        assert!(
            left_out >= 3.0 && without_step >= 1.0,
            "{exchange}: {left_out} left out, {without_step} without a step"
        );
        let listed = service.ok(&format!("/v1/instruments?exchange={exchange}&base=ODDA")).await;
        assert_eq!(listed["instruments"][0]["price_step"].is_null(), exchange != ExchangeId::Kraken, "{listed}");
        let second = world.simulator.market().listings(exchange).nth(1).unwrap().symbol.clone();
        assert_eq!(status(&service, exchange, second.as_str()).await, Value::Null, "{exchange} {second} is left out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_whose_row_became_odd_is_collected_all_the_same() {
    let world = World::new().await;
    let second = |exchange| world.simulator.market().listings(exchange).nth(1).unwrap().symbol.clone();
    let config = config(&world, |exchange| vec![second(exchange).to_string()]);
    let service = Service::start(&config, world.clock.clone()).await;
    for exchange in ExchangeId::ALL {
        let symbol = second(exchange);
        until("it collects", async || collects(&service, exchange, symbol.as_str()).await).await;
        world.fault(exchange, FaultKind::OddListing, Duration::from_hours(1));
    }
    world.pass(UNTIL_READ).await;
    for exchange in ExchangeId::ALL {
        assert!(collects(&service, exchange, second(exchange).as_str()).await, "{exchange}");
        assert_eq!(status(&service, exchange, second(exchange).as_str()).await, "trading");
    }
}

/// The configuration of a live service with these markets, whose listings get old soon.
fn config(world: &World, symbols: impl Fn(ExchangeId) -> Vec<String>) -> String {
    let (rest, ws) = (format!("http://{}", world.address), format!("ws://{}", world.address));
    let exchange = |id: ExchangeId| {
        let symbols = json!(symbols(id));
        format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\nsymbols = {symbols}\n")
    };
    format!("data = \"live\"\n{}{READ_EVERY}\n", ExchangeId::ALL.map(exchange).concat())
}

/// Markets with names of every kind: digits first, digits only, other scripts, case that means something, quotes of one
/// letter, another name of a book.
const ODD_NAMES: [(ExchangeId, &str); 9] = [
    (ExchangeId::Binance, "1000SATS/USDT"),
    (ExchangeId::Binance, "币安人生/USDT"),
    (ExchangeId::Binance, "BTC/U"),
    (ExchangeId::Kraken, "AAPLX/USD"),
    (ExchangeId::Kraken, "BTC/PYUSD"),
    (ExchangeId::Coinbase, "BTC/USDC"),
    (ExchangeId::Coinbase, "BTC/USD"),
    (ExchangeId::Okx, "1INCH/USDT"),
    (ExchangeId::Bybit, "USD1/USDT"),
];

fn odd_names(exchange: ExchangeId) -> Vec<String> {
    ODD_NAMES.iter().filter(|(of, _)| *of == exchange).map(|(_, symbol)| (*symbol).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn markets_with_odd_names_work_from_the_listing_to_the_client() {
    let world = World::new().await;
    let service = Service::start(&config(&world, odd_names), world.clock.clone()).await;
    works_with_odd_names(&world, &service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markets_with_odd_names_work_with_postgresql_and_redis() {
    let world = World::paced(REDIS_PACE).await;
    let (database, (redis, prefix)) = (servers::database().await, servers::redis().await);
    let stores = format!("[store]\nurl = \"{database}\"\n[cache]\nurl = \"{redis}\"\nprefix = \"{prefix}\"\n");
    let config = format!("{}{stores}", config(&world, odd_names));
    let service = Service::on(&config, world.clock.clone()).await;
    works_with_odd_names(&world, &service).await;
    assert!(service.end().await);
    servers::forget(&redis, &prefix).await;
}

async fn works_with_odd_names(world: &World, service: &Service) {
    for (exchange, symbol) in ODD_NAMES {
        until(&format!("{exchange} {symbol} is collected"), async || collects(service, exchange, symbol).await).await;
    }
    let minutes = minutes_after(world.clock.now(), 2);
    world.clock.sleep_until(minutes.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in ODD_NAMES {
        service.assert_whole(world, exchange, symbol, minutes).await;
        // In the query, in the path, in any spelling.
        let dashed = symbol.parse::<Symbol>().unwrap().dashed();
        let lower = dashed.to_lowercase();
        for path in [
            format!("/v1/ticker?exchange={exchange}&symbol={symbol}"),
            format!("/v1/ticker?exchange={exchange}&symbol={lower}"),
            format!("/v1/tickers?exchange={exchange}&symbols={dashed}"),
        ] {
            until(&path, async || service.get(&path).await.0 == 200).await;
            assert!(service.ok(&path).await.to_string().contains(&format!("\"{symbol}\"")), "{path}");
        }
        let range = format!("start={}&end={}", minutes.start().millis(), minutes.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&{range}&format=csv");
        let csv = service.http.get(format!("{}{path}", service.base)).send().await.unwrap().text().await.unwrap();
        let truth = world.truth(exchange, symbol, minutes);
        assert_eq!(csv.lines().count(), truth.len() + 1, "{csv}");
        is_streamed(service, exchange, symbol).await;
    }
    let ledger = format!("/v1/coverage?exchange=coinbase&symbol=BTC/USDC&interval={}", Interval::M1);
    assert!(!service.ok(&ledger).await["ranges"].as_array().unwrap().is_empty());
}

/// Whether a client that subscribes to a market hears of it under the name that it asked for.
async fn is_streamed(service: &Service, exchange: ExchangeId, symbol: &str) {
    let url = format!("{}/v1/stream", service.base.replacen("http", "ws", 1));
    let (mut socket, _) = connect_async(url).await.unwrap();
    let subscribe = json!({"op": "subscribe", "channel": "ticker", "exchange": exchange.as_str(), "symbols": [symbol]});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    let topic = format!("\"ticker:{exchange}:{symbol}\"");
    let mut heard = false;
    until(&format!("{topic} is streamed"), async || {
        if let Some(Ok(Message::Text(text))) = socket.next().await {
            heard |= text.contains(&topic) && text.contains("\"last\"");
        }
        heard
    })
    .await;
}
