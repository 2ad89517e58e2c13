//! Latency of tickers from the socket of an exchange to the socket of a client, through the whole service, at 10,000
//! ticks per second for 100 clients.
//!
//! `cargo bench --bench ticks`. The service runs on one thread. The exchange, which uses the OKX protocol, and the
//! clients run in a separate process. With `TEST_DATABASE_URL` and `TEST_REDIS_URL` the bench also runs through Redis,
//! with one collector and one API role. Goals: p50 0.6 ms, p99 3 ms; through Redis p99 6 ms.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "approximate figures"
)]

mod exchange;
mod load;
#[path = "../support/load_generator.rs"]
mod load_generator;
#[path = "../support/socket.rs"]
mod socket;

use candlewick::app::App;
use candlewick::clock::Clock;
use candlewick::config::Config;
use candlewick::lifecycle::{Lifecycle, Phase};
use candlewick::model::ExchangeId;
use candlewick::upstream::install_crypto;

use self::load_generator::LoadGenerator;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A configuration with the fake exchange and further settings: role, store and cache.
fn config(rest: &str, ws: &str, settings: &str) -> Config {
    let others = ExchangeId::all().filter(|id| *id != ExchangeId::OKX);
    let others = others.map(|id| format!("[exchanges.{id}]\nenabled = false\n")).collect::<Vec<_>>().concat();
    let toml = format!(
        "data = \"live\"\n{settings}\n[server]\nlisten = \"127.0.0.1:0\"\n[collect]\nhistory_minutes = 1\n{others}\
         [exchanges.okx]\nsymbols = {:?}\nrest_url = \"http://{rest}\"\nws_url = \"ws://{ws}\"\n",
        exchange::symbols()
    );
    Config::from_toml(&toml).expect("a configuration")
}

async fn start(config: Config) -> (App, Lifecycle) {
    let lifecycle = Lifecycle::default();
    let app = App::start(config, Clock::system(), lifecycle.clone()).await.expect("the service starts");
    while lifecycle.phase() != Phase::Ready {
        Clock::system().sleep(std::time::Duration::from_millis(10)).await;
    }
    (app, lifecycle)
}

async fn measure(name: &str, configs: impl FnOnce(&str, &str) -> Vec<Config>) {
    let (mut load, line) = LoadGenerator::spawn(&[]).receive().await;
    let (rest, ws) = line.split_once(' ').expect("two addresses");
    let mut apps = Vec::new();
    for config in configs(rest, ws) {
        apps.push(start(config).await);
    }
    let address = apps.last().expect("a service").0.address;
    load.send(&address.to_string());
    let (_load, line) = load.receive().await;
    println!("{name}: {line}");
    for (_, lifecycle) in &apps {
        lifecycle.drain();
    }
    for (app, _) in apps {
        app.run().await;
    }
}

async fn run() {
    install_crypto();
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("[store]\nurl = \"sqlite://{}/candles.db\"", folder.path().display());
    measure("in one process", |rest, ws| vec![config(rest, ws, &store)]).await;
    let (Ok(database), Ok(redis)) = (std::env::var("TEST_DATABASE_URL"), std::env::var("TEST_REDIS_URL")) else {
        println!("through Redis: not measured, TEST_DATABASE_URL and TEST_REDIS_URL are not set");
        return;
    };
    let prefix = format!("bench{:x}", Clock::system().random_u64());
    measure("through Redis", |rest, ws| {
        let role = |role: &str| {
            let settings = format!(
                "role = \"{role}\"\n[store]\nurl = \"{database}\"\n[cache]\nurl = \"{redis}\"\nprefix = \"{prefix}\""
            );
            config(rest, ws, &settings)
        };
        vec![role("collector"), role("api")]
    })
    .await;
}

fn main() {
    if LoadGenerator::arguments().is_some() {
        return load::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
