//! Authentication, authorization and rate limits: every request passes the [`Authorizer`] before its operation runs.
//!
//! A client is identified by its API key, or by its address if it sends no key. [`policy`] defines the scope and the
//! rate-limit cost of each operation.

mod address;
mod client;
mod key_registry;
mod limits;
pub mod policy;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use poem::Request;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};
use tokio_util::sync::CancellationToken;

pub use client::{Client, Identity};
pub use key_registry::KeyRegistry;
pub use limits::{ClientRateLimits, RateLimitStatus};
pub use policy::{Access, AccessPolicy};

use super::problem::{Code, Problem};
use crate::clock::Clock;
use crate::model::{ApiKey, KeyScope, TICKET_TTL, Timestamp};

/// Accepted in addition to `Authorization: Bearer`.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Browsers state here which site's page sent the request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers that proxies add to requests, besides `X-Forwarded-…`.
const PROXY_HEADERS: [&str; 8] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-original-host",
    "x-envoy-external-address",
    "cf-connecting-ip",
    "true-client-ip",
];

/// Cost charged to the address for an invalid key. It is high to slow down guessing.
const INVALID_KEY_COST: u32 = 10;

/// How often the key of an open connection is checked again.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Cost of a request for an unknown path.
const UNMATCHED_COST: u32 = 1;

/// Access configuration.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Whether read and stream operations need a key.
    pub required: bool,
    /// Whether requests from this machine need no key for changes: `auth.open_on_loopback`.
    pub open_on_loopback: bool,
    /// Rate limit in units per minute of clients whose key has no limit of its own; 0 means no limit.
    pub per_minute: u32,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
}

/// Authenticates clients, checks their scopes and charges their rate limits.
pub struct Authorizer {
    config: AccessConfig,
    keys: Arc<KeyRegistry>,
    limits: Arc<ClientRateLimits>,
    clock: Clock,
    system_clock: Clock,
}

impl Authorizer {
    pub fn new(config: AccessConfig, keys: Arc<KeyRegistry>, limits: Arc<ClientRateLimits>, clock: Clock) -> Self {
        Self { config, keys, limits, clock, system_clock: Clock::system() }
    }

    /// Authorizes a request. Also returns the state of the client's rate limit, whatever the result.
    pub fn authorize(
        &self,
        request: &Request,
        policy: AccessPolicy,
    ) -> (Result<Client, Problem>, Option<RateLimitStatus>) {
        let identity = self.identity(request);
        if policy == (AccessPolicy { access: Access::Public, cost: 0 }) {
            return (Ok(Client { identity, key: None }), None);
        }
        // A public operation must also work for a client that sends an expired key.
        let presented = if policy.access == Access::Public { Ok(None) } else { self.presented_key(request, policy) };
        let (client, cost) = match &presented {
            Ok(Some(key)) => {
                (Client { identity: Identity::Key(key.id.clone()), key: Some(Arc::clone(key)) }, policy.cost)
            }
            Ok(None) => (Client { identity, key: None }, policy.cost),
            Err(_) => (Client { identity, key: None }, policy.cost.max(INVALID_KEY_COST)),
        };
        let (charged, usage) = self.charge(&client, cost);
        let allowed = charged.and(presented).and_then(|key| self.check_scope(request, key.as_deref(), policy.access));
        (allowed.map(|()| client), usage)
    }

    /// Cancels `disconnect` when the key of an open connection is no longer valid.
    pub async fn watch_key(self: Arc<Self>, key: Arc<ApiKey>, disconnect: CancellationToken) {
        while disconnect.run_until_cancelled(self.clock.sleep(KEY_CHECK_INTERVAL)).await.is_some() {
            if !self.keys.is_valid(&key.id, self.clock.now()) {
                disconnect.cancel();
            }
        }
    }

    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The system clock. Network timeouts use it even when `clock` runs faster than real time.
    pub const fn system_clock(&self) -> &Clock {
        &self.system_clock
    }

    /// Charges the client for a request for an unknown path.
    pub fn charge_unmatched(&self, identity: Identity) -> (Result<(), Problem>, Option<RateLimitStatus>) {
        self.charge(&Client { identity, key: None }, UNMATCHED_COST)
    }

    /// The key under which connections are counted: the address (of IPv6 the /64). Connections from a trusted proxy
    /// belong to many clients, so each is counted under its own port.
    pub fn connection_key(&self, peer: SocketAddr) -> (IpAddr, u16) {
        let address = peer.ip().to_canonical();
        let is_proxy = self.config.trusted_proxies.iter().any(|proxy| proxy.contains(&address));
        (address::client_network(address), if is_proxy { peer.port() } else { 0 })
    }

    /// The identity of a client without a key: its address.
    pub fn identity(&self, request: &Request) -> Identity {
        let peer = request.remote_addr().as_socket_addr().map_or(IpAddr::from([0, 0, 0, 0]), SocketAddr::ip);
        Identity::Address(address::client_address(peer, request.headers(), &self.config.trusted_proxies))
    }

