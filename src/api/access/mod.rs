//! Who may do what, and how much of it: every request passes the [`Gate`] before its operation.
//!
//! A client is known by its key, else by its address. What an operation asks of it stands in [`TERMS`].

mod address;
mod keyring;
mod limits;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use poem::Request;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};
use tokio_util::sync::CancellationToken;

pub use keyring::Keyring;
pub use limits::{Limits, Used};

use super::problem::{Code, Problem};
use crate::clock::Clock;
use crate::market::ClientId;
use crate::model::{ApiKey, KeyScope, TICKET_LASTS, Timestamp};

/// Where a key may stand, besides `Authorization: Bearer`.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Where a browser says whose page sent a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What proxies add to a request, besides `X-Forwarded-…`.
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

/// What a key that opens nothing costs its address: guessing is dear.
const WRONG_KEY_COST: u32 = 10;

/// How often it is looked whether the key of a client that stays is still good.
const KEY_LOOK: Duration = Duration::from_secs(5);

/// What a path that is not there costs.
const UNMATCHED_COST: u32 = 1;

/// What an operation asks of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub access: Access,
    /// How much of the client's limit it takes; nothing is not even counted.
    pub cost: u32,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone, always.
    Open,
    /// Everyone, or who has a key with `read` where reading is closed.
    Read,
    /// The same with `stream`.
    Stream,
    /// Who has a key with `stream`.
    Ticket,
    /// Who has a key with `admin`; everyone on this machine where `auth.open_on_loopback` says so.
    Change,
}

/// The terms of every operation.
pub const TERMS: [(&str, Access, u32); 27] = [
    ("livez", Access::Open, 0),
    ("readyz", Access::Open, 0),
    ("health", Access::Read, 1),
    ("metrics", Access::Read, 1),
    ("openapiJson", Access::Open, 1),
    ("openapiYaml", Access::Open, 1),
    ("asyncapiJson", Access::Open, 1),
    ("docs", Access::Open, 1),
    ("getTicker", Access::Read, 1),
    ("getTickers", Access::Read, 2),
    ("keptTicker", Access::Read, 1),
    ("keptMarketTicker", Access::Read, 1),
    ("getHistory", Access::Read, 2),
    ("keptHistory", Access::Read, 2),
    ("keptMarketHistory", Access::Read, 2),
    ("listExchanges", Access::Read, 1),
    ("getExchange", Access::Read, 1),
    ("listInstruments", Access::Read, 2),
    ("getCoverage", Access::Read, 2),
    ("beginBackfill", Access::Change, 10),
    ("listBackfills", Access::Read, 2),
    ("getBackfill", Access::Read, 1),
    ("makeTicket", Access::Ticket, 1),
    ("stream", Access::Stream, 5),
    ("events", Access::Stream, 5),
    ("wsSubscribe", Access::Stream, 5),
    ("wsRealtime", Access::Stream, 5),
];

impl Terms {
    /// The terms of an operation.
    ///
    /// # Panics
    /// If it has none: every operation has.
    pub fn of(operation: &str) -> Self {
        let found = TERMS.iter().find(|(name, ..)| *name == operation);
        let Some(&(_, access, cost)) = found else { unreachable!("`{operation}` has no terms") };
        Self { access, cost }
    }
}

/// Who asks; a door finds it in the request's data.
#[derive(Clone)]
pub struct Client {
    pub identity: Identity,
    pub key: Option<Arc<ApiKey>>,
}

/// Whose limit it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An address; of IPv6 a network of 64 bits, which is what one customer has.
    Address(IpAddr),
    /// The id of a key.
    Key(String),
}

impl Identity {
    /// By which name replicas know a client.
    fn name(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Key(id) => format!("key:{id}"),
        }
    }
}

impl Client {
    /// Who is charged for what the exchanges are asked because of it.
    pub fn id(&self) -> ClientId {
        ClientId::new(&self.identity.name())
    }

