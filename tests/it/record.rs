//! `candlewick record`, as a user runs it, and `decode` of what it wrote.

use std::path::Path;
use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::process::{Process, all_exchanges_at, run};
use crate::support::{SPEED, World, until};

fn environment(world: &World) -> Vec<(String, String)> {
    all_exchanges_at(&world.address.to_string())
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The lines of all files of a folder, in the order of their names.
fn lines(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>();
    // The last line may not be whole yet.
    texts.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["t"] == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_can_be_decoded() {
    let world = World::new().await;
    let environment = environment(&world);
    let speed = SPEED.to_string();
    for exchange in ExchangeId::ALL {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["record", exchange.as_str(), "--clock-speed", &speed, "--max-mb", "1"];
        let mut process = Process::spawn(folder.path(), &arguments, &borrowed(&environment));
        let recordings = folder.path().join("recordings");
        until(&format!("{exchange} is recorded"), async || count(&lines(&recordings), "recv") > 500).await;
        world.fault(exchange, FaultKind::Drop, Duration::ZERO);
        until(&format!("{exchange} is recorded after a loss"), async || {
            let lines = lines(&recordings);
            let first =
                lines.iter().filter(|line| line["t"] == "connect").map(|line| &line["conn"]).collect::<Vec<_>>();
            first.iter().any(|one| first.iter().filter(|other| other == &one).count() > 1)
        })
        .await;
        process.signal("INT");
        assert_eq!(process.ended().await, Some(0), "{:#?}", process.lines());
        until("the summary was read", async || {
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
        // The same, frame by frame: nothing of the text was changed on its way.
        let raw = received.iter().map(|line| line["data"].as_str().unwrap()).collect::<Vec<_>>().join("\n");
        let path = folder.path().join("raw");
        std::fs::write(&path, raw).unwrap();
        let again = run(folder.path(), &["decode", "--exchange", exchange.as_str(), path.to_str().unwrap()], &[]);
        assert_eq!(String::from_utf8(again.stdout).unwrap().lines().count(), events.lines().count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_said_with_what_would_be_right() {
    let world = World::new().await;
    let environment = environment(&world);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let speed = SPEED.to_string();
    for (arguments, said) in [
        (&["record", "binance", "--symbols", "BTV/USDT"][..], "did you mean BTC/USDT"),
        (&["record", "nope"], "there is no exchange `nope`"),
        (&["record", "binance", "--out", "file/inside"], "choose another folder with --out"),
        (&["record", "binance", "--max-mb", "0"], "--max-mb"),
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--clock-speed", &speed]);
        let output = run(folder.path(), &all, &borrowed(&environment));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(said), "{arguments:?}: {told}");
    }
    let arguments = ["record", "kraken", "--symbols", "BTC/USD", "--out", "-", "--for", "20", "--clock-speed", &speed];
    let output = run(folder.path(), &arguments, &borrowed(&environment));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(count(&lines, "recv") > 5 && count(&lines, "http") >= 3);
}
