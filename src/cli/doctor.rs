//! `candlewick doctor`: checks everything that a service needs, and reports problems and how to fix them.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::app::{self, ClientError};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, DataMode};
use crate::model::ExchangeId;
use crate::store::StoreError;
use crate::upstream::RestClient;

/// Minimum offset of this machine's clock that causes a warning.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(2);

/// Number of clock measurements per exchange.
const CLOCK_MEASUREMENTS: usize = 2;

/// Timeout of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Result of a check. The worst grade is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    /// Works, but needs attention.
    Warning,
    /// Does not work.
    Failed,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    grade: Grade,
    detail: String,
}

impl Finding {
    fn new(check: &'static str, grade: Grade, detail: impl Into<String>) -> Self {
        Self { check, grade, detail: detail.into() }
    }
}

/// Runs all checks. Exit code: 0, or 1 if something needs attention, or 2 if something does not work.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::process::runtime()?;
    let findings = match Config::load(args.config) {
        Ok(config) => runtime.block_on(run_checks(&config)),
        Err(error) => vec![check_configuration(Err(&error))],
    };
    let out = std::io::stdout();
    let colours = out.is_terminal();
    let text = if args.json { json(&findings)? } else { table(&findings, colours) };
    out.lock().write_all(text.as_bytes())?;
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
    Ok(ExitCode::from(worst as u8))
}

async fn run_checks(config: &Config) -> Vec<Finding> {
    let clock = Clock::system();
    let (store, cache, exchanges) =
        tokio::join!(check_store(config, &clock), check_cache(config, &clock), check_exchanges(config, &clock));
    let mut findings = vec![check_configuration(Ok(config)), check_access(config), store, cache];
    findings.extend(exchanges);
    findings
}

fn check_configuration(config: Result<&Config, &ConfigError>) -> Finding {
    match config {
        Ok(config) => {
            let (role, listen) = (config.role.as_str(), config.server.listen);
            let markets: usize = config.exchanges.values().map(|exchange| exchange.symbols.len()).sum();
            let detail = format!(
                "role {role}, listening on {listen}, {markets} markets of {} exchanges",
                config.exchanges.len()
            );
            if listen.ip().is_loopback() || config.auth.required {
                Finding::new("configuration", Grade::Ok, detail)
            } else {
                let detail = format!(
                    "{detail}; any client that reaches it can read: set `auth.required = true` to require API keys, \
                     and use a proxy for TLS"
                );
                Finding::new("configuration", Grade::Warning, detail)
            }
        }
        Err(error) => Finding::new("configuration", Grade::Failed, error.to_string()),
    }
}

/// Reports which rule applies to operations that change something over HTTP.
fn check_access(config: &Config) -> Finding {
    let set = config.auth.open_on_loopback;
    let detail = match (config.auth.is_open_on_loopback(&config.server), set) {
        (true, None) => {
            "requests from this machine can make changes without a key, because the service listens on loopback only \
             and trusts no proxy; if a proxy on this machine forwards requests, set `auth.open_on_loopback = false`"
        }
        (true, Some(_)) if !config.server.trusted_proxies.is_empty() => {
            let detail = "requests from this machine can make changes without a key: `auth.open_on_loopback = true`, \
                          although `server.trusted_proxies` names a proxy; requests of a proxy that sends no client \
                          address look like requests from this machine";
            return Finding::new("access", Grade::Warning, detail);
        }
        (true, Some(_)) => "requests from this machine can make changes without a key: `auth.open_on_loopback = true`",
        (false, Some(_)) => "changes need a key with the scope `admin`: `auth.open_on_loopback = false`",
        (false, None) if config.server.listen.ip().is_loopback() => {
            "changes need a key with the scope `admin`, because `server.trusted_proxies` names a proxy"
        }
        (false, None) => {
            "changes need a key with the scope `admin`, because the service does not listen on loopback only"
        }
    };
    Finding::new("access", Grade::Ok, detail)
}

/// Opens the store as at startup and runs a query.
async fn check_store(config: &Config, clock: &Clock) -> Finding {
    // Boxed because the future of a database driver is large.
    let query = Box::pin(async {
        let (store, kind) = app::open_store(config).await?;
        let started_at = clock.elapsed();
        let keys = store.keys().await;
        let latency = clock.elapsed().saturating_sub(started_at);
        store.close().await;
        let valid = keys?.iter().filter(|key| key.is_valid(clock.now())).count();
        Ok::<_, StoreError>((format!("{kind} responds in {} ms; {valid} valid API keys", latency.as_millis()), valid))
    });
    match clock.timeout(4 * CHECK_TIMEOUT, query).await {
        Ok(Ok((detail, 0))) if config.auth.required => {
            let detail = format!("{detail}: no client can read; create a key with `candlewick keys create`");
            Finding::new("store", Grade::Warning, detail)
        }
        Ok(Ok((detail, _))) => Finding::new("store", Grade::Ok, detail),
        Ok(Err(error)) => Finding::new("store", Grade::Failed, error.to_string()),
        Err(_) => Finding::new("store", Grade::Failed, "no response; check that the database runs at `store.url`"),
    }
}

async fn check_cache(config: &Config, clock: &Clock) -> Finding {
    let query = async {
        let (cache, kind) = app::open_cache(config, clock).await?;
        let started_at = clock.elapsed();
        if let Some(exchange) = config.exchanges.keys().next() {
            cache.demand.symbols(*exchange).await?;
        }
        Ok::<_, crate::cache::CacheError>((kind, clock.elapsed().saturating_sub(started_at)))
    };
    match clock.timeout(CHECK_TIMEOUT, query).await {
        Ok(Ok((kind, latency))) => {
            Finding::new("cache", Grade::Ok, format!("{kind} responds in {} ms", latency.as_millis()))
        }
        Ok(Err(error)) => Finding::new("cache", Grade::Failed, error.to_string()),
        Err(_) => Finding::new("cache", Grade::Failed, "no response; check that Redis runs at `cache.url`"),
    }
}

