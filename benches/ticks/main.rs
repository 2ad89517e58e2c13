//! From an exchange's socket to a client's: how long a tick takes through the whole service at 10,000 ticks a second, each for
//! 100 clients.
//!
//! `cargo bench --bench ticks`. The service runs on one thread; the exchange, which speaks OKX' dialect, and the clients are a
//! process of their own. With `TEST_DATABASE_URL` and `TEST_REDIS_URL` the same once more through Redis: one role collects, the
//! other serves. Goals: p50 0.6 ms, p99 3 ms; through Redis p99 6 ms.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "../support/child.rs"]
mod child;
mod exchange;
mod load;
#[path = "../support/socket.rs"]
mod socket;

use candlewick::app::App;
use candlewick::clock::Clock;
use candlewick::config::Config;
use candlewick::lifecycle::{Lifecycle, Phase};
use candlewick::model::ExchangeId;
use candlewick::upstream::install_crypto;

use self::child::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is configured beside the role: the exchange, and where everything is kept.
fn config(rest: &str, ws: &str, more: &str) -> Config {
    let others = ExchangeId::ALL.into_iter().filter(|id| *id != ExchangeId::Okx);
    let others = others.map(|id| format!("[exchanges.{id}]\nenabled = false\n")).collect::<Vec<_>>().concat();
    let toml = format!(
        "data = \"live\"\n{more}\n[server]\nlisten = \"127.0.0.1:0\"\n[collect]\nhistory_minutes = 1\n{others}\
         [exchanges.okx]\nsymbols = {:?}\nrest_url = \"http://{rest}\"\nws_url = \"ws://{ws}\"\n",
        exchange::symbols()
    );
    Config::from_toml(&toml).expect("a configuration")
}

async fn start(config: Config) -> (App, Lifecycle) {
    let life = Lifecycle::default();
    let app = App::start(config, Clock::system(), life.clone()).await.expect("it starts");
    while life.phase() != Phase::Ready {
        Clock::system().sleep(std::time::Duration::from_millis(10)).await;
    }
    (app, life)
}

async fn measure(name: &str, configs: impl FnOnce(&str, &str) -> Vec<Config>) {
    let (mut load, line) = Load::spawn(&[]).answer().await;
    let (rest, ws) = line.split_once(' ').expect("two addresses");
    let mut apps = Vec::new();
    for config in configs(rest, ws) {
        apps.push(start(config).await);
    }
    let address = apps.last().expect("one that serves").0.address;
    load.ask(&address.to_string());
    let (_load, line) = load.answer().await;
    println!("{name}: {line}");
    for (_, life) in &apps {
        life.drain();
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
            let more = format!(
                "role = \"{role}\"\n[store]\nurl = \"{database}\"\n[cache]\nurl = \"{redis}\"\nprefix = \"{prefix}\""
            );
            config(rest, ws, &more)
        };
        vec![role("collector"), role("api")]
    })
    .await;
}

fn main() {
    if Load::arguments().is_some() {
        return load::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