    /// Who made a request that was let in.
    ///
    /// # Panics
    /// If it was not: every operation stands behind the gate.
    pub fn of(request: &Request) -> &Self {
        let Some(client) = request.extensions().get() else { unreachable!("who was let in is a client") };
        client
    }
}

/// Who is let in, and on what word.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Whether reading and listening need a key.
    pub required: bool,
    /// Whether changes need none from this machine: `auth.open_on_loopback`.
    pub open_to_change: bool,
    /// How much a client without a limit of its own may use in a minute; 0 is no limit.
    pub per_minute: u32,
    /// The proxies that are believed when they say whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
}

/// What stands before all operations.
pub struct Gate {
    config: AccessConfig,
    keyring: Arc<Keyring>,
    limits: Arc<Limits>,
    clock: Clock,
    real: Clock,
}

impl Gate {
    pub fn new(config: AccessConfig, keyring: Arc<Keyring>, limits: Arc<Limits>, clock: Clock) -> Self {
        Self { config, keyring, limits, clock, real: Clock::system() }
    }

    /// Lets a request in, or not; says how much of its limit is used either way.
    pub fn admit(&self, request: &Request, terms: Terms) -> (Result<Client, Problem>, Option<Used>) {
        let identity = self.identity(request);
        if terms == (Terms { access: Access::Open, cost: 0 }) {
            return (Ok(Client { identity, key: None }), None);
        }
        // What is open to all is open to who shows an old key, too.
        let shown = if terms.access == Access::Open { Ok(None) } else { self.key(request, terms) };
        let (client, cost) = match &shown {
            Ok(Some(key)) => {
                (Client { identity: Identity::Key(key.id.clone()), key: Some(Arc::clone(key)) }, terms.cost)
            }
            Ok(None) => (Client { identity, key: None }, terms.cost),
            Err(_) => (Client { identity, key: None }, terms.cost.max(WRONG_KEY_COST)),
        };
        let (charged, used) = self.charge(&client, cost);
        let allowed = charged.and(shown).and_then(|key| self.allow(request, key.as_deref(), terms.access));
        (allowed.map(|()| client), used)
    }

    /// Tells a client that stays to leave when its key is good no more.
    pub async fn watch(self: Arc<Self>, key: Arc<ApiKey>, leave: CancellationToken) {
        while leave.run_until_cancelled(self.clock.sleep(KEY_LOOK)).await.is_some() {
            if !self.keyring.has(&key.id, self.clock.now()) {
                leave.cancel();
            }
        }
    }

    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The machine's own time, which the network runs on, also in a time-lapse.
    pub const fn real(&self) -> &Clock {
        &self.real
    }

    /// Charges for a path that is not there.
    pub fn charge_unmatched(&self, identity: Identity) -> (Result<(), Problem>, Option<Used>) {
        self.charge(&Client { identity, key: None }, UNMATCHED_COST)
    }

    /// Whose a connection is: its address', or its own where it comes from a proxy, behind which are many.
    pub fn owner(&self, peer: SocketAddr) -> (IpAddr, u16) {
        let address = peer.ip().to_canonical();
        let is_proxy = self.config.trusted_proxies.iter().any(|proxy| proxy.contains(&address));
        (address::network(address), if is_proxy { peer.port() } else { 0 })
    }

    /// By which address a client is known.
    pub fn identity(&self, request: &Request) -> Identity {
        let peer = request.remote_addr().as_socket_addr().map_or(IpAddr::from([0, 0, 0, 0]), SocketAddr::ip);
        Identity::Address(address::of_client(peer, request.headers(), &self.config.trusted_proxies))
    }

    /// What stands in for a key for [`TICKET_LASTS`], and until when.
    pub fn ticket(&self, key: &ApiKey) -> (String, Timestamp) {
        let until = self.clock.now() + TICKET_LASTS;
        (key.ticket(until, self.clock.random_u64()), until)
    }

