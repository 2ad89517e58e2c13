//! Refusals, pages of proxies and damaged replies, seen from outside: nothing becomes unavailable, and all is found later.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::{Service, World, markets, until};

/// An hour of a day ago, which nobody has asked for yet.
fn old_hour(world: &World) -> TimeRange {
    let end = Interval::H1.floor(world.clock.now() - Duration::from_hours(20));
    TimeRange::new(Interval::H1.back(end, 1), end)
}

async fn page(service: &Service, exchange: ExchangeId, symbol: &str, range: TimeRange) -> Value {
    let (start, end) = (range.start().millis(), range.end().millis());
    let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
    service.ok(&path).await
}

fn has_reason(page: &Value, reason: &str) -> bool {
    page["gaps"].as_array().unwrap().iter().any(|gap| gap["reason"] == reason)
}

async fn all_live(service: &Service) {
    until("all exchanges are live", async || {
        let states = service.ok("/v1/exchanges").await;
        states["exchanges"].as_array().unwrap().iter().all(|one| one["state"] == "live")
    })
    .await;
}

/// While the fault lasts nothing is claimed; afterwards the same range is found.
async fn is_not_believed(fault: FaultKind, lasts: Duration, only: Option<ExchangeId>) {
    let world = World::new().await;
    let service = Service::live(&world).await;
    all_live(&service).await;
    let range = old_hour(&world);
    // Kraken's REST interface does not reach back so far.
    let asked: Vec<_> = markets()
        .filter(|(exchange, _)| *exchange != ExchangeId::Kraken && only.is_none_or(|only| only == *exchange))
        .collect();
    let over = world.clock.now() + lasts;
    for (exchange, _) in &asked {
        world.fault(*exchange, fault, lasts);
    }
    for (exchange, symbol) in &asked {
        let page = page(&service, *exchange, symbol, range).await;
        assert!(page["complete"] == false && !has_reason(&page, "unavailable"), "{exchange}: {}", page["gaps"]);
    }
    world.clock.sleep_until(over).await;
    for (exchange, symbol) in &asked {
        service.assert_whole(&world, *exchange, symbol, range).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_404_makes_nothing_unavailable() {
    is_not_believed(FaultKind::NotFound404, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_instead_of_json_make_nothing_unavailable() {
    is_not_believed(FaultKind::HtmlError, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_break_off_are_asked_for_again() {
    is_not_believed(FaultKind::TruncatedBody, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_end_are_asked_for_again() {
    is_not_believed(FaultKind::SlowBody, Duration::from_mins(1), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_is_waited_for() {
    is_not_believed(FaultKind::Firewall403, Duration::from_secs(30), Some(ExchangeId::Binance)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_opens_again_is_asked_again() {
    is_not_believed(FaultKind::Region451, Duration::from_secs(30), Some(ExchangeId::Binance)).await;
}

/// Subscribing goes on: all connections are live, nothing is refused, and the stream speaks.
async fn subscribes_all_the_same(fault: FaultKind, exchange: ExchangeId, lasts: Duration) {
    let world = World::new().await;
    world.fault(exchange, fault, lasts);
    let service = Service::live(&world).await;
    let path = format!("/v1/exchanges/{exchange}");
    until("all connections are live", async || {
        let state = service.ok(&path).await;
        state["state"] == "live" && state["connections"].as_array().unwrap().iter().all(|one| one["state"] == "live")
    })
    .await;
    let (_, symbol) = markets().find(|(id, _)| *id == exchange).unwrap();
    until("the stream's ticker is there", async || {
        let ticker = service.ok(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        ticker["source"] == "stream" && ticker["stale"] == false
    })
    .await;
    let state = service.ok(&path).await;
    assert!(state["detail"].is_null() && state["ended"].as_array().is_none_or(Vec::is_empty), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn krakens_message_rate_slows_subscribing_down() {
    subscribes_all_the_same(FaultKind::MsgRate, ExchangeId::Kraken, Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_already_is_confirmed_on_kraken() {
    subscribes_all_the_same(FaultKind::AlreadySubscribed, ExchangeId::Kraken, Duration::from_mins(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_already_is_confirmed_on_bybit() {
    subscribes_all_the_same(FaultKind::AlreadySubscribed, ExchangeId::Bybit, Duration::from_mins(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_range_of_years_needs_a_backfill() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    all_live(&service).await;
    let end = world.clock.now().millis() / 3_600_000 * 3_600_000;
    let years = |count: i64| end - count * 365 * 86_400_000;
    let path = |exchange: &str, start: i64, interval: &str| {
        format!(
            "/v1/history?exchange={exchange}&symbol=BTC/USDT&interval={interval}&start={start}&end={end}&format=csv"
        )
    };
    let before = world.simulator.stats(ExchangeId::Binance).rest_requests;
    let (status, problem) = service.get(&path("binance", years(3), "1m")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("range_too_large")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`POST /v1/backfills`") && detail.contains("`candlewick backfill`"), "{detail}");
    assert!(world.simulator.stats(ExchangeId::Binance).rest_requests < before + 20, "nothing is begun");
    // Few pages are read through, whatever time they are of.
    for (interval, start) in [("1m", end - 6 * 3_600_000), ("1d", years(1))] {
        let (status, _) = service.get(&path("binance", start, interval)).await;
        assert_eq!(status, 200, "{interval}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_gets_no_more_than_its_share() {
    // Slow enough that a share does not come back while it is used.
    let world = World::paced(5.0).await;
    let service = Service::live(&world).await;
    all_live(&service).await;
    let end = Interval::H1.floor(world.clock.now());
    // Each is a question of its own, of pages that are all unknown.
    let ask = async |client: [u8; 4], hours: u32| {
        let (to, from) = (Interval::H1.back(end, hours), Interval::H1.back(end, hours + 80));
        let (from, to) = (from.millis(), to.millis());
        let path = format!("/v1/history?exchange=coinbase&symbol=BTC/USD&start={from}&end={to}&limit=5000");
        let http = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(client)).build().unwrap();
        http.get(format!("{}{path}", service.base)).send().await.unwrap()
    };
    let mut refused = None;
    for number in 0..30 {
        let reply = ask([127, 0, 0, 2], 100 + 80 * number).await;
        if reply.status() == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a share ends");
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("share"), "{problem}");
    assert_eq!(ask([127, 0, 0, 3], 50_000).await.status(), 200, "another client has its own");
}
