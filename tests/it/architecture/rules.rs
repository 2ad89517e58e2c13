//! The rules: which module may import which, and where a library may be used.

use candlewick::model::ExchangeId;

use super::paths::{UsedPath, used_paths};

/// The modules above the foundation, and what each may import besides the foundation and itself.
const MODULES: [(&str, &[&str]); 11] = [
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

/// The foundation modules, and what each may import besides itself.
const FOUNDATION: [(&str, &[&str]); 5] = [
    ("model", &[]),
    ("clock", &["model"]),
    ("telemetry", &["model"]),
    ("config", &["model"]),
    ("lifecycle", &["model", "clock", "telemetry", "config"]),
];

/// Libraries, and the path prefixes of the files that may use them.
const LIBRARIES: [(&[&str], &[&str]); 10] = [
    (&["sqlx"], &["src/store/sql/", "src/store/sqlite", "src/store/postgres"]),
    (&["fred"], &["src/cache/redis"]),
    (&["poem", "poem_openapi"], &["src/api/", "src/simulator/", "src/app"]),
    (&["reqwest"], &["src/upstream/"]),
    (&["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "tracing_opentelemetry"], &["src/telemetry/"]),
    (&["aws_lc_rs"], &["src/model/key"]),
    (&["async_compression"], &["src/api/compress"]),
    (&["flate2"], &["src/upstream/websocket/decompress"]),
    (&["indicatif"], &["src/cli/progress"]),
    (&["arrow_array", "arrow_schema", "parquet"], &["src/cli/export/parquet"]),
];

/// Modules of data and pure functions: they must not use the async runtime.
const PURE: [&str; 3] = ["model", "exchanges", "config"];

/// The async runtime and crates built on it.
const RUNTIME: [&str; 3] = ["tokio", "tokio_util", "tokio_tungstenite"];

/// Path suffixes of ambient time and randomness, which tests cannot control.
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

/// The only file that may use ambient time and randomness.
const CLOCK: &str = "src/clock.rs";

/// The rule violations of a file, one message each.
pub fn violations(file: &str, source: &str) -> Vec<String> {
    let segments: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    let module = segments[0];
    let depth = segments.iter().filter(|segment| !matches!(**segment, "mod" | "lib" | "main")).count();
    let mut found: Vec<String> =
        used_paths(source, depth).iter().filter_map(|path| violation(file, module, path)).collect();
    found.dedup();
    found
}

fn violation(file: &str, module: &str, path: &UsedPath) -> Option<String> {
    let joined = path.join("::");
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts[..] {
        ["crate" | "candlewick", other, ref rest @ ..] => {
            if !may_import(module, other) {
                return Some(format!("`{module}` may not import `{joined}`"));
            }
            let names_folder = rest.first().is_some_and(|inner| ExchangeId::all().any(|id| id.as_str() == *inner));
            if other == "exchanges" && names_folder && module != "exchanges" {
                return Some(format!("`{module}` may import only the trait, not `{joined}`"));
            }
        }
        [library, _, ..] => {
            if let Some((_, prefixes)) = LIBRARIES.iter().find(|(names, _)| names.contains(&library))
                && !prefixes.iter().any(|prefix| file.starts_with(prefix))
            {
                return Some(format!("`{joined}` may be used only in {}", prefixes.join(", ")));
            }
            if PURE.contains(&module) && RUNTIME.contains(&library) {
                return Some(format!("`{module}` is pure and may not use `{joined}`"));
            }
        }
        _ => {}
    }
    let ambient = AMBIENT.iter().any(|end| joined == *end || joined.ends_with(&format!("::{end}")));
    (ambient && file != CLOCK).then(|| format!("`{joined}`: use the Clock"))
}

fn may_import(module: &str, other: &str) -> bool {
    match module {
        "main" => other == "cli",
        // `lib.rs` only declares modules.
        "lib" => false,
        _ if module == other => true,
        _ => {
            let is_allowed = |table: &[(&str, &[&str])]| {
                table.iter().any(|(name, allowed)| *name == module && allowed.contains(&other))
            };
            let is_above_foundation = MODULES.iter().any(|(name, _)| *name == module);
            is_allowed(&FOUNDATION)
                || is_allowed(&MODULES)
                || is_above_foundation && FOUNDATION.iter().any(|(name, _)| *name == other)
        }
    }
}

#[test]
fn forbidden_imports_are_reported() {
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
        ("src/app.rs", "use crate::exchanges::binance::Adapter;"),
        ("src/main.rs", "use candlewick::app::App;"),
        ("src/lib.rs", "pub use crate::model::Candle;"),
        ("src/newmodule/mod.rs", "use crate::model::Candle;"),
        ("src/api/mod.rs", "use crate::*;"),
        ("src/store/mod.rs", "use std::time::SystemTime; fn f() { SystemTime::now(); }"),
        ("src/store/mod.rs", "use tokio::time::{Duration, sleep};"),
        ("src/store/mod.rs", "fn f() { std::time::Instant::now(); }"),
        ("src/store/mod.rs", "fn f() { rand::random::<u64>(); }"),
    ] {
        assert!(!violations(file, source).is_empty(), "{file}: {source}");
    }
}

#[test]
fn allowed_imports_are_not_reported() {
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
        ("src/app.rs", "use crate::{api::X, simulator::Y, exchanges::Exchange};"),
        ("src/cli/serve.rs", "use crate::app::App; use crate::exchanges::exchange;"),
        ("src/main.rs", "fn main() { candlewick::cli::main() }"),
        ("src/lib.rs", "pub mod model;"),
        ("src/clock.rs", "fn f() { tokio::time::Instant::now(); tokio::time::sleep(d); }"),
        ("src/store/mod.rs", "fn f(clock: &Clock) { clock.sleep(d); clock.now(); }"),
    ] {
        assert_eq!(violations(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
