//! The table: which room may use which, and where a library may be seen.

use super::paths::{UsedPath, used_paths};

/// The rooms that stand on the ground, and what each may import besides the ground and itself.
const ROOMS: [(&str, &[&str]); 11] = [
    ("exchanges", &[]),
    ("upstream", &["exchanges", "cache"]),
    ("simulator", &[]),
    ("store", &[]),
    ("cache", &[]),
    ("hub", &["cache"]),
    ("market", &["store", "cache"]),
    ("collect", &["upstream", "exchanges", "store", "cache"]),
    ("api", &["market", "hub", "cache"]),
    ("app", &["api", "market", "hub", "collect", "upstream", "exchanges", "simulator", "store", "cache"]),
    ("cli", &["app", "api", "market", "hub", "collect", "upstream", "exchanges", "simulator", "store", "cache"]),
];

/// The ground, and what each room of it may import besides itself.
const GROUND: [(&str, &[&str]); 5] = [
    ("model", &[]),
    ("clock", &["model"]),
    ("telemetry", &["model"]),
    ("config", &["model"]),
    ("lifecycle", &["model", "clock", "telemetry", "config"]),
];

/// The rooms that may name a single exchange's folder.
const SEES_EACH_EXCHANGE: [&str; 3] = ["exchanges", "app", "cli"];

/// What `exchanges` keeps to itself.
const EXCHANGE_FOLDERS: [&str; 5] = ["binance", "bybit", "coinbase", "kraken", "okx"];

