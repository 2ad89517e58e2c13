//! `[store]` and `[cache]`: the URL picks the backend.

use std::fmt;

use serde::Deserialize;

/// Where closed candles are kept.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    url: String,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: StoreUrl,
}

/// A store's URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreUrl {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// `sqlite://PATH`
    Sqlite(String),
}

/// What replicas share.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    url: String,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: CacheUrl,
}

/// A cache's URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheUrl {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// `memory://`
    Memory,
}

impl StoreConfig {
    pub(super) fn check(mut self) -> Result<Self, String> {
        match self.url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => {
                self.parsed = StoreUrl::Sqlite(self.url.clone());
                Ok(self)
            }
            _ => Err(format!(
                "`store.url` is written sqlite://PATH, not {}; where the host sets DATABASE_URL to another store, \
                 CANDLEWICK__STORE__URL comes before it",
                without_secret(&self.url)
            )),
        }
    }
}

impl CacheConfig {
    pub(super) fn check(mut self) -> Result<Self, String> {
        if matches!(self.url.as_str(), "memory:" | "memory://") {
            self.parsed = CacheUrl::Memory;
            return Ok(self);
        }
        Err(format!(
            "`cache.url` is written memory://, not {}; where the host sets REDIS_URL, CANDLEWICK__CACHE__URL comes before it",
            without_secret(&self.url)
        ))
    }
}

/// A URL without the password that it may carry.
fn without_secret(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreConfig").field(&without_secret(&self.url)).finish()
    }
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CacheConfig").field(&without_secret(&self.url)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_secret("postgres://me:secret@db:5432/x"), "postgres://…@db:5432/x");
        let config = StoreConfig { url: "postgres://me:secret@db/x".to_owned(), parsed: StoreUrl::Unchecked };
        assert!(!format!("{config:?}").contains("secret") && !config.check().unwrap_err().contains("secret"));
    }
}