    /// Creates a ticket that is valid for [`TICKET_TTL`] in place of the key. Returns it with its expiry time.
    pub fn ticket(&self, key: &ApiKey) -> (String, Timestamp) {
        let until = self.clock.now() + TICKET_TTL;
        (key.sign_ticket(until, self.clock.random_u64()), until)
    }

    fn charge(&self, client: &Client, cost: u32) -> (Result<(), Problem>, Option<RateLimitStatus>) {
        let own = client.key.as_ref().and_then(|key| key.per_minute);
        let per_minute = own.unwrap_or(self.config.per_minute);
        let usage = self.limits.charge(&client.identity, per_minute, cost);
        let refused = usage.filter(|usage| usage.retry_after.is_some());
        (refused.map_or(Ok(()), |usage| Err(rate_limited(client, usage))), usage)
    }

    /// Returns the valid key that a request presents, directly or by a ticket. `None` if it presents neither.
    fn presented_key(&self, request: &Request, policy: AccessPolicy) -> Result<Option<Arc<ApiKey>>, Problem> {
        let now = self.clock.now();
        if let Some(text) = key_text(request.headers()) {
            return match self.keys.find_by_key(text, now) {
                Some(key) => Ok(Some(key)),
                None => Err(Problem::invalid_key("this key is unknown, expired or revoked")),
            };
        }
        // Browsers cannot send headers when they open a WebSocket.
        let ticket = (policy.access == Access::Stream).then(|| ticket(request.uri())).flatten();
        match ticket.map(|ticket| self.keys.find_by_ticket(ticket, now)) {
            None => Ok(None),
            Some(Some(key)) => Ok(Some(key)),
            Some(None) => {
                let seconds = TICKET_TTL.as_secs();
                Err(Problem::invalid_key(format!(
                    "this ticket is invalid or older than {seconds} s: get a new one with `POST /v1/tickets`"
                )))
            }
        }
    }

    fn check_scope(&self, request: &Request, key: Option<&ApiKey>, access: Access) -> Result<(), Problem> {
        let needed = match access {
            Access::Public => return Ok(()),
            Access::Read | Access::Stream if !self.config.required => return Ok(()),
            Access::Admin if self.config.open_on_loopback && is_local(request) => return Ok(()),
            Access::Read => KeyScope::Read,
            Access::Stream | Access::Ticket => KeyScope::Stream,
            Access::Admin => KeyScope::Admin,
        };
        match key {
            None => Err(Problem::missing_key(format!(
                "this operation needs a key with the scope `{needed}`: send `Authorization: Bearer KEY` or \
                 `X-API-Key: KEY`; the operator creates keys with `candlewick keys create`"
            ))),
            Some(key) if key.allows(needed) => Ok(()),
            Some(_) => Err(Problem::missing_scope(needed)),
        }
    }
}

/// The key in a request's headers. Other schemes than `Bearer` are ignored: they are meant for a proxy.
fn key_text(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    // A value that is not text counts as an invalid key.
    bearer.or_else(|| headers.get(X_API_KEY).map(|value| value.to_str().unwrap_or_default().trim()))
}

/// The ticket in a request's query. A ticket contains no characters that need percent-encoding.
fn ticket(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

/// Whether a request comes from this machine. Three conditions: the `Host` is a loopback name or address (a page of
/// another site may reach loopback under the site's own name); no page of another site sent the request; no proxy
/// passed it on, since a proxy may act for any client.
fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    is_loopback && is_own_page(headers, host) && !is_proxied(request)
}

/// Whether the request was sent by no page, or by a page of this service. Browsers name the page in `Origin` and
/// `Sec-Fetch-Site`, and pages cannot change either: <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>.
fn is_own_page(headers: &HeaderMap, host: &str) -> bool {
    let own_origin = |origin: &HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    let own_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    headers.get_all(header::ORIGIN).iter().all(own_origin) && headers.get_all(SEC_FETCH_SITE).iter().all(own_site)
}

/// Whether a proxy passed the request on: it added a header, or uses HTTP/1.0, as nginx did by default before 1.29.7:
/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version>.
fn is_proxied(request: &Request) -> bool {
    let is_proxy_header =
        |name: &HeaderName| name.as_str().starts_with("x-forwarded-") || PROXY_HEADERS.contains(&name.as_str());
    matches!(request.version(), Version::HTTP_09 | Version::HTTP_10) || request.headers().keys().any(is_proxy_header)
}

fn rate_limited(client: &Client, usage: RateLimitStatus) -> Problem {
    let subject = match &client.identity {
        Identity::Address(_) => "your address",
        Identity::Key(_) => "your key",
    };
    let detail =
        format!("{subject} reached its limit of {} units per minute; `RateLimit` shows what is left", usage.quota);
    let retry_after = Some(usage.retry_after.unwrap_or(Duration::ZERO));
    Problem { retry_after, ..Problem::new(Code::RateLimited, detail) }
}

#[cfg(test)]
mod tests;
