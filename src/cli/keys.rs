//! `candlewick keys`: creates, lists and revokes API keys.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::app;
use crate::clock::Clock;
use crate::config::{Config, MAX_PER_MINUTE};
use crate::model::{ApiKey, KeyScope, Timestamp};
use crate::store::KeyStore;

/// Maximum number of valid keys.
const MAX_KEYS: usize = 10_000;

/// Maximum number of ids to try for a new key. An id has 32 random bits.
const MAX_ID_ATTEMPTS: usize = 10;

/// Maximum length of a key's name in characters.
const MAX_NAME: usize = 100;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key and print it once; only its hash is stored
    Create {
        /// Name that says what the key is for, such as "grid bot"
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Scopes, separated by commas: read, stream, admin (includes the others)
        #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "read,stream")]
        scopes: Vec<KeyScope>,
        /// Rate-limit cost allowed per minute [default: the service's `limits.per_minute`]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PER_MINUTE)))]
        per_minute: Option<u32>,
        /// Days until the key expires [default: never]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; running services apply this within seconds
    Revoke {
        /// Key id as shown by `keys list`: the eight characters after `cw_`
        id: String,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    super::process::runtime()?.block_on(async {
        let (store, _) = app::open_store(&config).await?;
        let done = execute(args.action, &*store, &Clock::system()).await;
        store.close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}

async fn execute(action: Action, store: &dyn KeyStore, clock: &Clock) -> anyhow::Result<()> {
    match action {
        Action::Create { name, scopes, per_minute, expires_in_days, json } => {
            let name = name.trim();
            if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
                bail!("a key's name must have 1 to {MAX_NAME} characters and no control characters");
            }
            let now = clock.now();
            if store.keys().await?.iter().filter(|key| key.is_valid(now)).count() >= MAX_KEYS {
                bail!("there are already {MAX_KEYS} valid keys: revoke some first");
            }
            let expires_at = expires_in_days.map(|days| now + Duration::from_hours(24) * days);
            let generate = || {
                let (key, text) = ApiKey::generate(name, &scopes, now, || clock.random_u64());
                (ApiKey { per_minute, expires_at, ..key }, text)
            };
            let (key, text) = insert_with_new_id(store, generate).await?;
            if json {
                let mut output = key_json(&key, now);
                output["key"] = text.into();
                println!("{output:#}");
            } else {
                let expiry = key.expires_at.map_or_else(String::new, |at| format!(", expires {at}"));
                eprintln!("key {} for \"{name}\", scopes {}{expiry}; it is shown only once:", key.id, scope_list(&key));
                println!("{text}");
            }
        }
        Action::List { json } => {
            let (keys, now) = (store.keys().await?, clock.now());
            if json {
                println!("{:#}", keys.iter().map(|key| key_json(key, now)).collect::<Value>());
            } else {
                print!("{}", table(&keys, now));
            }
        }
        Action::Revoke { id } => {
            let id = id.strip_prefix("cw_").unwrap_or(&id);
            let id = id.split('_').next().unwrap_or_default();
            let Some(key) = store.keys().await?.into_iter().find(|key| key.id == id) else {
                bail!("there is no key `{id}`; list the keys with `candlewick keys list`");
            };
            store.revoke_key(id, clock.now()).await?;
            eprintln!("key {} for \"{}\" is revoked", key.id, key.name);
        }
    }
    Ok(())
}

/// Stores a generated key. Generates another one if a key with its id exists.
async fn insert_with_new_id(
    store: &dyn KeyStore,
    mut generate: impl FnMut() -> (ApiKey, String),
) -> anyhow::Result<(ApiKey, String)> {
    for _ in 0..MAX_ID_ATTEMPTS {
        let (key, text) = generate();
        if store.insert_key(&key).await? {
            return Ok((key, text));
        }
    }
    bail!("no key was created: {MAX_ID_ATTEMPTS} random ids belong to other keys; run the command again")
}

fn scope_list(key: &ApiKey) -> String {
    key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn key_state(key: &ApiKey, now: Timestamp) -> &'static str {
    match key.revoked_at {
        Some(_) => "revoked",
        None if key.is_valid(now) => "valid",
        None => "expired",
    }
}

fn key_json(key: &ApiKey, now: Timestamp) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "state": key_state(key, now),
        "per_minute": key.per_minute,
        "created_at": key.created_at.millis(),
        "expires_at": key.expires_at.map(Timestamp::millis),
        "revoked_at": key.revoked_at.map(Timestamp::millis),
    })
}

fn table(keys: &[ApiKey], now: Timestamp) -> String {
    if keys.is_empty() {
        return "there are no keys; create one with `candlewick keys create --name NAME`\n".to_owned();
    }
    let line = |[id, state, scopes, limit, created, name]: [&str; 6]| {
        format!("{id:<10}{state:<9}{scopes:<20}{limit:<12}{created:<26}{name}\n")
    };
    let header = line(["id", "state", "scopes", "per minute", "created", "name"]);
    let rows = keys.iter().map(|key| {
        let limit = key.per_minute.map_or_else(|| "default".to_owned(), |limit| limit.to_string());
        line([&key.id, key_state(key, now), &scope_list(key), &limit, &key.created_at.to_string(), &key.name])
    });
    std::iter::once(header).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn new_key_does_not_take_id_of_other_key() {
        let store = SqliteStore::in_memory().await.unwrap();
        let at = Timestamp::EPOCH;
        let with_id = |id: u64| ApiKey::generate("bot", &[KeyScope::Read], at, || id << 32);
        let (other, _) = with_id(7);
        assert!(store.insert_key(&other).await.unwrap() && store.revoke_key(&other.id, at).await.unwrap());
        let mut ids = [7, 7, 8].into_iter();
        let (key, _) = insert_with_new_id(&store, || with_id(ids.next().unwrap())).await.unwrap();
        assert_eq!(key.id, "00000008");
        assert!(insert_with_new_id(&store, || with_id(7)).await.is_err(), "the number of attempts is limited");
        let stored = store.keys().await.unwrap();
        assert_eq!(stored, [ApiKey { revoked_at: Some(at), ..other }, key]);
    }

    #[test]
    fn table_lists_keys_without_secret() {
        let (mut key, text) = ApiKey::generate("grid bot", &[KeyScope::Read], Timestamp::EPOCH, || 7 << 32);
        key.per_minute = Some(1_200);
        let output = table(&[key], Timestamp::EPOCH);
        let lines: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["00000007", "valid", "read", "1200", "1970-01-01T00:00:00.000Z", "grid", "bot"]);
        assert!(!output.contains(&text) && table(&[], Timestamp::EPOCH).contains("keys create"));
    }
}
