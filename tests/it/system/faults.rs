//! One test per fault: afterwards the candles are complete and equal the exchange's.

use std::time::Duration;

use candlewick::model::{ExchangeId, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{SPEED, Service, Simulation, candle_rows, json_rows, markets, minutes_after, wait_until};

/// Runs for a minute, then with the fault on all exchanges for `duration`, then for two minutes. Compares the candles
/// of the whole time.
async fn assert_recovers(fault: FaultKind, duration: Duration) -> (Simulation, Service, TimeRange) {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    let before = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(before.end() + Duration::from_secs(20)).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, fault, duration);
    }
    simulation.sleep(duration + Duration::from_secs(100)).await;
    wait_until("all exchanges are live again", async || {
        let states = service.get_ok("/v1/exchanges").await;
        let is_live = |one: &serde_json::Value| one["state"] == "live";
        states["exchanges"]
            .as_array()
            .unwrap()
            .iter()
            .all(|exchange| is_live(exchange) && exchange["connections"].as_array().unwrap().iter().all(is_live))
    })
    .await;
    let after = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    let range = TimeRange::new(before.start(), after.end());
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, range).await;
    }
    (simulation, service, range)
}

macro_rules! recovery_tests {
    ($($name:ident: $fault:ident for $secs:literal s;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                assert_recovers(FaultKind::$fault, Duration::from_secs($secs)).await;
            }
        )*
    };
}

recovery_tests! {
    recovers_from_dropped_connections: Drop for 0 s;
    recovers_from_exchange_outage: Dark for 90 s;
    recovers_from_silent_streams: Silent for 150 s;
    recovers_from_malformed_frames: Malformed for 60 s;
    recovers_from_pings_without_data: PingsOnly for 210 s;
    recovers_from_absurd_numbers: AbsurdNumbers for 60 s;
    recovers_from_candles_instead_of_tickers: WrongEvent for 60 s;
    recovers_from_slow_responses: Slow for 60 s;
    recovers_from_http_429: Http429 for 60 s;
    recovers_from_http_418_ban: Http418 for 60 s;
    recovers_from_http_500: Http500 for 60 s;
    recovers_from_skipped_candles: SkipCandle for 100 s;
    recovers_from_duplicate_messages: Duplicate for 60 s;
    recovers_from_shutdown_notice: ShutdownNotice for 30 s;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_subscription_falls_back_to_rest() {
    let simulation = Simulation::new().await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::Refuse, Duration::from_mins(1));
    }
    let service = Service::live(&simulation).await;
    let range = minutes_after(simulation.clock.now(), 3);
    simulation.clock.sleep_until(range.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, range).await;
        let ticker = service.get_ok(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        assert!(ticker["last"].is_number(), "{ticker}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_trade_revises_closed_candle() {
    // Without late closing frames, every candle closes before its late trade.
    let simulation = Simulation::without_default_faults(SPEED).await;
    let service = Service::live(&simulation).await;
    let range = minutes_after(simulation.clock.now(), 3);
    simulation.clock.sleep_until(range.start()).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::LateTrade, range.duration());
    }
    simulation.clock.sleep_until(range.end()).await;
    for (exchange, symbol) in markets() {
        let expected = || candle_rows(&simulation.expected_candles(exchange, symbol, range));
        wait_until(&format!("the candles of {exchange} include the late trades"), async || {
            json_rows(&service.minute_candles(exchange, symbol, range).await.1) == expected()
        })
        .await;
    }
    // Candles of Binance close before the late trade. Candles of Kraken may still be open; they include the trade when
    // they are stored and are not revised.
    let (_, candles) = service.minute_candles(ExchangeId::BINANCE, "BTC/USDT", range).await;
    assert!(candles.as_array().unwrap().iter().any(|candle| candle["revision"] == 1), "{candles}");
}