    fn charge(&self, client: &Client, cost: u32) -> (Result<(), Problem>, Option<Used>) {
        let own = client.key.as_ref().and_then(|key| key.per_minute);
        let per_minute = own.unwrap_or(self.config.per_minute);
        let used = self.limits.charge(&client.identity, per_minute, cost);
        let refused = used.filter(|used| used.refused_for.is_some());
        (refused.map_or(Ok(()), |used| Err(too_much(client, used))), used)
    }

    /// The key that a request shows, if it shows one.
    fn key(&self, request: &Request, terms: Terms) -> Result<Option<Arc<ApiKey>>, Problem> {
        let now = self.clock.now();
        if let Some(text) = shown(request.headers()) {
            return match self.keyring.find(text, now) {
                Some(key) => Ok(Some(key)),
                None => Err(Problem::wrong_key("this key is not known here, has expired, or was revoked")),
            };
        }
        // Browsers give their sockets no headers.
        let ticket = (terms.access == Access::Stream).then(|| ticket(request.uri())).flatten();
        match ticket.map(|ticket| self.keyring.find_by_ticket(ticket, now)) {
            None => Ok(None),
            Some(Some(key)) => Ok(Some(key)),
            Some(None) => {
                let seconds = TICKET_LASTS.as_secs();
                Err(Problem::wrong_key(format!(
                    "this ticket is not valid: one lasts {seconds} s; get another with `POST /v1/tickets`"
                )))
            }
        }
    }

    fn allow(&self, request: &Request, key: Option<&ApiKey>, access: Access) -> Result<(), Problem> {
        let needed = match access {
            Access::Open => return Ok(()),
            Access::Read | Access::Stream if !self.config.required => return Ok(()),
            Access::Change if self.config.open_to_change && is_from_here(request) => return Ok(()),
            Access::Read => KeyScope::Read,
            Access::Stream | Access::Ticket => KeyScope::Stream,
            Access::Change => KeyScope::Admin,
        };
        match key {
            None => Err(Problem::no_key(format!(
                "this needs a key with the scope `{needed}`, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; who runs \
                 this service makes one with `candlewick keys create`"
            ))),
            Some(key) if key.allows(needed) => Ok(()),
            Some(_) => Err(Problem::lacks_scope(needed)),
        }
    }
}

/// The key in a request's headers. Other schemes than `Bearer` are for a proxy in front.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    // One that is no text is no key either.
    bearer.or_else(|| headers.get(X_API_KEY).map(|value| value.to_str().unwrap_or_default().trim()))
}

/// The ticket in a request's query. None of its characters is ever escaped.
fn ticket(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

/// Whether a request was made on this machine: to a name that only this machine has (a page of another site may reach
/// loopback under its own name), by no page of another site, and not through a proxy, which may speak for anyone.
fn is_from_here(request: &Request) -> bool {
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

/// Whether no page sent a request, or one that this service served itself. Browsers name the page in `Origin` and
/// `Sec-Fetch-Site`, and no page can change either: <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>.
fn is_own_page(headers: &HeaderMap, host: &str) -> bool {
    let own_origin = |origin: &HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    let own_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    headers.get_all(header::ORIGIN).iter().all(own_origin) && headers.get_all(SEC_FETCH_SITE).iter().all(own_site)
}

/// Whether a proxy passed a request on: it says so in a header, or speaks HTTP/1.0, as nginx did by default before 1.29.7:
/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version>.
fn is_proxied(request: &Request) -> bool {
    let told = |name: &HeaderName| name.as_str().starts_with("x-forwarded-") || PROXY_HEADERS.contains(&name.as_str());
    matches!(request.version(), Version::HTTP_09 | Version::HTTP_10) || request.headers().keys().any(told)
}

fn too_much(client: &Client, used: Used) -> Problem {
    let who = match &client.identity {
        Identity::Address(_) => "your address",
        Identity::Key(_) => "your key",
    };
    let detail =
        format!("{who} may use {} in a minute, and has; each answer's `RateLimit` says what is left", used.quota);
    Problem { retry_after: Some(used.refused_for.unwrap_or(Duration::ZERO)), ..Problem::new(Code::RateLimited, detail) }
}

#[cfg(test)]
mod tests;
