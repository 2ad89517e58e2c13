//! Start and shutdown of the program: error messages, exit codes, signals.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::process::{Process, exchange_urls, merge_env, run};
use crate::support::wait_until;

const ANY_PORT: (&str, &str) = ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0");

/// Checks that the program exits with status 1 and one line on standard error that contains all `fragments`.
fn assert_rejected(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], fragments: &[&str]) {
    let output = run(folder, arguments, environment);
    let what = format!("{arguments:?} {environment:?} -> {output:?}");
    assert_eq!(output.status.code(), Some(1), "{what}");
    assert!(output.stdout.is_empty(), "{what}");
    let text = String::from_utf8(output.stderr).unwrap();
    let message = text.strip_prefix("candlewick: ").and_then(|rest| rest.strip_suffix('\n')).expect(&what);
    assert!(!message.contains('\n') && !message.contains("panicked"), "{what}");
    for fragment in fragments {
        assert!(message.contains(fragment), "`{fragment}` is not in {what}");
    }
}

#[test]
fn port_in_use_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let fragments = [address.as_str(), "in use", "CANDLEWICK__SERVER__LISTEN"];
    assert_rejected(folder.path(), &[], &[("CANDLEWICK__SERVER__LISTEN", &address)], &fragments);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a failed start leaves no files");
    assert_rejected(folder.path(), &["simulate", "--listen", &address], &[], &[&address, "in use", "--listen"]);
}

#[test]
fn invalid_configuration_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (file, fragments) in [
        ("colour = 1", &["`colour`", "role, data, server", "candlewick.toml"][..]),
        ("[server]\nlissen = \"127.0.0.1:1\"", &["`server.lissen`", "listen, max_connections", "candlewick.toml"]),
        ("[server]\nlisten = \"localhost\"", &["`server.listen`", "`localhost`", "IP:PORT"]),
        ("[collect]\nhistory_minutes = \"many\"", &["`collect.history_minutes`", "\"many\""]),
        ("data = \"fresh\"", &["`data`", "`fresh`", "auto, live, simulated"]),
        ("[exchanges.mtgox]", &["mtgox", "binance, kraken"]),
        ("[exchanges.kraken]\nsymbols = [\"BTCUSD\"]", &["`exchanges.kraken.symbols`", "`BTCUSD`"]),
        ("[store]\nurl = \"oracle://me:hunter2@host/db\"", &["`store.url`", "sqlite://PATH", "oracle://…@host/db"]),
        ("[log]\nlevel = \"loud\"", &["`log.level`", "`loud`", "\"info\""]),
        ("[server", &["line 1", "candlewick.toml"]),
    ] {
        fs::write(folder.join("candlewick.toml"), file).unwrap();
        assert_rejected(
            folder,
            &[],
            &[ANY_PORT].into_iter().filter(|_| !file.contains("listen")).collect::<Vec<_>>(),
            fragments,
        );
    }
    fs::write(folder.join("candlewick.toml"), b"\xff\xfe").unwrap();
    assert_rejected(folder, &[], &[], &["UTF-8", "candlewick.toml"]);
    fs::remove_file(folder.join("candlewick.toml")).unwrap();

    for (variable, value, fragments) in [
        ("CANDLEWICK__COLOUR", "1", &["`colour`", "environment"][..]),
        ("CANDLEWICK__SERVER__LISSEN", "x", &["`server.lissen`", "environment"]),
        ("CANDLEWICK__EXCHANGES__BINANCE__REST_URL", "ftp://x", &["`exchanges.binance.rest_url`", "ftp://x"]),
        ("PORT", "http", &["PORT", "`http`"]),
        ("DATABASE_URL", "mysql://me:hunter2@host/db", &["`store.url`", "mysql://…@host/db"]),
        ("REDIS_URL", "memcached://host", &["`cache.url`", "memcached"]),
        ("CANDLEWICK_CONFIG", "missing.toml", &["missing.toml"]),
    ] {
        assert_rejected(folder, &[], &[(variable, value)], fragments);
    }
    assert_rejected(folder, &["--config", "nowhere/my.toml"], &[], &["nowhere/my.toml", "--config"]);
    assert_rejected(folder, &["serve", "--config", "nowhere/my.toml"], &[], &["nowhere/my.toml"]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "a failed start leaves no files");
}