/// Libraries that may be seen only in files whose path begins like this.
const LIBRARIES: [(&[&str], &[&str]); 9] = [
    (&["sqlx"], &["src/store/sqlite", "src/store/postgres"]),
    (&["fred"], &["src/cache/redis"]),
    (&["poem", "poem_openapi"], &["src/api/", "src/simulator/", "src/app"]),
    (&["reqwest"], &["src/upstream/"]),
    (&["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "tracing_opentelemetry"], &["src/telemetry/"]),
    (&["aws_lc_rs"], &["src/model/key"]),
    (&["async_compression"], &["src/api/compress"]),
    (&["indicatif"], &["src/cli/progress"]),
    (&["arrow_array", "arrow_schema", "parquet"], &["src/cli/export/parquet"]),
];

/// Rooms that are data and pure functions: they know of no runtime.
const PURE: [&str; 3] = ["model", "exchanges", "config"];

/// The runtime and what is built on it.
const RUNTIME: [&str; 3] = ["tokio", "tokio_util", "tokio_tungstenite"];

/// Time and chance that no test could own, as ends of paths.
const AMBIENT: [&str; 14] = [
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "thread::sleep",
    "time::sleep",
    "time::sleep_until",
    "time::timeout",
    "time::timeout_at",
    "time::interval",
    "time::interval_at",
    "rand::rng",
    "rand::random",
    "StdRng::from_os_rng",
];

/// The one file that asks the machine for time and chance.
const CLOCK: &str = "src/clock.rs";

/// What a file does against the table, in a sentence each.
pub fn broken_by(file: &str, source: &str) -> Vec<String> {
    let inside: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    let room = inside[0];
    let depth = inside.iter().filter(|part| !matches!(**part, "mod" | "lib" | "main")).count();
    let mut wrong: Vec<String> =
        used_paths(source, depth).iter().filter_map(|path| problem(file, room, path)).collect();
    wrong.dedup();
    wrong
}

fn problem(file: &str, room: &str, path: &UsedPath) -> Option<String> {
    let shown = path.join("::");
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts[..] {
        ["crate" | "candlewick", other, ref rest @ ..] => {
            if !may_import(room, other) {
                return Some(format!("`{room}` may not import `{shown}`"));
            }
            let each = rest.first().is_some_and(|inner| EXCHANGE_FOLDERS.contains(inner));
            if other == "exchanges" && each && !SEES_EACH_EXCHANGE.contains(&room) {
                return Some(format!("`{room}` may import the trait only, not `{shown}`"));
            }
        }
        [library, _, ..] => {
            if let Some((_, places)) = LIBRARIES.iter().find(|(names, _)| names.contains(&library))
                && !places.iter().any(|place| file.starts_with(place))
            {
                return Some(format!("`{shown}` may be seen only in {}", places.join(", ")));
            }
            if PURE.contains(&room) && RUNTIME.contains(&library) {
                return Some(format!("`{room}` is pure and may not see `{shown}`"));
            }
        }
        _ => {}
    }
    let ambient = AMBIENT.iter().any(|end| shown == *end || shown.ends_with(&format!("::{end}")));
    (ambient && file != CLOCK).then(|| format!("`{shown}`: ask the Clock"))
}

fn may_import(room: &str, other: &str) -> bool {
    match room {
        "main" => other == "cli",
        // The list of rooms imports none.
        "lib" => false,
        _ if room == other => true,
        _ => {
            let lists = |table: &[(&str, &[&str])]| {
                table.iter().any(|(name, allowed)| *name == room && allowed.contains(&other))
            };
            let on_ground = ROOMS.iter().any(|(name, _)| *name == room);
            lists(&GROUND) || lists(&ROOMS) || on_ground && GROUND.iter().any(|(name, _)| *name == other)
        }
    }
}

#[test]
fn what_the_table_forbids_is_found() {
    for (file, source) in [
        ("src/exchanges/mod.rs", "use crate::upstream::X;"),
        ("src/exchanges/kraken/rest.rs", "use tokio::time::Duration;"),
        ("src/exchanges/kraken/rest.rs", "#[tokio::test] async fn f() {}"),
        ("src/exchanges/binance/mod.rs", "fn f(c: reqwest::Client) {}"),
        ("src/exchanges/binance/mod.rs", "use super::super::store::CandleStore;"),
        ("src/exchanges/mod.rs", "use super::store::CandleStore;"),
        ("src/upstream/mod.rs", "use crate::{model::X, exchanges::{self, binance}};"),
        ("src/upstream/rest.rs", "use crate::collect::X;"),
        ("src/collect/mod.rs", "use crate::exchanges::kraken::Kraken;"),
        ("src/collect/mod.rs", "use crate::market::X;"),
        ("src/simulator/mod.rs", "use crate::exchanges::Exchange;"),
        ("src/simulator/mod.rs", "mod x { use super::super::exchanges::Exchange; }"),
        ("src/store/mod.rs", "use sqlx::Row;"),
        ("src/store/sqlite/mod.rs", "use crate::cache::Cache;"),
        ("src/cache/memory/mod.rs", "use fred::prelude::*;"),
        ("src/cache/mod.rs", "use crate::store::X;"),
        ("src/hub/mod.rs", "use crate::market::X;"),
        ("src/market/mod.rs", "use crate::upstream::X;"),
        ("src/market/mod.rs", "fn f() -> crate::exchanges::Profile { todo!() }"),
        ("src/api/mod.rs", "use crate::exchanges::Exchange;"),
        ("src/api/rest.rs", "use crate::store::CandleStore;"),
        ("src/api/rest.rs", "use crate::app::App;"),
        ("src/hub/mod.rs", "use poem::web;"),
        ("src/market/mod.rs", "use poem_openapi::Object;"),
        ("src/telemetry/mod.rs", "use crate::clock::Clock;"),
        ("src/config/mod.rs", "use crate::store::X;"),
        ("src/model/time.rs", "use crate::clock::Clock;"),
        ("src/model/time.rs", "use tokio::sync::Mutex;"),
        ("src/clock.rs", "use crate::lifecycle::Lifecycle;"),
        ("src/app.rs", "use crate::cli::X;"),
        ("src/main.rs", "use candlewick::app::App;"),
        ("src/lib.rs", "pub use crate::model::Candle;"),
        ("src/newroom/mod.rs", "use crate::model::Candle;"),
        ("src/api/mod.rs", "use crate::*;"),
        ("src/store/mod.rs", "use std::time::SystemTime; fn f() { SystemTime::now(); }"),
        ("src/store/mod.rs", "use tokio::time::{Duration, sleep};"),
        ("src/store/mod.rs", "fn f() { std::time::Instant::now(); }"),
        ("src/store/mod.rs", "fn f() { rand::random::<u64>(); }"),
    ] {
        assert!(!broken_by(file, source).is_empty(), "{file}: {source}");
    }
}

#[test]
fn what_the_table_allows_is_not() {
    for (file, source) in [
        (
            "src/exchanges/kraken/rest.rs",
            "use crate::model::X; use super::super::{Exchange, binance}; use super::wire;",
        ),
        ("src/exchanges/mod.rs", "pub mod binance; use crate::exchanges::kraken::Kraken;"),
        (
            "src/upstream/mod.rs",
            "use crate::exchanges::{Exchange, RestCall}; use tokio::net::TcpStream; use reqwest::Client;",
        ),
        ("src/collect/mod.rs", "use crate::{upstream::X, exchanges::exchange, store::CandleStore, cache::Cache};"),
        ("src/store/sqlite/mod.rs", "use sqlx::Row; use crate::store::X; use super::StoreError;"),
        ("src/store/postgres.rs", "use sqlx::Row; mod tests { use super::*; use crate::model::X; }"),
        ("src/cache/redis/mod.rs", "use fred::prelude::*;"),
        ("src/market/mod.rs", "use crate::{store::X, cache::Y}; use crate::market::query::Q;"),
        ("src/api/mod.rs", "use poem::Route; use poem_openapi::Object; use crate::{market::Market, hub::Hub};"),
        ("src/app.rs", "use crate::{api::X, simulator::Y, exchanges::binance::Binance};"),
        ("src/cli/serve.rs", "use crate::app::App; use crate::exchanges::exchange;"),
        ("src/main.rs", "fn main() { candlewick::cli::main() }"),
        ("src/lib.rs", "pub mod model;"),
        ("src/clock.rs", "fn f() { tokio::time::Instant::now(); tokio::time::sleep(d); }"),
        ("src/store/mod.rs", "fn f(clock: &Clock) { clock.sleep(d); clock.now(); }"),
    ] {
        assert_eq!(broken_by(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
