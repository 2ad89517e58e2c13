//! Database and cache servers for tests: one server per test run, one database or key prefix per test.
//!
//! In this order: the servers of `TEST_DATABASE_URL`, `TEST_REDIS_URL` and `TEST_REDIS_CLUSTER_URL`; containers, if a
//! Docker engine runs (`TEST_POSTGRES_IMAGE` and `TEST_REDIS_IMAGE` set the images); installed programs. Tests panic
//! without a server.

pub mod container;
pub mod program;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::upstream::install_crypto;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::wait_until;

/// A configured or started server.
struct Server {
    /// `postgres://…/postgres` or `redis://…`
    url: String,
}

static POSTGRES: LazyLock<Server> =
    LazyLock::new(|| find_or_start("PostgreSQL", "TEST_DATABASE_URL", container::postgres, program::postgres));
static REDIS: LazyLock<Server> =
    LazyLock::new(|| find_or_start("Redis", "TEST_REDIS_URL", container::redis, program::redis));
static CLUSTER: LazyLock<Server> =
    LazyLock::new(|| find_or_start("Redis Cluster", "TEST_REDIS_CLUSTER_URL", container::cluster, program::cluster));

fn find_or_start(
    what: &str,
    variable: &str,
    in_container: impl FnOnce() -> String,
    as_program: impl FnOnce() -> Option<String>,
) -> Server {
    install_crypto();
    let (url, how) = if let Ok(url) = std::env::var(variable) {
        (url, variable.to_owned())
    } else if container::is_available() {
        (in_container(), "a container".to_owned())
    } else if let Some(url) = as_program() {
        (url, "an installed program".to_owned())
    } else {
        panic!(
            "the tests need {what}: set {variable}, or start a Docker engine, or install the programs \
             (Debian: apt-get install postgresql redis-server)"
        );
    };
    // Written directly to standard error, which the test runner does not capture.
    let _ = writeln!(std::io::stderr(), "{what} of this run: {how}");
    Server { url }
}

/// Creates an empty database and returns its URL.
pub async fn database() -> String {
    // Starting the server blocks the thread.
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&POSTGRES)).await.unwrap();
    let (base, _) = server.url.rsplit_once('/').unwrap();
    let name = unique_name();
    let mut admin = None;
    wait_until("PostgreSQL accepts connections", async || {
        admin = PgConnection::connect(&server.url).await.ok();
        admin.is_some()
    })
    .await;
    let mut admin = admin.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
    format!("{base}/{name}")
}

/// The URL of Redis and a unique key prefix.
pub async fn redis() -> (String, String) {
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&REDIS)).await.unwrap();
    (server.url.clone(), unique_name())
}

/// The URL of a Redis Cluster of three nodes and a unique key prefix.
pub async fn redis_cluster() -> (String, String) {
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&CLUSTER)).await.unwrap();
    (server.url.clone(), unique_name())
}

/// Deletes all keys of a prefix.
pub async fn delete_keys(url: &str, prefix: &str) {
    use fred::interfaces::{ClientLike, KeysInterface};
    use futures_util::{StreamExt, TryStreamExt};
    let config = fred::prelude::Config::from_url(url).unwrap();
    let client = fred::prelude::Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    let pattern = format!("{prefix}:*");
    let mut keys = if client.is_clustered() {
        client.scan_cluster_buffered(pattern, Some(1_000), None).boxed()
    } else {
        client.scan_buffered(pattern, Some(1_000), None).boxed()
    };
    while let Some(key) = keys.try_next().await.unwrap() {
        client.del::<(), _>(key).await.unwrap();
    }
    client.quit().await.unwrap();
}

fn unique_name() -> String {
    format!("cw{:016x}", Clock::system().random_u64())
}

/// A free port on loopback whose Redis Cluster bus port (10,000 higher) is free as well.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Linux assigns no ephemeral ports below 32,768.
        let port = 10_000 + port % 10_000;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

/// Runs a shell script in the background. Its `cat` blocks until this process ends; the commands after it clean up.
pub fn run_in_background(script: &str, arguments: &[&str]) {
    /// Holds the pipes of standard input. The system closes them when this process ends, also after a kill.
    static SCRIPTS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    SCRIPTS.lock().unwrap().push(command.stderr(Stdio::null()).spawn().unwrap());
}

/// Timeout for the start of a server.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Waits until the reply of a Redis server on loopback to a command contains `expected`.
pub fn wait_for_reply(port: u16, command: &str, expected: &str) {
    let send = || -> std::io::Result<String> {
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_read_timeout(Some(Duration::from_secs(1)))?;
        server.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut reply = Vec::new();
        // A sentinel does not support `QUIT`, so the read ends with the timeout.
        let _ = server.read_to_end(&mut reply);
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    let clock = Clock::system();
    let deadline = clock.now() + START_TIMEOUT;
    while !send().is_ok_and(|reply| reply.contains(expected)) {
        assert!(clock.now() < deadline, "Redis does not start on port {port}");
        std::thread::yield_now();
    }
}

pub fn wait_for_redis(port: u16) {
    wait_for_reply(port, "PING", "PONG");
}

fn wait_for_cluster(ports: [u16; 3]) {
    for port in ports {
        wait_for_reply(port, "CLUSTER INFO", "cluster_state:ok");
    }
}
