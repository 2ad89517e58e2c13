//! Failover: connections that cannot write any more are closed, and new ones go to the primary.
//!
//! A server that was a primary may stay reachable and answer read-only (SQLSTATE 25006), and it answers a ping as before. So
//! each connection is asked `SHOW transaction_read_only`, which is `on` on a standby and wherever
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

/// A connection that was idle for so long is tested before it is used.
const IDLE: Duration = Duration::from_secs(5);

/// A connection that does not answer within this time is dropped.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How often the primary is checked where the URL names several hosts.
const CHECK: Duration = Duration::from_secs(1);

/// The state that the connections of a pool share.
#[derive(Clone)]
pub(super) struct Renewal(Arc<Inner>);

struct Inner {
    place: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Connections that were opened before this time are closed instead of used.
    renew_before: Option<Duration>,
    /// The server answered read-only last.
    read_only: bool,
}

impl Renewal {
    pub fn new(place: &str) -> Self {
        let inner = Inner { place: place.to_owned(), clock: Clock::system(), state: Mutex::default() };
        Self(Arc::new(inner))
    }

    /// Whether an idle connection may be used. An error makes the pool drop it at once.
    pub async fn may_use(
        &self,
        connection: &mut PgConnection,
        seen: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        if self.is_outdated(seen.age) {
            return Ok(false);
        }
        if seen.idle_for <= IDLE {
            return Ok(true);
        }
        let checked = self.check(connection).await;
        if checked.is_err() {
            // The others were opened before the server went away, too.
            self.renew();
        }
        checked
    }

    /// Whether a connection goes back to the pool. An error makes the pool drop it at once.
    pub async fn may_keep(
        &self,
        connection: &mut PgConnection,
        seen: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        let checked = self.check(connection).await;
        // One that is still busy with what its user gave up says nothing of the others.
        if checked.as_ref().is_err_and(|error| !matches!(error, sqlx::Error::PoolTimedOut)) {
            self.renew();
        }
        Ok(checked? && !self.is_outdated(seen.age))
    }

    /// Closes every connection that is open now before its next use.
    pub fn renew(&self) {
        self.0.state.lock().renew_before = Some(self.0.clock.elapsed());
    }

    fn is_outdated(&self, age: Duration) -> bool {
        let opened = self.0.clock.elapsed().saturating_sub(age);
        self.0.state.lock().renew_before.is_some_and(|before| opened < before)
    }

    /// Whether a connection still carries something and can write.
    async fn check(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let writable = is_writable(connection).await?;
        let was_read_only = std::mem::replace(&mut self.0.state.lock().read_only, !writable);
        if !writable {
            self.renew();
        }
        match (was_read_only, writable) {
            (false, false) => StoreReadOnly { place: &self.0.place }.emit(),
            (true, true) => StoreWritable { place: &self.0.place }.emit(),
            _ => {}
        }
        Ok(writable)
    }
}

/// Asks the server whether a transaction that begins now may write.
pub(super) async fn is_writable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = raw_sql("SHOW transaction_read_only").fetch_one(connection);
    match Clock::system().timeout(ANSWERS_WITHIN, asked).await {
        Ok(answered) => Ok(answered?.try_get::<String, _>(0)? == "off"),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// The hosts of a URL, each with all other settings: `postgres://USER:PASSWORD@HOST1:PORT1,HOST2:PORT2/NAME`, the form of libpq:
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS>. `target_session_attrs` is left out:
/// only a server that can write is used, whatever it says.
pub(super) fn hosts(url: &str) -> Result<Vec<PgConnectOptions>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let at = if authority.contains('@') { "@" } else { "" };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("target_session_attrs=")).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    let query = kept.join("&");
    let one = |host: &str| {
        let url = format!("{scheme}://{user}{at}{host}{path}{mark}{query}");
        url.parse::<PgConnectOptions>().map_err(|error| error.to_string())
    };
    hosts.split(',').map(one).collect()
}

/// Looks each second whether the pool reaches a server that can write, and turns it to the host that can where the one in
/// use cannot. For a URL with several hosts; ends with the future's owner or the pool.
pub(super) async fn follow_primary(pool: PgPool, hosts: Vec<PgConnectOptions>, first: usize, renewal: Renewal) {
    let clock = Clock::system();
    let mut current = first;
    loop {
        tokio::select! {
            () = clock.sleep(CHECK) => {}
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
                tracing::info!(host = host.get_host(), port = host.get_port(), "PostgreSQL has another primary");
                current = candidate;
                pool.set_connect_options(host.clone());
                renewal.renew();
            }
            break;
        }
    }
}

/// Whether a connection of the pool can write. Where all are in use it is not known, and taken for no: then the host in use
/// is asked apart.
async fn can_write(pool: &PgPool) -> bool {
    let asked = async { is_writable(&mut *pool.acquire().await?).await };
    matches!(Clock::system().timeout(ANSWERS_WITHIN, asked).await, Ok(Ok(true)))
}

/// Whether a host takes connections that can write.
async fn is_primary(host: &PgConnectOptions) -> bool {
    let asked = async { is_writable(&mut host.connect().await?).await };
    matches!(Clock::system().timeout(ANSWERS_WITHIN, asked).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_name_several_hosts() {
        let url = "postgres://me:p%40ss@one:5433,two,[::1]:5434/prices?target_session_attrs=read-write&sslmode=disable";
        let hosts = hosts(url).unwrap();
        let seen: Vec<_> = hosts.iter().map(|host| (host.get_host().to_owned(), host.get_port())).collect();
        let wanted = [("one", 5433), ("two", 5432), ("[::1]", 5434)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(seen, wanted);
        for host in &hosts {
            assert_eq!((host.get_username(), host.get_database()), ("me", Some("prices")));
            assert_eq!(host.to_url_lossy().password(), Some("p%40ss"));
        }
    }

    #[test]
    fn a_url_with_one_host_stays_as_it_is() {
        for url in ["postgres://db/prices", "postgresql://me@db:5433/prices?sslmode=require", "postgres://me:x@db"] {
            let hosts = hosts(url).unwrap();
            let same: PgConnectOptions = url.parse().unwrap();
            assert_eq!(hosts.len(), 1, "{url}");
            assert_eq!(hosts[0].to_url_lossy(), same.to_url_lossy(), "{url}");
        }
        assert!(hosts("postgres://one:x,two/prices").is_err(), "a port is a number");
    }
}
