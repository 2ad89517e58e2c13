//! Servers of which one takes over from another, started for one test: programs of this machine where they are, else the
//! same programs in a container. A server that `TEST_DATABASE_URL` or `TEST_REDIS_URL` names has no standby.

use std::io::Write;

use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::servers::{container, free_port, program, until_the_end, wait_for, wait_for_redis};
use super::until;

/// A PostgreSQL primary, and a standby that follows it.
pub struct PostgresPair {
    /// `postgres://postgres@127.0.0.1:PORT/postgres`
    pub primary: String,
    pub standby: String,
}

/// A Redis master and a replica, and sentinels that watch them.
pub struct RedisPair {
    pub master: u16,
    pub replica: u16,
    pub sentinels: Vec<u16>,
}

/// Says past the capture of the test runner what was tested.
fn say(what: &str, how: &str) {
    let _ = writeln!(std::io::stderr(), "{what} of this test: {how}");
}

/// Runs the script where its programs are; never nowhere.
fn start(what: &str, needs: &[&str], script: &str, arguments: &[String], image: container::Kind, ports: &[u16]) {
    candlewick::upstream::install_crypto();
    let with = |listen: &str| {
        let mut all = vec![listen.to_owned()];
        all.extend_from_slice(arguments);
        all
    };
    if needs.iter().all(|needed| program::there(needed)) {
        say(what, "the machine's own programs");
        let all = with("127.0.0.1");
        until_the_end(script, &all.iter().map(String::as_str).collect::<Vec<_>>());
    } else if container::engine_answers() {
        say(what, "the programs in a container");
        container::run_script(image, script, &with("0.0.0.0"), ports);
    } else {
        panic!(
            "{what}: needs {} on this machine (Debian: apt-get install postgresql redis-server), or a Docker engine",
            needs.join(", ")
        );
    }
}

/// Starts a primary and its standby, and waits until the standby follows. Every commit waits for the standby.
pub async fn postgres_pair() -> PostgresPair {
    let ports = [free_port(), free_port()];
    let started = tokio::task::spawn_blocking(move || {
        let names = ports.map(|port| port.to_string());
        let needs = ["initdb", "postgres", "pg_basebackup"];
        let what = "PostgreSQL primary and standby";
        start(what, &needs, program::POSTGRES_PAIR, &names, container::Kind::Postgres, &ports);
    });
    started.await.unwrap();
    let [primary, standby] = ports.map(|port| format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    until("the standby follows its primary", async || {
        let asked = async {
            let mut standby = PgConnection::connect(&standby).await?;
            let follows: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut standby).await?;
            let mut primary = PgConnection::connect(&primary).await?;
            let streams: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                .fetch_one(&mut primary)
                .await?;
            Ok::<_, sqlx::Error>(follows && streams == 1)
        };
        asked.await.unwrap_or(false)
    })
    .await;
    let mut one = PgConnection::connect(&primary).await.unwrap();
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut one).await.unwrap();
    }
    PostgresPair { primary, standby }
}

impl PostgresPair {
    /// Makes the primary read-only and waits until what it was doing is done. It stays reachable.
    pub async fn fence(&self) {
        let mut primary = PgConnection::connect(&self.primary).await.unwrap();
        for statement in ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut primary).await.unwrap();
        }
        until("the old primary takes no writes", async || {
            let open: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' \
                    AND pid <> pg_backend_pid()",
            )
            .fetch_one(&mut primary)
            .await
            .unwrap();
            let mut other = PgConnection::connect(&self.primary).await.unwrap();
            let read_only: String =
                sqlx::query_scalar("SHOW transaction_read_only").fetch_one(&mut other).await.unwrap();
            open == 0 && read_only == "on"
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

/// Starts a master and its replica, and so many sentinels; waits until all know of each other.
pub async fn redis_pair(sentinels: usize) -> RedisPair {
    let started = tokio::task::spawn_blocking(move || {
        let [master, replica] = [free_port(), free_port()];
        let sentinels: Vec<u16> = (0..sentinels).map(|_| free_port()).collect();
        let ports: Vec<u16> = [master, replica].into_iter().chain(sentinels.iter().copied()).collect();
        let names: Vec<String> = ports.iter().map(u16::to_string).collect();
        let what = "Redis master, replica and sentinels";
        start(what, &["redis-server"], program::REDIS_PAIR, &names, container::Kind::Redis, &ports);
        wait_for_redis(master);
        wait_for(replica, "INFO replication", "master_link_status:up");
        for sentinel in &sentinels {
            // The replica, and each other.
            let others = sentinels.len() - 1;
            wait_for(*sentinel, "INFO sentinel", &format!("slaves=1,sentinels={}", others + 1));
        }
        RedisPair { master, replica, sentinels }
    });
    started.await.unwrap()
}

impl RedisPair {
    pub fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }

    /// The URL by which the sentinels are asked for the master.
    pub fn sentinel_url(&self) -> String {
        let (first, others) = self.sentinels.split_first().unwrap();
        let others: Vec<String> = others.iter().map(|port| format!("&node=127.0.0.1:{port}")).collect();
        format!("redis-sentinel://127.0.0.1:{first}?sentinelServiceName=main{}", others.concat())
    }

    /// Sends a command to one of the servers; an answer is not needed: a server that ends gives none.
    pub async fn tell(port: u16, command: &str) {
        let answer = ask(port, command).await.unwrap();
        assert!(!answer.starts_with('-'), "{command}: {answer}");
    }

    /// Whether a server says that it is the master.
    pub async fn is_master(port: u16) -> bool {
        ask(port, "ROLE").await.is_ok_and(|answer| answer.contains("master"))
    }
}

/// What a server says to a command first.
async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = [0; 256];
    let read = server.read(&mut answer).await.unwrap_or(0);
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}
