//! `candlewick doctor`: looks at everything that a service needs, and says what is wrong and what to do about it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::app;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, DataMode};
use crate::model::ExchangeId;
use crate::store::StoreError;
use crate::upstream::{RestClient, UpstreamError};

/// A clock that is wrong by so much should be set.
const DRIFT: Duration = Duration::from_secs(2);

/// How often an exchange is asked what time it is.
const MEASUREMENTS: usize = 2;

/// How long one thing may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// How something is. The worst one is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    /// It works, and something should be done.
    Warning,
    /// It does not work.
    Failed,
}

/// What was looked at.
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

/// Looks at everything. The exit code is 0, 1 where something should be done, and 2 where something does not work.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let findings = match Config::load(args.config) {
        Ok(config) => runtime.block_on(examine(&config)),
        Err(error) => vec![configuration(Err(&error))],
    };
    let out = std::io::stdout();
    let colours = out.is_terminal();
    let text = if args.json { json(&findings)? } else { table(&findings, colours) };
    out.lock().write_all(text.as_bytes())?;
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
    Ok(ExitCode::from(worst as u8))
}

async fn examine(config: &Config) -> Vec<Finding> {
    let clock = Clock::system();
    let (store, cache, exchanges) =
        tokio::join!(store(config, &clock), cache(config, &clock), exchanges(config, &clock));
    let mut findings = vec![configuration(Ok(config)), access(config), store, cache];
    findings.extend(exchanges);
    findings
}

fn configuration(config: Result<&Config, &ConfigError>) -> Finding {
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
                    "{detail}; whoever reaches it may read: `auth.required = true` asks for keys, and TLS is a proxy's"
                );
                Finding::new("configuration", Grade::Warning, detail)
            }
        }
        Err(error) => Finding::new("configuration", Grade::Failed, error.to_string()),
    }
}

/// Says which rule applies to changes over HTTP.
fn access(config: &Config) -> Finding {
    let set = config.auth.open_on_loopback;
    let detail = match (config.auth.opens_on_loopback(&config.server), set) {
        (true, None) => {
            "requests of this machine change without a key, since it listens on loopback and trusts no proxy; where a proxy on \
             this machine passes requests on, set `auth.open_on_loopback = false`"
        }
        (true, Some(_)) if !config.server.trusted_proxies.is_empty() => {
            let detail = "requests of this machine change without a key: `auth.open_on_loopback = true`, although \
                          `server.trusted_proxies` names a proxy; one that does not say whom it speaks for looks like this machine";
            return Finding::new("access", Grade::Warning, detail);
        }
        (true, Some(_)) => "requests of this machine change without a key: `auth.open_on_loopback = true`",
        (false, Some(_)) => "changing needs a key with the scope `admin`: `auth.open_on_loopback = false`",
        (false, None) if config.server.listen.ip().is_loopback() => {
            "changing needs a key with the scope `admin`, since `server.trusted_proxies` names a proxy"
        }
        (false, None) => "changing needs a key with the scope `admin`, since it does not listen on loopback alone",
    };
    Finding::new("access", Grade::Ok, detail)
}

/// Opens the store as a start does, and asks it something.
async fn store(config: &Config, clock: &Clock) -> Finding {
    // A database's driver is large.
    let asked = Box::pin(async {
        let (store, kind) = app::open_store(config).await?;
        let begun = clock.elapsed();
        let keys = store.keys().await;
        let took = clock.elapsed().saturating_sub(begun);
        store.close().await;
        let good = keys?.iter().filter(|key| key.is_valid(clock.now())).count();
        Ok::<_, StoreError>((format!("{kind} answers in {} ms; {good} API keys", took.as_millis()), good))
    });
    match clock.timeout(4 * PATIENCE, asked).await {
        Ok(Ok((detail, 0))) if config.auth.required => {
            let detail = format!("{detail}: nobody can read; make one with `candlewick keys create`");
            Finding::new("store", Grade::Warning, detail)
        }
        Ok(Ok((detail, _))) => Finding::new("store", Grade::Ok, detail),
        Ok(Err(error)) => Finding::new("store", Grade::Failed, error.to_string()),
        Err(_) => Finding::new("store", Grade::Failed, "it does not answer"),
    }
}

async fn cache(config: &Config, clock: &Clock) -> Finding {
    let asked = async {
        let (cache, kind) = app::open_cache(config, clock).await?;
        let begun = clock.elapsed();
        cache.demand.wanted(ExchangeId::ALL[0]).await?;
        Ok::<_, crate::cache::CacheError>((kind, clock.elapsed().saturating_sub(begun)))
    };
    match clock.timeout(PATIENCE, asked).await {
        Ok(Ok((kind, took))) => Finding::new("cache", Grade::Ok, format!("{kind} answers in {} ms", took.as_millis())),
        Ok(Err(error)) => Finding::new("cache", Grade::Failed, error.to_string()),
        Err(_) => Finding::new("cache", Grade::Failed, "it does not answer; see that Redis runs at `cache.url`"),
    }
}

