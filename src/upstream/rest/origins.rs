//! The REST origins of an exchange: the order in which they are tried, and which of them block this region.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::telemetry::upstream::RegionBlocked;
use crate::upstream::UpstreamError;

/// How long an origin that blocks this region is not used: routes and rules change.
const BLOCKED_FOR: Duration = Duration::from_mins(5);

/// The origins of one exchange.
pub(super) struct Origins {
    exchange: ExchangeId,
    clock: Clock,
    state: Mutex<State>,
}

/// The origins in their configured order, and the index of the one that worked last.
struct State {
    list: Vec<Origin>,
    preferred: usize,
}

struct Origin {
    url: Arc<str>,
    /// Blocks this region: until when (by the clock's `elapsed`), and the HTTP status.
    blocked: Option<(Duration, u16)>,
}

impl Origins {
    pub fn new(exchange: ExchangeId, origins: &[String], clock: Clock) -> Result<Self, UpstreamError> {
        let list = origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(UpstreamError::Setup(format!("{} has no rest_url", exchange.name())));
        }
        Ok(Self { exchange, clock, state: Mutex::new(State { list, preferred: 0 }) })
    }

    /// Whether no origin uses TLS.
    pub fn are_plain(&self) -> bool {
        self.state.lock().list.iter().all(|origin| origin.url.starts_with("http://"))
    }

    /// The origins that are not blocked, with their index, the one that worked last first.
    ///
    /// # Errors
    /// [`UpstreamError::RegionBlocked`] if all are blocked.
    pub fn usable(&self) -> Result<Vec<(usize, Arc<str>)>, UpstreamError> {
        let now = self.clock.elapsed();
        let state = self.state.lock();
        let is_usable = |index: &usize| state.list[*index].blocked.is_none_or(|(until, _)| until <= now);
        let order =
            std::iter::once(state.preferred).chain((0..state.list.len()).filter(|index| *index != state.preferred));
        let usable: Vec<_> = order.filter(is_usable).map(|index| (index, Arc::clone(&state.list[index].url))).collect();
        if usable.is_empty() {
            let status = state.list.iter().find_map(|origin| origin.blocked).map_or(403, |(_, status)| status);
            return Err(UpstreamError::RegionBlocked { exchange: self.exchange, status });
        }
        Ok(usable)
    }

    /// An origin worked: it is tried first from now on.
    pub fn prefer(&self, index: usize) {
        self.state.lock().preferred = index;
    }

    /// Prefers the next origin to the one that is preferred now.
    pub fn prefer_next(&self) {
        let mut state = self.state.lock();
        state.preferred = (state.preferred + 1) % state.list.len();
    }

    /// Prefers another origin than this one, if there is one.
    pub fn avoid(&self, index: usize) {
        let mut state = self.state.lock();
        if state.preferred == index {
            state.preferred = (index + 1) % state.list.len();
        }
    }

    /// Marks an origin as blocked for a while. Several concurrent calls may report the same.
    pub fn block(&self, index: usize, status: u16) {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let origin = &mut state.list[index];
        if origin.blocked.is_none_or(|(until, _)| until <= now) {
            RegionBlocked { exchange: self.exchange, origin: &origin.url, status }.emit();
            origin.blocked = Some((now + BLOCKED_FOR, status));
        }
    }
}

fn parse(text: &str) -> Result<Origin, UpstreamError> {
    let invalid = || {
        UpstreamError::Setup(format!(
            "`{text}` is not an origin: write http:// or https://, a host, an optional port, and no path"
        ))
    };
    let url = reqwest::Url::parse(text).map_err(|_| invalid())?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !is_plain {
        return Err(invalid());
    }
    Ok(Origin { url: text.trim_end_matches('/').into(), blocked: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_with_path_is_rejected() {
        assert_eq!(&*parse("https://api.example.com/").unwrap().url, "https://api.example.com");
        assert_eq!(&*parse("http://127.0.0.1:8001").unwrap().url, "http://127.0.0.1:8001");
        for bad in ["", "api.example.com", "ftp://a", "https://a/b", "https://a?x", "https://u:p@a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
