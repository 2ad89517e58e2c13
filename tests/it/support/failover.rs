//! Pairs of servers for one failover test: installed programs if available, otherwise the same programs in a container.
//! The servers of `TEST_DATABASE_URL` and `TEST_REDIS_URL` are not used, because they have no standby.

use std::io::Write;

use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::servers::{container, free_port, program, run_in_background, wait_for_redis, wait_for_reply};
use super::wait_until;

/// URLs of a PostgreSQL primary and of its standby.
pub struct PostgresPair {
    /// `postgres://postgres@127.0.0.1:PORT/postgres`
    pub primary: String,
    pub standby: String,
}

/// Ports of a Redis master, of its replica and of the sentinels that monitor them.
pub struct RedisPair {
    pub master: u16,
    pub replica: u16,
    pub sentinels: Vec<u16>,
}

/// Prints how the servers are run. Written directly to standard error, which the test runner does not capture.
fn report(what: &str, how: &str) {
    let _ = writeln!(std::io::stderr(), "{what} of this test: {how}");
}

/// Runs a script that starts servers, with the installed programs or in a container.
///
/// # Panics
///
/// If neither is available.
fn start(what: &str, programs: &[&str], script: &str, arguments: &[String], image: container::Kind, ports: &[u16]) {
    candlewick::upstream::install_crypto();
    let with_address = |listen: &str| {
        let mut all = vec![listen.to_owned()];
        all.extend_from_slice(arguments);
        all
    };
    if programs.iter().all(|program| program::is_installed(program)) {
        report(what, "installed programs");
        let all = with_address("127.0.0.1");
        run_in_background(script, &all.iter().map(String::as_str).collect::<Vec<_>>());
    } else if container::is_available() {
        report(what, "programs in a container");
        container::run_script(image, script, &with_address("0.0.0.0"), ports);
    } else {
        panic!(
            "{what}: install {} (Debian: apt-get install postgresql redis-server), or start a Docker engine",
            programs.join(", ")
        );
    }
}

/// Starts a primary and its standby and waits until the standby replicates. Replication is synchronous.
pub async fn postgres_pair() -> PostgresPair {
    let ports = [free_port(), free_port()];
    let started = tokio::task::spawn_blocking(move || {
        let names = ports.map(|port| port.to_string());
        let programs = ["initdb", "postgres", "pg_basebackup"];
        let what = "PostgreSQL primary and standby";
        start(what, &programs, program::POSTGRES_PAIR, &names, container::Kind::Postgres, &ports);
    });
    started.await.unwrap();
    let [primary, standby] = ports.map(|port| format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    wait_until("the standby replicates its primary", async || {
        let replicates = async {
            let mut standby = PgConnection::connect(&standby).await?;
            let in_recovery: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut standby).await?;
            let mut primary = PgConnection::connect(&primary).await?;
            let streams: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                .fetch_one(&mut primary)
                .await?;
            Ok::<_, sqlx::Error>(in_recovery && streams == 1)
        };
        replicates.await.unwrap_or(false)
    })
    .await;
    let mut connection = PgConnection::connect(&primary).await.unwrap();
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    PostgresPair { primary, standby }
}

impl PostgresPair {
    /// Makes the primary read-only and waits until its running statements have ended. It stays reachable.
    pub async fn fence(&self) {
        let mut primary = PgConnection::connect(&self.primary).await.unwrap();
        for statement in ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut primary).await.unwrap();
        }
        wait_until("the old primary accepts no writes", async || {
            let busy: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' \
                    AND pid <> pg_backend_pid()",
            )
            .fetch_one(&mut primary)
            .await
            .unwrap();
            let mut other = PgConnection::connect(&self.primary).await.unwrap();
            let read_only: String =
                sqlx::query_scalar("SHOW transaction_read_only").fetch_one(&mut other).await.unwrap();
            busy == 0 && read_only == "on"
        })
        .await;
    }

    /// Makes the standby a primary.
    pub async fn promote(&self) {
        let mut standby = PgConnection::connect(&self.standby).await.unwrap();
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut standby).await.unwrap();
        assert!(promoted);
    }
}

/// Starts a master, its replica and `sentinels` sentinels, and waits until all of them have discovered each other.
pub async fn redis_pair(sentinels: usize) -> RedisPair {
    let started = tokio::task::spawn_blocking(move || {
        let [master, replica] = [free_port(), free_port()];
        let sentinels: Vec<u16> = (0..sentinels).map(|_| free_port()).collect();
        let ports: Vec<u16> = [master, replica].into_iter().chain(sentinels.iter().copied()).collect();
        let names: Vec<String> = ports.iter().map(u16::to_string).collect();
        let what = "Redis master, replica and sentinels";
        start(what, &["redis-server"], program::REDIS_PAIR, &names, container::Kind::Redis, &ports);
        wait_for_redis(master);
        wait_for_reply(replica, "INFO replication", "master_link_status:up");
        for sentinel in &sentinels {
            // The number of sentinels includes the sentinel itself.
            wait_for_reply(*sentinel, "INFO sentinel", &format!("slaves=1,sentinels={}", sentinels.len()));
        }
        RedisPair { master, replica, sentinels }
    });
    started.await.unwrap()
}

impl RedisPair {
    pub fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }

    /// URL for clients that get the master's address from the sentinels.
    pub fn sentinel_url(&self) -> String {
        let (first, others) = self.sentinels.split_first().unwrap();
        let others: Vec<String> = others.iter().map(|port| format!("&node=127.0.0.1:{port}")).collect();
        format!("redis-sentinel://127.0.0.1:{first}?sentinelServiceName=main{}", others.concat())
    }

    /// Sends a command and checks that the reply is no error. A server that shuts down sends no reply.
    pub async fn send_command(port: u16, command: &str) {
        let reply = send(port, command).await.unwrap();
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }

    /// Returns whether a server reports that it is the master.
    pub async fn is_master(port: u16) -> bool {
        send(port, "ROLE").await.is_ok_and(|reply| reply.contains("master"))
    }
}

/// Sends a command to a Redis server. Returns the beginning of the reply.
async fn send(port: u16, command: &str) -> std::io::Result<String> {
    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut reply = [0; 256];
    let read = server.read(&mut reply).await.unwrap_or(0);
    Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
}
