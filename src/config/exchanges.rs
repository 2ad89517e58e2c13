//! `[exchanges.ID]`: what to collect, and from where.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::model::{ExchangeId, Symbol};

/// What to collect of an exchange, and from where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Collected from start to end.
    #[serde(default, deserialize_with = "symbols")]
    pub symbols: Vec<Symbol>,
    /// REST origins to try in order instead of the exchange's own.
    #[serde(default, deserialize_with = "one_or_many")]
    pub rest_url: Vec<String>,
    /// WebSocket origins to try in order instead of the exchange's own.
    #[serde(default, deserialize_with = "one_or_many")]
    pub ws_url: Vec<String>,
}

const fn yes() -> bool {
    true
}

/// The enabled exchanges, with checked origins.
pub(super) fn check(raw: BTreeMap<String, ExchangeConfig>) -> Result<BTreeMap<ExchangeId, ExchangeConfig>, String> {
    let mut enabled = BTreeMap::new();
    for (name, config) in raw {
        let id: ExchangeId = name.parse().map_err(|error| format!("`exchanges.{name}`: {error}"))?;
        for (key, schemes, urls) in
            [("rest_url", ["https://", "http://"], &config.rest_url), ("ws_url", ["wss://", "ws://"], &config.ws_url)]
        {
            for url in urls {
                let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
                if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', ' '])) {
                    return Err(format!(
                        "`exchanges.{name}.{key}`: `{url}` is no origin; write {}HOST[:PORT], no path",
                        schemes[0]
                    ));
                }
            }
        }
        if config.enabled {
            enabled.insert(id, config);
        }
    }
    if enabled.is_empty() {
        return Err("no exchange is enabled: set `enabled = true` in one of the [exchanges.…] sections".to_owned());
    }
    Ok(enabled)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A list, or one string with commas, as environment variables have it.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => {
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        }
        OneOrMany::Many(list) => list,
    })
}

fn symbols<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Symbol>, D::Error> {
    let mut symbols: Vec<Symbol> = Vec::new();
    for text in one_or_many(deserializer)? {
        let symbol =
            text.parse().map_err(|error| serde::de::Error::custom(format_args!("`{text}` is no symbol: {error}")))?;
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    Ok(symbols)
}
