//! Candles that close late, or without a word, and REST interfaces that lag their streams.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{Service, World, markets, minutes_after, pause, rows, truth_rows, until};

/// Slower than most tests: a busy machine must not look like a close that does not come.
const PACE: f64 = 15.0;

/// Those whose candles have a flag.
const FLAGGED: [ExchangeId; 3] = [ExchangeId::Binance, ExchangeId::Okx, ExchangeId::Bybit];

/// Waits until what a start asks for is there: nothing is asked of the exchanges any more.
async fn is_settled(world: &World, service: &Service) {
    service.until_live().await;
    // The first look of the sweeper comes after a minute, the next ten minutes later.
    world.pass(Duration::from_secs(90)).await;
    let asked = || ExchangeId::ALL.map(|exchange| world.simulator.stats(exchange).rest_requests);
    let mut before = asked();
    until("nothing is asked any more", async || {
        world.pass(Duration::from_secs(15)).await;
        let now = asked();
        std::mem::replace(&mut before, now) == now
    })
    .await;
}

async fn states(service: &Service, exchange: ExchangeId, symbol: &str, range: TimeRange) -> String {
    let (start, end) = (range.start().millis(), range.end().millis());
    let path = format!("/v1/coverage?exchange={exchange}&symbol={symbol}&interval=1m&start={start}&end={end}");
    service.ok(&path).await["ranges"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_comes_late_is_observed_without_a_question() {
    let world = World::paced(PACE).await;
    let service = Service::live(&world).await;
    is_settled(&world, &service).await;
    let range = minutes_after(world.clock.now(), 3);
    world.clock.sleep_until(range.start() + Duration::from_secs(20)).await;
    let asked = FLAGGED.map(|exchange| world.simulator.stats(exchange).rest_requests);
    for exchange in FLAGGED {
        world.fault(exchange, FaultKind::LateClose, range.duration());
    }
    world.clock.sleep_until(range.end() + Duration::from_secs(17)).await;
    assert_eq!(FLAGGED.map(|exchange| world.simulator.stats(exchange).rest_requests), asked, "nothing was asked");
    for (exchange, symbol) in markets().filter(|(exchange, _)| FLAGGED.contains(exchange)) {
        service.assert_whole(&world, exchange, symbol, range).await;
        let states = states(&service, exchange, symbol, range).await;
        assert!(states.contains("observed") && !states.contains("fetched"), "{exchange}: {states}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_minutes_are_settled_with_few_questions() {
    let world = World::paced(PACE).await;
    for exchange in FLAGGED {
        world.fault(exchange, FaultKind::NoClose, Duration::from_hours(1));
    }
    // The quietest market of each.
    let past = TimeRange::new(Interval::M1.back(world.clock.now(), 300), Interval::M1.floor(world.clock.now()));
    let quiet = |exchange, symbol: &str, range| {
        let truth = world.truth(exchange, symbol, range);
        60_000 * truth.iter().filter(|candle| !candle.volume.is_zero()).count() as u128
    };
    let quietest = ExchangeId::ALL.map(|exchange| {
        let symbols = world.simulator.market().listings(exchange).map(|listing| listing.symbol.clone());
        symbols.min_by_key(|symbol| quiet(exchange, symbol.as_str(), past)).unwrap()
    });
    let (rest, ws) = (format!("http://{}", world.address), format!("ws://{}", world.address));
    let exchanges = ExchangeId::ALL.map(|id| {
        let symbol = &quietest[id as usize];
        format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\nsymbols = [\"{symbol}\"]\n")
    });
    let service = Service::start(&format!("data = \"live\"\n{}", exchanges.concat()), world.clock.clone()).await;
    is_settled(&world, &service).await;
    let asked = ExchangeId::ALL.map(|exchange| world.simulator.stats(exchange).rest_requests);
    let range = minutes_after(world.clock.now(), 7);
    world.clock.sleep_until(range.end() + Duration::from_secs(25)).await;
    let figures = ExchangeId::ALL.map(|exchange| {
        let symbol = quietest[exchange as usize].as_str();
        let traded = quiet(exchange, symbol, range) / 60_000;
        (exchange, 7 - traded, world.simulator.stats(exchange).rest_requests - asked[exchange as usize])
    });
    println!("exchange, quiet minutes of 7, questions: {figures:?}");
    for (exchange, quiet, questions) in figures {
        // Without a batch there is a question for each quiet minute. Up to two batches fall into the time; one more question
        // may be for the exchange's time, and three to prove silence at the start of the history, which comes but once.
        assert!(
            questions <= 2 + 1 + 3,
            "{exchange} was asked {questions} times for {quiet} quiet minutes: {figures:?}"
        );
        service.assert_whole(&world, exchange, quietest[exchange as usize].as_str(), range).await;
    }
    assert!(figures.iter().any(|(_, quiet, _)| *quiet > 2), "there is something to see: {figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rest_tells_too_early_is_not_final() {
    let world = World::paced(PACE).await;
    let service = Service::live(&world).await;
    let range = minutes_after(world.clock.now(), 5);
    let (exchange, symbol) = (ExchangeId::Coinbase, "BTC/USD");
    world.fault(exchange, FaultKind::RestLag, Duration::from_mins(10));
    world.clock.sleep_until(range.start() + Duration::from_secs(40)).await;
    // The minute of each interruption comes by REST.
    for _ in 0..4 {
        world.fault(exchange, FaultKind::Drop, Duration::ZERO);
        let again = Interval::M1.next(world.clock.now()) + Duration::from_secs(40);
        while world.clock.now() < again {
            let past = TimeRange::new(range.start(), range.end().min(Interval::M1.floor(world.clock.now())));
            if past.is_empty() {
                pause().await;
                continue;
            }
            let (complete, told) = service.minutes(exchange, symbol, past).await;
            if complete {
                assert_eq!(rows(&told), truth_rows(&world.truth(exchange, symbol, past)));
            }
            pause().await;
        }
    }
    service.assert_whole(&world, exchange, symbol, range).await;
    let (_, told) = service.minutes(exchange, symbol, range).await;
    assert!(told.as_array().unwrap().iter().all(|candle| candle["revision"] == 0), "{told}");
}
