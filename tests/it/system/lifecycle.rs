//! The binary from start to end: sentences on standard error, exit codes, signals.

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

use crate::support::process::{Process, all_exchanges_at, run, with};
use crate::support::until;

const ANY_PORT: (&str, &str) = ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0");

/// The program must refuse to start, in one sentence that holds all of `told` and nothing of `secret`.
fn refused(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], told: &[&str]) {
    let output = run(folder, arguments, environment);
    let what = format!("{arguments:?} {environment:?} -> {output:?}");
    assert_eq!(output.status.code(), Some(1), "{what}");
    assert!(output.stdout.is_empty(), "{what}");
    let text = String::from_utf8(output.stderr).unwrap();
    let sentence = text.strip_prefix("candlewick: ").and_then(|rest| rest.strip_suffix('\n')).expect(&what);
    assert!(!sentence.contains('\n') && !sentence.contains("panicked"), "{what}");
    for told in told {
        assert!(sentence.contains(told), "`{told}` is not in {what}");
    }
}

#[test]
fn a_port_in_use_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = [address.as_str(), "in use", "CANDLEWICK__SERVER__LISTEN"];
    refused(folder.path(), &[], &[("CANDLEWICK__SERVER__LISTEN", &address)], &told);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a start that failed leaves nothing behind");
    refused(folder.path(), &["simulate", "--listen", &address], &[], &[&address, "in use", "--listen"]);
}

#[test]
fn a_bad_configuration_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (file, told) in [
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
        refused(folder, &[], &[ANY_PORT].into_iter().filter(|_| !file.contains("listen")).collect::<Vec<_>>(), told);
    }
    fs::write(folder.join("candlewick.toml"), b"\xff\xfe").unwrap();
    refused(folder, &[], &[], &["UTF-8", "candlewick.toml"]);
    fs::remove_file(folder.join("candlewick.toml")).unwrap();

    for (variable, value, told) in [
        ("CANDLEWICK__COLOUR", "1", &["`colour`", "environment"][..]),
        ("CANDLEWICK__SERVER__LISSEN", "x", &["`server.lissen`", "environment"]),
        ("CANDLEWICK__EXCHANGES__BINANCE__REST_URL", "ftp://x", &["`exchanges.binance.rest_url`", "ftp://x"]),
        ("PORT", "http", &["PORT", "`http`"]),
        ("DATABASE_URL", "mysql://me:hunter2@host/db", &["`store.url`", "mysql://…@host/db"]),
        ("REDIS_URL", "memcached://host", &["`cache.url`", "memcached"]),
        ("CANDLEWICK_CONFIG", "missing.toml", &["missing.toml"]),
    ] {
        refused(folder, &[], &[(variable, value)], told);
    }
    refused(folder, &["--config", "nowhere/my.toml"], &[], &["nowhere/my.toml", "--config"]);
    refused(folder, &["serve", "--config", "nowhere/my.toml"], &[], &["nowhere/my.toml"]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "a start that failed leaves nothing behind");
}

