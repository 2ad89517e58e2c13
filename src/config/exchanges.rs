//! `[exchanges.ID]`: markets and origins per exchange.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::model::{ExchangeId, Symbol};

/// An `[exchanges.ID]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
    /// Markets that are always collected.
    #[serde(default, deserialize_with = "symbols")]
    pub symbols: Vec<Symbol>,
    /// REST origins, tried in order, instead of the exchange's default.
    #[serde(default, deserialize_with = "one_or_many")]
    pub rest_url: Vec<String>,
    /// WebSocket origins, tried in order, instead of the exchange's default.
    #[serde(default, deserialize_with = "one_or_many")]
    pub ws_url: Vec<String>,
}

const fn enabled_by_default() -> bool {
    true
}

/// Validates the origins. Returns the enabled exchanges.
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
                        "`exchanges.{name}.{key}`: `{url}` is not an origin; use {}HOST[:PORT] without a path",
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

/// Accepts a list, or a string with comma-separated values for environment variables.
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
        let symbol = text
            .parse()
            .map_err(|error| serde::de::Error::custom(format_args!("`{text}` is not a symbol: {error}")))?;
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    Ok(symbols)
}
