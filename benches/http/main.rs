//! REST requests per second, compared to a baseline handler of the same framework that returns the same bytes.
//!
//! `cargo bench --bench http`. The server runs on one thread; the load generator is a separate process with 64
//! connections. Goals: a ticker at least 0.65 of the baseline, the newest 500 candles at least 0.50.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "approximate figures"
)]

mod load;
#[path = "../support/load_generator.rs"]
mod load_generator;
#[path = "../support/service.rs"]
mod service;

use std::net::SocketAddr;
use std::time::Duration;

use candlewick::cache::{Cache, CachedTicker, Version};
use candlewick::clock::Clock;
use candlewick::model::{
    Candle, CoverageState, CoveredRange, ExchangeId, Interval, MarketEvent, Series, Source, Ticker, TickerPatch,
    TimeRange, wire,
};
use candlewick::store::{CandleStore, SeriesWrite};
use poem::listener::TcpAcceptor;
use poem::{Endpoint, Request, Response, Route, Server};
use rust_decimal::Decimal;

use self::load_generator::LoadGenerator;
use self::service::{btc, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

/// Returns the same bytes to every request.
struct Baseline(&'static [u8]);

impl Endpoint for Baseline {
    type Output = Response;

    async fn call(&self, _: Request) -> poem::Result<Response> {
        Ok(Response::builder().content_type("application/json").body(self.0))
    }
}

fn baseline(bodies: Vec<(&'static str, Vec<u8>)>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let route = bodies.into_iter().fold(Route::new(), |route, (path, body)| route.at(path, Baseline(body.leak())));
    let acceptor = TcpAcceptor::from_std(listener).expect("a socket");
    tokio::spawn(Server::new_with_acceptor(acceptor).run(route));
    address
}

/// Adds a live ticker and the last 1,000 minute candles.
async fn fill(cache: &Cache, store: &dyn CandleStore, clock: &Clock) {
    let now = clock.now();
    let price = |n: i64| Decimal::new(6_701_234 + n % 997, 2);
    let values = TickerPatch {
        last: Some(price(1)),
        bid: Some(price(2)),
        bid_size: Some(Decimal::new(12, 1)),
        ask: Some(price(3)),
        ask_size: Some(Decimal::new(8, 1)),
        open: Some(price(4)),
        high: Some(price(5)),
        low: Some(price(6)),
        base_volume: Some(Decimal::new(182_341, 1)),
        quote_volume: Some(Decimal::new(12_190_000_005, 1)),
        change_percent: Some(Decimal::new(153, 2)),
        timestamp: Some(now),
    };
    let exchange = ExchangeId::BINANCE;
    let ticker = Ticker { exchange, symbol: btc(), values, received_at: now, source: Source::Stream };
    let mut json = wire::event_data(&MarketEvent::Ticker(ticker.clone()), false);
    json.pop();
    let cached = CachedTicker { ticker, simulated: false, version: Version { token: 1, seq: 1 }, json: json.into() };
    cache.tickers.put(cached, Duration::ZERO).await.expect("memory");
    // The bench may run into the next minutes: their coverage is claimed as well.
    let range = TimeRange::new(Interval::M1.back(now, 1_000), Interval::M1.floor(now) + Duration::from_hours(1));
    let candles = Interval::M1.open_times(TimeRange::new(range.start(), Interval::M1.floor(now)));
    let candles = (0_i64..).zip(candles).map(|(n, timestamp)| Candle {
        timestamp,
        open: price(n),
        high: price(n * 7),
        low: price(n * 3),
        close: price(n * 5),
        volume: Decimal::new(1_250_000 + n, 5),
        quote_volume: Some(Decimal::new(83_765_420 + n, 2)),
        trades: Some(412),
        closed: true,
        revision: 0,
    });
    let claims = vec![CoveredRange { range, state: CoverageState::Observed }];
    let series = Series { exchange, symbol: btc(), interval: Interval::M1 };
    store.write(&[SeriesWrite { series, candles: candles.collect(), claims }]).await.expect("memory");
}

async fn run() {
    let (service, _) = serve(fill).await;
    let paths = [
        ("GET /v1/ticker", "/v1/ticker?exchange=binance&symbol=BTC/USDT", "/ticker", 0.65),
        ("GET /v1/history, 500", "/v1/history?exchange=binance&symbol=BTC/USDT&limit=500", "/history", 0.50),
    ];
    let mut bodies = Vec::new();
    for (_, path, baseline_path, _) in paths {
        let service_path = path.to_owned();
        let address = service;
        let body = tokio::task::spawn_blocking(move || load::fetch(address, &service_path)).await.expect("an answer");
        bodies.push((baseline_path, body));
    }
    let baseline = baseline(bodies);
    println!("{:<22} {:>10} {:>10} {:>6} {:>6}", "requests/s", "candlewick", "baseline", "ratio", "goal");
    let mut load = LoadGenerator::spawn(&[]);
    for (name, path, baseline_path, goal) in paths {
        let (mut best_service, mut best_baseline) = (0.0_f64, 0.0_f64);
        let mut times = String::new();
        for _ in 0..ROUNDS {
            for (address, path, best, is_service) in
                [(baseline, baseline_path, &mut best_baseline, false), (service, path, &mut best_service, true)]
            {
                load.send(&format!("{address} {path}"));
                let line;
                (load, line) = load.receive().await;
                let (rate, rest) = line.split_once(' ').expect("a rate and times");
                *best = best.max(rate.parse().expect("a number"));
                if is_service {
                    rest.clone_into(&mut times);
                }
            }
        }
        println!(
            "{name:<22} {best_service:>10.0} {best_baseline:>10.0} {:>6.2} {goal:>6.2}   {times}",
            best_service / best_baseline
        );
    }
}

fn main() {
    if LoadGenerator::arguments().is_some() {
        return load::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
