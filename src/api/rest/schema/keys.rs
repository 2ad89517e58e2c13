//! The bodies of operations on API keys.

use poem_openapi::Object;
use serde::Serialize;

use crate::market;
use crate::market::InvalidParameter;
use crate::model::{ApiKey, KeyScope, Timestamp};

/// An API key to create.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewKey {
    /// What the key is for, at most 100 characters.
    #[oai(validator(min_length = 1))]
    pub name: String,
    /// `read`, `stream` and `admin`, which includes the others. Default: `read` and `stream`.
    pub scopes: Option<Vec<String>>,
    /// Rate limit of the key, in cost units per minute. Default: `limits.per_minute` of the configuration.
    pub per_minute: Option<u32>,
    /// Days until the key expires. Default: never.
    pub expires_in_days: Option<u32>,
}

/// An API key, without its text.
#[derive(Debug, Object, Serialize)]
pub struct Key {
    /// The public part of the key: the eight characters after `cw_`.
    id: String,
    /// What the key is for.
    name: String,
    /// `read`, `stream` or `admin`.
    scopes: Vec<String>,
    /// `valid`, `expired` or `revoked`.
    state: String,
    /// Rate limit of the key, in cost units per minute; null for the limit of the configuration.
    per_minute: Option<u32>,
    /// Time of creation, in Unix milliseconds.
    created_at: i64,
    /// Time from which on the key is invalid, in Unix milliseconds.
    expires_at: Option<i64>,
    /// Time of the revocation, in Unix milliseconds.
    revoked_at: Option<i64>,
}

/// The API keys.
#[derive(Debug, Object, Serialize)]
pub struct Keys {
    pub keys: Vec<Key>,
}

/// A created API key.
#[derive(Debug, Object, Serialize)]
pub struct CreatedKey {
    /// The key that clients send. It is shown only here.
    text: String,
    key: Key,
}

impl NewKey {
    /// Parses the scopes.
    ///
    /// # Errors
    /// If a scope is unknown.
    pub fn parse(&self) -> Result<market::NewKey, Vec<InvalidParameter>> {
        let scopes = match &self.scopes {
            None => Ok(vec![KeyScope::Read, KeyScope::Stream]),
            Some(names) => names.iter().map(|name| name.parse::<KeyScope>()).collect(),
        };
        let scopes = scopes.map_err(|error| {
            vec![InvalidParameter { parameter: "scopes", detail: format!("`scopes` has an unknown scope: {error}") }]
        })?;
        Ok(market::NewKey {
            name: self.name.clone(),
            scopes,
            per_minute: self.per_minute,
            expires_in_days: self.expires_in_days,
        })
    }
}

impl Key {
    pub fn new(key: &ApiKey, now: Timestamp) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            state: key.state(now).to_owned(),
            per_minute: key.per_minute,
            created_at: key.created_at.millis(),
            expires_at: key.expires_at.map(Timestamp::millis),
            revoked_at: key.revoked_at.map(Timestamp::millis),
        }
    }
}

impl CreatedKey {
    pub fn new(key: &ApiKey, text: String, now: Timestamp) -> Self {
        Self { text, key: Key::new(key, now) }
    }
}