#[test]
fn a_store_that_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("FILE");
    fs::write(&file, "not a database, and not a folder either").unwrap();
    for (url, told) in [
        ("sqlite://FILE/sub/db", "FILE/sub"),
        ("sqlite://FILE/db", "FILE"),
        ("sqlite://FILE", "not a database"),
        ("sqlite://.", "directory"),
    ] {
        refused(folder.path(), &[], &[ANY_PORT, ("DATABASE_URL", url)], &[told, "`store.url`"]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// The answer's status and body; `None` when nobody answers.
async fn get(http: &reqwest::Client, address: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let reply = http.get(format!("http://{address}{path}")).send().await.ok()?;
    let status = reply.status().as_u16();
    Some((status, serde_json::from_str(&reply.text().await.ok()?).unwrap_or_default()))
}

fn client() -> reqwest::Client {
    candlewick::upstream::install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_a_network_is_ready_and_says_what_is_simulated() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and never listened on: whoever knocks is refused, and nobody else gets the port meanwhile.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = closed.local_addr().unwrap();
    let nowhere = all_exchanges_at(&nobody.to_string());
    let (http, clock) = (client(), Clock::system());
    let mut process = Process::spawn(folder.path(), &[], &with(&[ANY_PORT], &nowhere));
    let address = process.address().await;
    until("it is ready", async || get(&http, address, "/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    let took = clock.elapsed();
    assert!(took < Duration::from_secs(5), "ready after {took:?}");
    process.logged("ready").await;

    let log = process.log();
    for exchange in ExchangeId::ALL.map(ExchangeId::as_str) {
        let line = log
            .iter()
            .find(|line| line["exchange"] == exchange && line["message"].as_str().unwrap().contains("SIMULATED"))
            .unwrap_or_else(|| panic!("{exchange} is not said to be simulated: {log:#?}"));
        let why = line["why"].as_str().unwrap();
        assert!(why.contains(&nobody.to_string()) || why.contains("reach") || why.contains("connect"), "{why}");
        assert_eq!(line["level"], "WARN");
    }
    let (_, ticker) = get(&http, address, "/v1/ticker?symbol=BTC/USDT").await.unwrap();
    assert_eq!((&ticker["exchange"], &ticker["simulated"]), (&"binance".into(), &true.into()));
    assert!(folder.path().join("data/candlewick.db").is_file(), "the store stands where it is said to");
}

/// A process that serves simulated exchanges, ready.
async fn simulated(folder: &Path, http: &reqwest::Client) -> (Process, SocketAddr) {
    let mut process = Process::spawn(folder, &[], &[ANY_PORT, ("CANDLEWICK__DATA", "simulated")]);
    let address = process.address().await;
    until("it is ready", async || get(http, address, "/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    (process, address)
}

/// What a person's Ctrl-C and a platform's SIGTERM must do.
async fn ends_well_on(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (http, clock) = (client(), Clock::system());
    let (mut process, address) = simulated(folder.path(), &http).await;
    let (mut socket, _) = connect_async(format!("ws://{address}/ws/subscribe/BTC-USDT")).await.unwrap();
    let Message::Text(ticker) = socket.next().await.unwrap().unwrap() else { panic!("no ticker") };
    assert!(ticker.contains("\"symbol\":\"BTC/USDT\""), "{ticker}");

    let asked = clock.elapsed();
    process.signal(signal);
    until("readyz tells balancers to go away", async || {
        let (status, body) = get(&http, address, "/readyz").await.expect("the door is open until they could see it");
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
    assert!(socket.next().await.is_none_or(|end| end.is_err()), "nothing follows");
    assert_eq!(process.ended().await, Some(0), "{:#?}", process.lines());
    let took = clock.elapsed().saturating_sub(asked);
    assert!(took < Duration::from_secs(10), "it took {took:?} to end");
    assert!(process.log().iter().all(|line| line["level"] != "ERROR"), "{:#?}", process.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_ends_it_well() {
    ends_well_on("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_ends_it_well() {
    ends_well_on("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_twice_does_not_wait() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, address) = simulated(folder.path(), &client()).await;
        // It holds the end, for it never answers the close.
        let _socket = connect_async(format!("ws://{address}/ws/subscribe/BTC-USDT")).await.unwrap();
        process.signal(first);
        process.logged("asked to end: draining; ask again to end at once").await;
        process.signal(second);
        let code = process.ended().await;
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        // Whoever is cut short meanwhile may say so after it.
        let log = process.log();
        let at_once = log.iter().any(|line| line["message"] == "asked to end again: ending at once");
        assert!(at_once, "something was waited for: {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::spawn(folder.path(), &["simulate", "--listen", "127.0.0.1:0"], &[]);
    until("it runs", async || process.lines().iter().any(|line| line.contains("Ctrl-C ends"))).await;
    process.signal("INT");
    assert_eq!(process.ended().await, Some(0));
}
