//! Error replies of exchanges, pages of proxies and damaged replies: no range becomes `unavailable` because of them,
//! and all candles are fetched later. Also limits on what clients can have fetched.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::{Service, Simulation, markets, wait_until};

/// An hour that ended 20 hours ago and has not been fetched yet.
fn old_hour(simulation: &Simulation) -> TimeRange {
    let end = Interval::H1.floor(simulation.clock.now() - Duration::from_hours(20));
    TimeRange::new(Interval::H1.back(end, 1), end)
}

async fn page(service: &Service, exchange: ExchangeId, symbol: &str, range: TimeRange) -> Value {
    let (start, end) = (range.start().millis(), range.end().millis());
    let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
    service.get_ok(&path).await
}

fn has_reason(page: &Value, reason: &str) -> bool {
    page["gaps"].as_array().unwrap().iter().any(|gap| gap["reason"] == reason)
}

/// Checks that a range is incomplete, but not `unavailable`, during the fault, and that it becomes complete afterwards.
async fn assert_refetches_after(fault: FaultKind, duration: Duration, only: Option<ExchangeId>) {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    service.wait_until_live().await;
    let range = old_hour(&simulation);
    // Kraken's REST API has no candles that old.
    let affected: Vec<_> = markets()
        .filter(|(exchange, _)| *exchange != ExchangeId::KRAKEN && only.is_none_or(|only| only == *exchange))
        .collect();
    let fault_end = simulation.clock.now() + duration;
    for (exchange, _) in &affected {
        simulation.inject_fault(*exchange, fault, duration);
    }
    for (exchange, symbol) in &affected {
        let page = page(&service, *exchange, symbol, range).await;
        assert!(page["complete"] == false && !has_reason(&page, "unavailable"), "{exchange}: {}", page["gaps"]);
    }
    simulation.clock.sleep_until(fault_end).await;
    for (exchange, symbol) in &affected {
        service.assert_complete(&simulation, *exchange, symbol, range).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_404_page_makes_nothing_unavailable() {
    assert_refetches_after(FaultKind::NotFound404, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn html_instead_of_json_makes_nothing_unavailable() {
    assert_refetches_after(FaultKind::HtmlError, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_bodies_are_refetched() {
    assert_refetches_after(FaultKind::TruncatedBody, Duration::from_secs(90), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_refetched() {
    assert_refetches_after(FaultKind::SlowBody, Duration::from_mins(1), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_resume_after_firewall_403() {
    assert_refetches_after(FaultKind::Firewall403, Duration::from_secs(30), Some(ExchangeId::BINANCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_resume_after_region_451() {
    assert_refetches_after(FaultKind::Region451, Duration::from_secs(30), Some(ExchangeId::BINANCE)).await;
}

/// Checks that all connections become live, no market ends, and tickers come from the stream.
async fn assert_subscribes_despite(fault: FaultKind, exchange: ExchangeId, duration: Duration) {
    let simulation = Simulation::new().await;
    simulation.inject_fault(exchange, fault, duration);
    let service = Service::live(&simulation).await;
    let path = format!("/v1/exchanges/{exchange}");
    wait_until("all connections are live", async || {
        let state = service.get_ok(&path).await;
        state["state"] == "live" && state["connections"].as_array().unwrap().iter().all(|one| one["state"] == "live")
    })
    .await;
    let (_, symbol) = markets().find(|(id, _)| *id == exchange).unwrap();
    wait_until("the ticker comes from the stream", async || {
        let ticker = service.get_ok(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        ticker["source"] == "stream" && ticker["stale"] == false
    })
    .await;
    let state = service.get_ok(&path).await;
    assert!(state["detail"].is_null() && state["ended"].as_array().is_none_or(Vec::is_empty), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribes_despite_message_rate_error_on_kraken() {
    assert_subscribes_despite(FaultKind::MsgRate, ExchangeId::KRAKEN, Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn already_subscribed_error_counts_as_ack_on_kraken() {
    assert_subscribes_despite(FaultKind::AlreadySubscribed, ExchangeId::KRAKEN, Duration::from_mins(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn already_subscribed_error_counts_as_ack_on_bybit() {
    assert_subscribes_despite(FaultKind::AlreadySubscribed, ExchangeId::BYBIT, Duration::from_mins(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_range_of_years_requires_backfill() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    service.wait_until_live().await;
    let end = simulation.clock.now().millis() / 3_600_000 * 3_600_000;
    let years = |count: i64| end - count * 365 * 86_400_000;
    let path = |exchange: &str, start: i64, interval: &str| {
        format!(
            "/v1/history?exchange={exchange}&symbol=BTC/USDT&interval={interval}&start={start}&end={end}&format=csv"
        )
    };
    let before = simulation.simulator.stats(ExchangeId::BINANCE).rest_requests;
    let (status, problem) = service.get(&path("binance", years(3), "1m")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("range_too_large")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`POST /v1/backfills`") && detail.contains("`candlewick backfill`"), "{detail}");
    assert!(simulation.simulator.stats(ExchangeId::BINANCE).rest_requests < before + 20, "no fetch is started");
    // A range of a few pages is fetched, no matter how old it is.
    for (interval, start) in [("1m", end - 6 * 3_600_000), ("1d", years(1))] {
        let (status, _) = service.get(&path("binance", start, interval)).await;
        assert_eq!(status, 200, "{interval}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_quota_is_per_client() {
    // Slow enough that the quota does not refill during the test.
    let simulation = Simulation::with_speed(5.0).await;
    let service = Service::live(&simulation).await;
    service.wait_until_live().await;
    let end = Interval::H1.floor(simulation.clock.now());
    // Each request is for another range of which nothing is stored.
    let request = async |client: [u8; 4], hours: u32| {
        let (to, from) = (Interval::H1.back(end, hours), Interval::H1.back(end, hours + 80));
        let (from, to) = (from.millis(), to.millis());
        let path = format!("/v1/history?exchange=coinbase&symbol=BTC/USD&start={from}&end={to}&limit=5000");
        let http = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(client)).build().unwrap();
        http.get(format!("{}{path}", service.base_url)).send().await.unwrap()
    };
    let mut rejected = None;
    for number in 0..30 {
        let response = request([127, 0, 0, 2], 100 + 80 * number).await;
        if response.status() == 429 {
            rejected = Some(response);
            break;
        }
    }
    let rejected = rejected.expect("the quota is used up");
    assert!(rejected.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_str(&rejected.text().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("quota"), "{problem}");
    assert_eq!(request([127, 0, 0, 3], 50_000).await.status(), 200, "another client has a separate quota");
}
