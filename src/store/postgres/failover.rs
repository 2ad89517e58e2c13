//! Failover: closes connections that cannot write any more and connects to the new primary.
//!
//! A demoted primary may stay reachable. It still answers a ping, but rejects writes (SQLSTATE 25006). Each connection
//! is therefore checked with `SHOW transaction_read_only`, which is `on` on a standby and where
//! `default_transaction_read_only` is set: <https://www.postgresql.org/docs/current/runtime-config-client.html>,
//! <https://www.postgresql.org/docs/current/hot-standby.html>.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool, Row, raw_sql};

use crate::clock::Clock;
use crate::telemetry::store::{StoreReadOnly, StoreWritable};

/// A connection that was idle for longer than this is tested before use.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);

/// A connection that does not answer a check within this time is dropped.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval of checks of the primary if the URL names several hosts.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// State that all connections of a pool share.
#[derive(Clone)]
pub(super) struct Failover(Arc<Inner>);

struct Inner {
    address: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Connections opened before this time, by the clock's `elapsed`, are closed instead of used.
    expired_before: Option<Duration>,
    /// Whether the server was read-only at the latest check.
    read_only: bool,
}

impl Failover {
    pub fn new(address: &str) -> Self {
        let inner = Inner { address: address.to_owned(), clock: Clock::system(), state: Mutex::default() };
        Self(Arc::new(inner))
    }

    /// Whether the pool may hand out an idle connection. On an error the pool drops the connection at once.
    pub async fn is_usable(
        &self,
        connection: &mut PgConnection,
        metadata: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        if self.is_expired(metadata.age) {
            return Ok(false);
        }
        if metadata.idle_for <= TEST_AFTER_IDLE {
            return Ok(true);
        }
        let writable = self.check(connection).await;
        if writable.is_err() {
            // The other connections were opened before the server failed, too.
            self.expire_connections();
        }
        writable
    }

    /// Whether a released connection goes back to the pool. On an error the pool drops the connection at once.
    pub async fn is_reusable(
        &self,
        connection: &mut PgConnection,
        metadata: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        let writable = self.check(connection).await;
        // A timeout may come from a cancelled statement that still runs on this connection; it does not affect the
        // others.
        if writable.as_ref().is_err_and(|error| !matches!(error, sqlx::Error::PoolTimedOut)) {
            self.expire_connections();
        }
        Ok(writable? && !self.is_expired(metadata.age))
    }

    /// Marks all open connections for closing before their next use.
    pub fn expire_connections(&self) {
        self.0.state.lock().expired_before = Some(self.0.clock.elapsed());
    }

    fn is_expired(&self, age: Duration) -> bool {
        let opened = self.0.clock.elapsed().saturating_sub(age);
        self.0.state.lock().expired_before.is_some_and(|before| opened < before)
    }

    /// Checks that a connection works, and whether it can write. Reports a change.
    async fn check(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let writable = is_writable(connection).await?;
        let was_read_only = std::mem::replace(&mut self.0.state.lock().read_only, !writable);
        if !writable {
            self.expire_connections();
        }
        match (was_read_only, writable) {
            (false, false) => StoreReadOnly { server: &self.0.address }.emit(),
            (true, true) => StoreWritable { server: &self.0.address }.emit(),
            _ => {}
        }
        Ok(writable)
    }
}

/// Queries whether a new transaction on this connection may write.
pub(super) async fn is_writable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let query = raw_sql("SHOW transaction_read_only").fetch_one(connection);
    match Clock::system().timeout(CHECK_TIMEOUT, query).await {
        Ok(row) => Ok(row?.try_get::<String, _>(0)? == "off"),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Parses a URL with several hosts into one set of options per host:
/// `postgres://USER:PASSWORD@HOST1:PORT1,HOST2:PORT2/NAME`, as libpq does:
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS>. `target_session_attrs` is
/// ignored: only a host that accepts writes is used in any case.
pub(super) fn hosts(url: &str) -> Result<Vec<PgConnectOptions>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let at = if authority.contains('@') { "@" } else { "" };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let pairs: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("target_session_attrs=")).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    let query = pairs.join("&");
    let parse_host = |host: &str| {
        let url = format!("{scheme}://{user}{at}{host}{path}{mark}{query}");
        url.parse::<PgConnectOptions>().map_err(|error| error.to_string())
    };
    hosts.split(',').map(parse_host).collect()
}

/// Checks every second whether the pool reaches a server that accepts writes. If not, points the pool to the host that
/// does. For a URL with several hosts. Ends when the future is dropped or the pool is closed.
pub(super) async fn follow_primary(pool: PgPool, hosts: Vec<PgConnectOptions>, first: usize, failover: Failover) {
    let clock = Clock::system();
    let mut current = first;
    loop {
        tokio::select! {
            () = clock.sleep(CHECK_INTERVAL) => {}
            () = pool.close_event() => return,
        }
        if can_write(&pool).await {
            continue;
        }
        for offset in 0..hosts.len() {
            let candidate = (current + offset) % hosts.len();
            let Some(host) = hosts.get(candidate) else { continue };
            if !is_primary(host).await {
                continue;
            }
            if candidate != current {
                tracing::info!(
                    host = host.get_host(),
                    port = host.get_port(),
                    "switched to another PostgreSQL primary"
                );
                current = candidate;
                pool.set_connect_options(host.clone());
                failover.expire_connections();
            }
            break;
        }
    }
}

/// Whether a connection of the pool can write. `false` also if all connections are in use: the caller then checks the
/// current host over a separate connection.
async fn can_write(pool: &PgPool) -> bool {
    let check = async { is_writable(&mut *pool.acquire().await?).await };
    matches!(Clock::system().timeout(CHECK_TIMEOUT, check).await, Ok(Ok(true)))
}

/// Whether a host accepts writes.
async fn is_primary(host: &PgConnectOptions) -> bool {
    let check = async { is_writable(&mut host.connect().await?).await };
    matches!(Clock::system().timeout(CHECK_TIMEOUT, check).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_url_with_several_hosts() {
        let url = "postgres://me:p%40ss@one:5433,two,[::1]:5434/prices?target_session_attrs=read-write&sslmode=disable";
        let hosts = hosts(url).unwrap();
        let addresses: Vec<_> = hosts.iter().map(|host| (host.get_host().to_owned(), host.get_port())).collect();
        let expected = [("one", 5433), ("two", 5432), ("[::1]", 5434)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(addresses, expected);
        for host in &hosts {
            assert_eq!((host.get_username(), host.get_database()), ("me", Some("prices")));
            assert_eq!(host.to_url_lossy().password(), Some("p%40ss"));
        }
    }

    #[test]
    fn url_with_one_host_is_unchanged() {
        for url in ["postgres://db/prices", "postgresql://me@db:5433/prices?sslmode=require", "postgres://me:x@db"] {
            let hosts = hosts(url).unwrap();
            let expected: PgConnectOptions = url.parse().unwrap();
            assert_eq!(hosts.len(), 1, "{url}");
            assert_eq!(hosts[0].to_url_lossy(), expected.to_url_lossy(), "{url}");
        }
        assert!(hosts("postgres://one:x,two/prices").is_err(), "a port is a number");
    }
}