async fn exchanges(config: &Config, clock: &Clock) -> Vec<Finding> {
    let clients = app::rest_clients(config, clock);
    if config.data == DataMode::Simulated {
        let simulated = |exchange: ExchangeId| Finding::new(exchange.as_str(), Grade::Ok, "simulated: it is not asked");
        return clients.into_iter().map(|(exchange, _)| simulated(exchange)).collect();
    }
    let found = clients.into_iter().map(|(exchange, client)| look(exchange, client, clock));
    let mut found: Vec<Finding> = join_all(found).await;
    for dark in found.iter_mut().filter(|dark| config.data == DataMode::Auto && dark.grade == Grade::Failed) {
        dark.grade = Grade::Warning;
        dark.detail = format!("it would be simulated, with `data = \"auto\"`: {}", dark.detail);
    }
    found
}

/// Asks an exchange for its cheapest answer, and what time it is there.
async fn look(exchange: ExchangeId, client: Result<Arc<RestClient>, UpstreamError>, clock: &Clock) -> Finding {
    let name = exchange.as_str();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Finding::new(name, Grade::Failed, error.to_string()),
    };
    let begun = clock.elapsed();
    match clock.timeout(PATIENCE, client.probe()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Finding::new(name, Grade::Failed, error.to_string()),
        Err(_) => return Finding::new(name, Grade::Failed, format!("no answer within {} s", PATIENCE.as_secs())),
    }
    let took = clock.elapsed().saturating_sub(begun);
    for _ in 0..MEASUREMENTS {
        // Where it does not say, its clock stays unknown.
        let _ = clock.timeout(PATIENCE, client.measure_clock()).await;
    }
    let budgets = client.budgets();
    let limits = budgets
        .iter()
        .map(|budget| format!("{} {} of {} in {} s", budget.scope, budget.used, budget.limit, budget.window.as_secs()));
    let limits = limits.collect::<Vec<_>>().join(", ");
    let detail = format!("answers in {} ms; budget used: {limits}", took.as_millis());
    let offset = client.exchange_clock().offset();
    if !offset.known {
        let detail = format!("what time it is there is not known: candles close only by its streams; {detail}");
        return Finding::new(name, Grade::Warning, detail);
    }
    let seconds = |millis: u64| format!("{}.{:03} s", millis / 1_000, millis % 1_000);
    let (by, doubt) = (seconds(offset.offset_ms.unsigned_abs()), seconds(offset.doubt_ms.unsigned_abs()));
    let way = if offset.offset_ms > 0 { "behind" } else { "ahead of" };
    let detail = format!("this machine's clock is {by} {way} the exchange's (give or take {doubt}); {detail}");
    if offset.offset_ms.unsigned_abs().saturating_sub(offset.doubt_ms.unsigned_abs()) >= whole_millis(DRIFT) {
        let advice = "candles close by the exchange's clock all the same; set this machine's (NTP)";
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
    fn the_table_is_for_people_and_json_for_machines() {
        let findings = [Finding::new("store", Grade::Ok, "fine"), Finding::new("binance", Grade::Failed, "dark")];
        assert_eq!(table(&findings, false), "store    ok       fine\nbinance  failed   dark\n");
        let told: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
        assert_eq!((&told["grade"], &told["findings"][1]["check"]), (&"failed".into(), &"binance".into()));
    }

    #[test]
    fn it_is_said_who_may_change_without_a_key() {
        for (toml, grade, part) in [
            ("", Grade::Ok, "without a key, since it listens on loopback"),
            ("[auth]\nopen_on_loopback = true", Grade::Ok, "without a key: `auth.open_on_loopback = true`"),
            ("[auth]\nopen_on_loopback = false", Grade::Ok, "`auth.open_on_loopback = false`"),
            ("[server]\ntrusted_proxies = [\"127.0.0.1\"]", Grade::Ok, "names a proxy"),
            (
                "[auth]\nopen_on_loopback = true\n[server]\ntrusted_proxies = [\"127.0.0.1\"]",
                Grade::Warning,
                "looks like this machine",
            ),
            ("[server]\nlisten = \"0.0.0.0:8000\"", Grade::Ok, "needs a key"),
        ] {
            let found = access(&Config::from_toml(toml).unwrap());
            assert_eq!(found.grade, grade, "{toml}");
            assert!(found.detail.contains(part), "{toml} -> {}", found.detail);
        }
    }
}
