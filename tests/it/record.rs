//! `candlewick record`, run as a process, and `candlewick decode` of its recordings.

use std::path::Path;
use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::process::{Process, exchange_urls, run};
use crate::support::{SPEED, Simulation, wait_until};

fn environment(simulation: &Simulation) -> Vec<(String, String)> {
    exchange_urls(&simulation.address.to_string())
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The lines of all files in a folder, in file name order.
fn lines(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>();
    // The last line may be incomplete.
    texts.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["t"] == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_can_be_decoded() {
    let simulation = Simulation::new().await;
    let environment = environment(&simulation);
    let speed = SPEED.to_string();
    for exchange in ExchangeId::all() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["record", exchange.as_str(), "--clock-speed", &speed, "--max-mb", "1"];
        let mut process = Process::spawn(folder.path(), &arguments, &borrowed(&environment));
        let recordings = folder.path().join("recordings");
        wait_until(&format!("{exchange} is recorded"), async || count(&lines(&recordings), "recv") > 500).await;
        simulation.inject_fault(exchange, FaultKind::Drop, Duration::ZERO);
        wait_until(&format!("{exchange} is recorded after a reconnect"), async || {
            let lines = lines(&recordings);
            let connections =
                lines.iter().filter(|line| line["t"] == "connect").map(|line| &line["conn"]).collect::<Vec<_>>();
            connections.iter().any(|one| connections.iter().filter(|other| other == &one).count() > 1)
        })
        .await;
        process.signal("INT");
        assert_eq!(process.wait_for_exit().await, Some(0), "{:#?}", process.lines());
        wait_until("the summary is printed", async || {
            let summary = process.lines().join(" ");
            summary.contains("recorded ") && summary.contains(".jsonl")
        })
        .await;

        let recorded = lines(&recordings);
        assert!(count(&recorded, "send") > 0 && count(&recorded, "http") >= 3, "{exchange}");
        let listing = recorded.iter().find(|line| line["t"] == "http").unwrap();
        assert!(listing["url"].as_str().unwrap().starts_with("http://") && listing["status"] == 200);
        let received: Vec<&Value> = recorded.iter().filter(|line| line["t"] == "recv").collect();
        assert!(
            received
                .iter()
                .all(|line| line["ts"].is_number() && line["conn"].as_str().unwrap().starts_with(exchange.as_str()))
        );

        let mut files: Vec<_> = std::fs::read_dir(&recordings).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut arguments = vec!["decode", "--exchange", exchange.as_str()];
        arguments.extend(files.iter().map(|path| path.to_str().unwrap()));
        let decoded = run(folder.path(), &arguments, &[]);
        assert!(decoded.status.success());
        let events = String::from_utf8(decoded.stdout).unwrap();
        assert!(events.lines().count() > 100 && !events.contains("\"error\""), "{exchange}: {events:.500}");
        // The raw frames decode to the same number of events: the recording did not change their text.
        let raw = received.iter().map(|line| line["data"].as_str().unwrap()).collect::<Vec<_>>().join("\n");
        let path = folder.path().join("raw");
        std::fs::write(&path, raw).unwrap();
        let redecoded = run(folder.path(), &["decode", "--exchange", exchange.as_str(), path.to_str().unwrap()], &[]);
        assert_eq!(String::from_utf8(redecoded.stdout).unwrap().lines().count(), events.lines().count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn argument_errors_name_the_fix() {
    let simulation = Simulation::new().await;
    let environment = environment(&simulation);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let speed = SPEED.to_string();
    for (arguments, expected) in [
        (&["record", "binance", "--symbols", "BTV/USDT"][..], "did you mean BTC/USDT"),
        (&["record", "nope"], "there is no exchange `nope`"),
        (&["record", "binance", "--out", "file/inside"], "choose another folder with --out"),
        (&["record", "binance", "--max-mb", "0"], "--max-mb"),
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--clock-speed", &speed]);
        let output = run(folder.path(), &all, &borrowed(&environment));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let arguments = ["record", "kraken", "--symbols", "BTC/USD", "--out", "-", "--for", "120", "--clock-speed", &speed];
    let output = run(folder.path(), &arguments, &borrowed(&environment));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(count(&lines, "recv") > 5 && count(&lines, "http") >= 3);
}