async fn check_exchanges(config: &Config, clock: &Clock) -> Vec<Finding> {
    let clients = app::rest_clients(config, clock);
    if config.data == DataMode::Simulated {
        let simulated = |exchange: ExchangeId| Finding::new(exchange.as_str(), Grade::Ok, "simulated: not checked");
        return clients.into_iter().map(|(exchange, _)| simulated(exchange)).collect();
    }
    let checks = clients.into_iter().map(|(exchange, client)| check_exchange(exchange, client, clock));
    let mut findings: Vec<Finding> = join_all(checks).await;
    for failed in findings.iter_mut().filter(|one| config.data == DataMode::Auto && one.grade == Grade::Failed) {
        failed.grade = Grade::Warning;
        failed.detail = format!("would be simulated, because `data = \"auto\"`: {}", failed.detail);
    }
    findings
}

/// Sends the exchange's cheapest request and measures its clock.
async fn check_exchange(exchange: ExchangeId, client: Result<Arc<RestClient>, ClientError>, clock: &Clock) -> Finding {
    let name = exchange.as_str();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Finding::new(name, Grade::Failed, error.to_string()),
    };
    let started_at = clock.elapsed();
    match clock.timeout(CHECK_TIMEOUT, client.probe()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Finding::new(name, Grade::Failed, error.to_string()),
        Err(_) => {
            return Finding::new(name, Grade::Failed, format!("no response within {} s", CHECK_TIMEOUT.as_secs()));
        }
    }
    let latency = clock.elapsed().saturating_sub(started_at);
    for _ in 0..CLOCK_MEASUREMENTS {
        // A failed measurement leaves the offset unknown, which is reported below.
        let _ = clock.timeout(CHECK_TIMEOUT, client.measure_clock()).await;
    }
    let budgets = client.budgets();
    let limits = budgets
        .iter()
        .map(|budget| format!("{} {} of {} in {} s", budget.scope, budget.used, budget.limit, budget.window.as_secs()));
    let limits = limits.collect::<Vec<_>>().join(", ");
    let detail = format!("responds in {} ms; budget used: {limits}", latency.as_millis());
    let offset = client.exchange_clock().offset();
    if !offset.known {
        let detail = format!("its clock is unknown, so only its streams close candles; {detail}");
        return Finding::new(name, Grade::Warning, detail);
    }
    let seconds = |millis: u64| format!("{}.{:03} s", millis / 1_000, millis % 1_000);
    let (magnitude, doubt) = (seconds(offset.offset_ms.unsigned_abs()), seconds(offset.doubt_ms.unsigned_abs()));
    let direction = if offset.offset_ms > 0 { "behind" } else { "ahead of" };
    let detail = format!("this machine's clock is {magnitude} {direction} the exchange's clock (± {doubt}); {detail}");
    if offset.offset_ms.unsigned_abs().saturating_sub(offset.doubt_ms.unsigned_abs()) >= whole_millis(MAX_CLOCK_OFFSET)
    {
        let advice = "candles still close by the exchange's clock; synchronize this machine's clock (NTP)";
        return Finding::new(name, Grade::Warning, format!("{detail}; {advice}"));
    }
    Finding::new(name, Grade::Ok, detail)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn json(findings: &[Finding]) -> anyhow::Result<String> {
    let worst = findings.iter().map(|finding| finding.grade).max();
    Ok(format!("{:#}\n", serde_json::json!({"grade": worst, "findings": serde_json::to_value(findings)?})))
}

fn table(findings: &[Finding], colours: bool) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let (word, colour) = match finding.grade {
            Grade::Ok => ("ok", 32),
            Grade::Warning => ("warning", 33),
            Grade::Failed => ("failed", 31),
        };
        let word = format!("{word:<8}");
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        format!("{:<width$}  {word} {}\n", finding.check, finding.detail)
    };
    findings.iter().map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_findings_as_table_and_json() {
        let findings = [Finding::new("store", Grade::Ok, "fine"), Finding::new("binance", Grade::Failed, "down")];
        assert_eq!(table(&findings, false), "store    ok       fine\nbinance  failed   down\n");
        let value: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
        assert_eq!((&value["grade"], &value["findings"][1]["check"]), (&"failed".into(), &"binance".into()));
    }

    #[test]
    fn reports_who_can_make_changes_without_key() {
        for (toml, grade, part) in [
            ("", Grade::Ok, "without a key, because the service listens on loopback"),
            ("[auth]\nopen_on_loopback = true", Grade::Ok, "without a key: `auth.open_on_loopback = true`"),
            ("[auth]\nopen_on_loopback = false", Grade::Ok, "`auth.open_on_loopback = false`"),
            ("[server]\ntrusted_proxies = [\"127.0.0.1\"]", Grade::Ok, "names a proxy"),
            (
                "[auth]\nopen_on_loopback = true\n[server]\ntrusted_proxies = [\"127.0.0.1\"]",
                Grade::Warning,
                "look like requests from this machine",
            ),
            ("[server]\nlisten = \"0.0.0.0:8000\"", Grade::Ok, "need a key"),
        ] {
            let found = check_access(&Config::from_toml(toml).unwrap());
            assert_eq!(found.grade, grade, "{toml}");
            assert!(found.detail.contains(part), "{toml} -> {}", found.detail);
        }
    }
}
