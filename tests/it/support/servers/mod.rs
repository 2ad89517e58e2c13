//! The database and cache servers that tests talk to: one of each a run, a database or a key prefix a test.
//!
//! Taken in this order: the servers that `TEST_DATABASE_URL` and `TEST_REDIS_URL` name; containers, where a Docker
//! engine answers (`TEST_POSTGRES_IMAGE`, `TEST_REDIS_IMAGE` choose others); the machine's own programs. Never none.

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

use super::until;

/// A server that was found or started.
struct Server {
    /// `postgres://…/postgres` or `redis://…`
    url: String,
}

static POSTGRES: LazyLock<Server> =
    LazyLock::new(|| find("PostgreSQL", "TEST_DATABASE_URL", container::postgres, program::postgres));
static REDIS: LazyLock<Server> = LazyLock::new(|| find("Redis", "TEST_REDIS_URL", container::redis, program::redis));
static CLUSTER: LazyLock<Server> =
    LazyLock::new(|| find("Redis Cluster", "TEST_REDIS_CLUSTER_URL", container::cluster, program::cluster));

fn find(
    what: &str,
    variable: &str,
    in_container: impl FnOnce() -> String,
    as_program: impl FnOnce() -> Option<String>,
) -> Server {
    install_crypto();
    let (url, how) = if let Ok(url) = std::env::var(variable) {
        (url, variable.to_owned())
    } else if container::engine_answers() {
        (in_container(), "a container".to_owned())
    } else if let Some(url) = as_program() {
        (url, "the machine's own program".to_owned())
    } else {
        panic!(
            "{what} is needed: set {variable}, or start a Docker engine, or install the programs \
             (Debian: apt-get install postgresql redis-server)"
        );
    };
    // Past the capture of the test runner: who reads the result wants to know what was tested.
    let _ = writeln!(std::io::stderr(), "{what} of this run: {how}");
    Server { url }
}

/// The URL of a new, empty database.
pub async fn database() -> String {
    // Starting it blocks.
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&POSTGRES)).await.unwrap();
    let (base, _) = server.url.rsplit_once('/').unwrap();
    let name = unique();
    let mut admin = None;
    until("PostgreSQL takes connections", async || {
        admin = PgConnection::connect(&server.url).await.ok();
        admin.is_some()
    })
    .await;
    let mut admin = admin.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
    format!("{base}/{name}")
}

/// The URL of Redis, and a prefix of keys that nobody else uses.
pub async fn redis() -> (String, String) {
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&REDIS)).await.unwrap();
    (server.url.clone(), unique())
}

/// The same of a Redis Cluster of three nodes.
pub async fn redis_cluster() -> (String, String) {
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&CLUSTER)).await.unwrap();
    (server.url.clone(), unique())
}

/// Deletes every key of a prefix.
pub async fn forget(url: &str, prefix: &str) {
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

fn unique() -> String {
    format!("cw{:016x}", Clock::system().random_u64())
}

/// A port of loopback that is free now, and the one that Redis Cluster derives from it.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Ports below 32,768 are left alone by the system's own choice for outgoing connections.
        let port = 10_000 + port % 10_000;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

/// Runs a shell script whose last act is for the end of this process: it is held up by `cat` until then.
pub fn until_the_end(script: &str, arguments: &[&str]) {
    /// Their standard input closes when this process ends, however it does.
    static HELD: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    HELD.lock().unwrap().push(command.stderr(Stdio::null()).spawn().unwrap());
}

/// How long a server may take to come up.
const COMES_UP: Duration = Duration::from_mins(1);

/// Waits until a Redis server on a port of loopback answers a command in this way.
pub fn wait_for(port: u16, command: &str, answer: &str) {
    let ask = || -> std::io::Result<String> {
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_read_timeout(Some(Duration::from_secs(1)))?;
        server.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut said = Vec::new();
        // A sentinel does not know `QUIT`: what it said until the time is over counts.
        let _ = server.read_to_end(&mut said);
        Ok(String::from_utf8_lossy(&said).into_owned())
    };
    let clock = Clock::system();
    let deadline = clock.now() + COMES_UP;
    while !ask().is_ok_and(|said| said.contains(answer)) {
        assert!(clock.now() < deadline, "Redis does not come up on port {port}");
        std::thread::yield_now();
    }
}

pub fn wait_for_redis(port: u16) {
    wait_for(port, "PING", "PONG");
}

fn wait_for_cluster(ports: [u16; 3]) {
    for port in ports {
        wait_for(port, "CLUSTER INFO", "cluster_state:ok");
    }
}