#[test]
fn unusable_store_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("FILE");
    fs::write(&file, "not a database, and not a folder either").unwrap();
    for (url, fragment) in [
        ("sqlite://FILE/sub/db", "FILE/sub"),
        ("sqlite://FILE/db", "FILE"),
        ("sqlite://FILE", "not a database"),
        ("sqlite://.", "directory"),
    ] {
        assert_rejected(folder.path(), &[], &[ANY_PORT, ("DATABASE_URL", url)], &[fragment, "`store.url`"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Status and body of the response, or `None` without a response.
async fn get(http: &reqwest::Client, address: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let response = http.get(format!("http://{address}{path}")).send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_str(&response.text().await.ok()?).unwrap_or_default()))
}

fn client() -> reqwest::Client {
    candlewick::upstream::install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_first_start_becomes_ready_and_logs_simulated_exchanges() {
    let folder = tempfile::tempdir().unwrap();
    // Bound but without a listener: connections are refused and no other process gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unreachable = socket.local_addr().unwrap();
    let exchanges = exchange_urls(&unreachable.to_string());
    let (http, clock) = (client(), Clock::system());
    let mut process = Process::spawn(folder.path(), &[], &merge_env(&[ANY_PORT], &exchanges));
    let address = process.address().await;
    wait_until_ready(&http, address).await;
    let elapsed = clock.elapsed();
    assert!(elapsed < Duration::from_secs(5), "ready after {elapsed:?}");
    process.wait_for_log("ready").await;

    let log = process.log();
    for exchange in ExchangeId::all().map(ExchangeId::as_str) {
        let line = log
            .iter()
            .find(|line| line["exchange"] == exchange && line["message"].as_str().unwrap().contains("SIMULATED"))
            .unwrap_or_else(|| panic!("the log does not say that {exchange} is simulated: {log:#?}"));
        let why = line["why"].as_str().unwrap();
        assert!(why.contains(&unreachable.to_string()) || why.contains("reach") || why.contains("connect"), "{why}");
        assert_eq!(line["level"], "WARN");
    }
    let (_, ticker) = get(&http, address, "/v1/ticker?symbol=BTC/USDT").await.unwrap();
    assert_eq!((&ticker["exchange"], &ticker["simulated"]), (&"binance".into(), &true.into()));
    assert!(folder.path().join("data/candlewick.db").is_file(), "the store is at its default path");
}

async fn wait_until_ready(http: &reqwest::Client, address: SocketAddr) {
    wait_until("the service is ready", async || {
        get(http, address, "/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
}

/// Starts a process that serves simulated exchanges and waits until it is ready.
async fn start_simulated(folder: &Path, http: &reqwest::Client) -> (Process, SocketAddr) {
    let mut process = Process::spawn(folder, &[], &[ANY_PORT, ("CANDLEWICK__DATA", "simulated")]);
    let address = process.address().await;
    wait_until_ready(http, address).await;
    (process, address)
}

/// Checks that a signal causes a graceful shutdown.
async fn assert_graceful_shutdown_on(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (http, clock) = (client(), Clock::system());
    let (mut process, address) = start_simulated(folder.path(), &http).await;
    let (mut socket, _) = connect_async(format!("ws://{address}/ws/subscribe/BTC-USDT")).await.unwrap();
    let Message::Text(ticker) = socket.next().await.unwrap().unwrap() else { panic!("no ticker") };
    assert!(ticker.contains("\"symbol\":\"BTC/USDT\""), "{ticker}");

    let start = clock.elapsed();
    process.signal(signal);
    wait_until("readyz is 503, so that load balancers remove the service", async || {
        let response = get(&http, address, "/readyz").await;
        let (status, body) = response.expect("the server accepts connections until load balancers have seen the 503");
        assert!(status == 200 || body["code"] == "not_ready", "{body}");
        status == 503
    })
    .await;
    let mut notices = Vec::new();
    let close = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) if text.contains("\"type\":\"shutdown\"") => notices.push(text),
            Message::Text(_) => {}
            Message::Close(frame) => break frame.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((notices.len(), u16::from(close.code)), (1, 1001), "{notices:?}");
    assert!(serde_json::from_str::<Value>(&notices[0]).unwrap()["in_ms"].is_u64());
    assert!(socket.next().await.is_none_or(|end| end.is_err()), "nothing follows the close frame");
    assert_eq!(process.wait_for_exit().await, Some(0), "{:#?}", process.lines());
    let elapsed = clock.elapsed().saturating_sub(start);
    assert!(elapsed < Duration::from_secs(10), "the shutdown took {elapsed:?}");
    assert!(process.log().iter().all(|line| line["level"] != "ERROR"), "{:#?}", process.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_shuts_down_gracefully() {
    assert_graceful_shutdown_on("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_shuts_down_gracefully() {
    assert_graceful_shutdown_on("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_stops_immediately() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, address) = start_simulated(folder.path(), &client()).await;
        // Delays the shutdown, because this client never replies to the close frame.
        let _socket = connect_async(format!("ws://{address}/ws/subscribe/BTC-USDT")).await.unwrap();
        process.signal(first);
        process.wait_for_log("shutdown signal received: draining; a second signal stops immediately").await;
        process.signal(second);
        let code = process.wait_for_exit().await;
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        // Interrupted tasks may log after this message.
        let log = process.log();
        let stopped = log.iter().any(|line| line["message"] == "second shutdown signal received: stopping immediately");
        assert!(stopped, "the shutdown was not immediate: {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simulate_command_stops_on_sigint() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::spawn(folder.path(), &["simulate", "--listen", "127.0.0.1:0"], &[]);
    wait_until("the simulator runs", async || process.lines().iter().any(|line| line.contains("press Ctrl-C to stop")))
        .await;
    process.signal("INT");
    assert_eq!(process.wait_for_exit().await, Some(0));
}
