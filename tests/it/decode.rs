//! `candlewick decode`, run as a process.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_candlewick"))
        .arg("decode")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The process may exit before it reads all input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Checks that a run succeeds. Returns its output lines.
fn decode(arguments: &[&str], input: &str) -> Vec<Value> {
    let output = run(arguments, input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["type"].as_str().unwrap_or("error")).collect()
}

const BINANCE: &str = include_str!("../fixtures/binance/frames.jsonl");
const KRAKEN: &str = include_str!("../fixtures/kraken/frames.jsonl");
const OKX: &str = include_str!("../fixtures/okx/frames.jsonl");

#[test]
fn raw_frames_decode_to_events() {
    let lines = decode(&["--exchange", "binance"], BINANCE);
    assert_eq!(kinds(&lines), ["ticker", "ticker", "trade", "trade", "candle"]);
    assert_eq!(lines[1]["symbol"], "BTC/USDT");
    assert_eq!((&lines[1]["last"], &lines[1]["bid"]), (&json!(67012.34), &json!(67012.33)), "streams are merged");
    assert_eq!(lines[1]["received_at"], 0, "raw frames have no receive time");
    let text = String::from_utf8(run(&["--exchange", "binance"], BINANCE.as_bytes()).stdout).unwrap();
    let trade = r#"{"type":"trade","exchange":"binance","symbol":"BTC/USDT","id":"5900002","price":67012.34,"amount":0.015,"side":"buy","timestamp":1763672400149}"#;
    assert_eq!(text.lines().nth(2), Some(trade));
    let bare: Value = serde_json::from_str(BINANCE.lines().nth(2).unwrap()).unwrap();
    assert_eq!(
        kinds(&decode(&["--exchange", "binance"], &bare["data"].to_string())),
        ["trade"],
        "the member `t` of a bare frame is not a recording's"
    );
    let lines = decode(&["--exchange", "kraken"], KRAKEN);
    assert_eq!(kinds(&lines), ["ticker", "trade", "candle", "candle"]);
    assert_eq!((&lines[2]["closed"], &lines[3]["closed"]), (&json!(true), &json!(false)));
    let lines = decode(&["--exchange", "okx"], OKX);
    assert_eq!(
        kinds(&lines),
        ["ticker", "trade", "candle", "candle"],
        "the swap, the book and the pong decode to no event"
    );
    assert_eq!((&lines[2]["closed"], &lines[3]["closed"]), (&json!(true), &json!(false)));
}

#[test]
fn recorded_lines_and_raw_frames_are_distinguished() {
    let frame = BINANCE.lines().nth(2).unwrap();
    let recorded = json!({"t": "recv", "ch": "trade", "conn": "binance.1", "ts": 1_763_672_400.25, "data": frame});
    let book =
        json!({"t": "recv", "conn": "binance.1", "ts": 1_763_672_400.25, "data": BINANCE.lines().nth(1).unwrap()});
    let input = [
        json!({"t": "header", "format": 2}).to_string(),
        json!({"t": "http", "url": "https://x", "ts": 1.5, "data": "{}"}).to_string(),
        json!({"t": "connect", "conn": "binance.1", "ts": 1.5, "addr": "wss://x"}).to_string(),
        json!({"t": "send", "conn": "binance.1", "ts": 1.5, "data": "{\"method\":\"SUBSCRIBE\"}"}).to_string(),
        recorded.to_string(),
        book.to_string(),
        frame.to_owned(),
    ];
    let lines = decode(&["--exchange", "binance"], &input.join("\n"));
    assert_eq!(kinds(&lines), ["trade", "ticker", "trade"]);
    assert_eq!(lines[1]["received_at"], 1_763_672_400_250_i64);
}

#[test]
fn malformed_line_is_an_error_with_line_number() {
    let trade = BINANCE.lines().nth(2).unwrap();
    let broken = json!({"t": "recv", "ts": 1, "data": "{\"stream\":"}).to_string();
    let without = json!({"t": "recv", "ts": 1}).to_string();
    let lines = decode(&["--exchange", "binance"], &format!("{trade}\nnonsense\n\n{broken}\n{without}\n{trade}\n"));
    assert_eq!(kinds(&lines), ["trade", "error", "error", "error", "trade"]);
    let numbers: Vec<_> = lines[1..4].iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 4, 5]);
    assert!(lines[1]["error"].as_str().unwrap().contains("nonsense"));
    let output = run(&["--exchange", "kraken"], b"\xff\xfe\n{\"channel\":\"heartbeat\"}\n");
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("{\"error\":"));
}

#[test]
fn reads_input_from_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kraken/frames.jsonl");
    assert_eq!(decode(&["--exchange", "kraken", file], "").len(), 4);
    let output = run(&["--exchange", "kraken", "/no/such/file"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /no/such/file"));
}

#[test]
fn invalid_arguments_fail() {
    for arguments in [
        &["--exchange", "nowhere"][..],
        &[],
        &["--exchange", "binance", "--rest", "book"],
        &["--exchange", "binance", "--rest", "candles", "--interval", "7m"],
        &["--exchange", "kraken", "--rest", "candles", "--interval", "3m"],
        &["--exchange", "okx", "--rest", "candles", "--interval", "3d"],
        &["--exchange", "binance", "--rest", "candles", "--symbol", "BTCUSDT"],
    ] {
        let output = run(arguments, b"[]");
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn rest_ticker_symbol_comes_from_reply_or_argument() {
    let body = include_str!("../fixtures/binance/ticker.json");
    let lines = decode(&["--exchange", "binance", "--rest", "ticker"], body);
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["symbol"], &lines[0]["source"]), (&json!("BTC/USDT"), &json!("rest")));
    let several = format!("[{body},{}]", body.replace("BTCUSDT", "ETHBTC"));
    let lines = decode(&["--exchange", "binance", "--rest", "ticker"], &several);
    let symbols: Vec<_> = lines.iter().map(|line| &line["symbol"]).collect();
    assert_eq!(symbols, ["BTC/USDT", "ETH/BTC"]);
    let body = include_str!("../fixtures/kraken/ticker.json");
    let lines = decode(&["--exchange", "kraken", "--rest", "ticker"], body);
    assert_eq!((&lines[0]["symbol"], &lines[0]["open"]), (&json!("BTC/USD"), &Value::Null));
    let lines = decode(&["--exchange", "kraken", "--rest", "ticker", "--symbol", "eth-eur"], body);
    assert_eq!(lines[0]["symbol"], "ETH/EUR");
    let lines = decode(&["--exchange", "kraken", "--rest", "ticker"], &body.replace("XXBTZUSD", "WHAT"));
    assert_eq!((&lines[0]["symbol"], &lines[0]["last"]), (&Value::Null, &json!(67012.3)));
    let body = include_str!("../fixtures/okx/ticker.json");
    let lines = decode(&["--exchange", "okx", "--rest", "ticker"], body);
    assert_eq!((&lines[0]["symbol"], &lines[0]["quote_volume"]), (&json!("BTC/USDT"), &json!(122_900_000.5)));
    let row = body.split_once("\"data\":[").unwrap().1.trim_end().strip_suffix("]}").unwrap();
    let swap = row.replace("SPOT", "SWAP").replace("BTC-USDT", "BTC-USDT-SWAP");
    let several = format!(r#"{{"code":"0","data":[{row},{swap},{}]}}"#, row.replace("BTC", "ETH"));
    let lines = decode(&["--exchange", "okx", "--rest", "ticker"], &several);
    assert_eq!((&lines[0]["symbol"], &lines[2]["symbol"]), (&json!("BTC/USDT"), &json!("ETH/USDT")));
    assert!(lines[1]["error"].as_str().unwrap().contains("SWAP"), "{}", lines[1]);
}

#[test]
fn decodes_rest_candles_and_instruments() {
    let body = include_str!("../fixtures/binance/candles.json");
    let lines = decode(&["--exchange", "binance", "--rest", "candles"], body);
    assert_eq!(kinds(&lines), ["candle"; 3]);
    let newest = json!({"type": "candle", "exchange": "binance", "symbol": null, "interval": "1m",
        "timestamp": 1_763_672_340_000_i64, "open": 67000.1, "high": 67020, "low": 66990, "close": 67012.34,
        "volume": 12.5, "quote_volume": 837_654.2, "trades": 412, "closed": false, "revision": 0});
    assert_eq!(lines[2], newest);
    let quoted = include_str!("../fixtures/kraken/candles.json")
        .replace("1763672340,", "\"1763672340\",")
        .replace("412]", "\"412\"]");
    let arguments = ["--exchange", "kraken", "--rest", "candles", "--symbol", "BTC/USD", "--interval", "1m"];
    let lines = decode(&arguments, &quoted);
    assert_eq!((lines.len(), &lines[2]["symbol"], &lines[2]["trades"]), (3, &json!("BTC/USD"), &json!(412)));
    let lines =
        decode(&["--exchange", "kraken", "--rest", "instruments"], include_str!("../fixtures/kraken/instruments.json"));
    assert_eq!(kinds(&lines), ["instrument"; 3]);
    assert_eq!(
        (&lines[2]["symbol"], &lines[2]["native"], &lines[2]["price_step"]),
        (&json!("BTC/USD"), &json!("XBTUSD"), &json!(0.1))
    );
    let body = include_str!("../fixtures/okx/candles.json");
    let bare = body.replace(r#""1763672340000","67000.1""#, "1763672340000,67000.1");
    for body in [body, &bare] {
        let lines = decode(&["--exchange", "okx", "--rest", "candles", "--symbol", "BTC/USDT"], body);
        let closed: Vec<_> = lines.iter().map(|line| line["closed"].as_bool().unwrap()).collect();
        assert_eq!(closed, [true, true, false], "oldest first");
        assert_eq!((&lines[2]["open"], &lines[2]["trades"]), (&json!(67000.1), &Value::Null));
    }
    let lines =
        decode(&["--exchange", "okx", "--rest", "instruments"], include_str!("../fixtures/okx/instruments.json"));
    let symbols: Vec<_> = lines.iter().map(|line| &line["symbol"]).collect();
    assert_eq!(symbols, ["BTC/USDT", "ETH/EUR", "NEW/USDT"], "the swap is not a spot market");
}

#[test]
fn error_body_is_reported_as_error() {
    let body = r#"{"code":-1121,"msg":"Invalid symbol."}"#;
    for kind in ["ticker", "candles", "instruments"] {
        let lines = decode(&["--exchange", "binance", "--rest", kind], body);
        assert_eq!(lines, [json!({"error": "Invalid symbol. (code -1121)"})], "{kind}");
    }
    let lines = decode(&["--exchange", "kraken", "--rest", "ticker"], r#"{"error":["EQuery:Unknown asset pair"]}"#);
    assert_eq!(lines, [json!({"error": "EQuery:Unknown asset pair"})]);
    let body = r#"{"code":"51001","data":[],"msg":"Instrument ID doesn't exist."}"#;
    for kind in ["ticker", "candles", "instruments"] {
        let lines = decode(&["--exchange", "okx", "--rest", kind], body);
        assert_eq!(lines, [json!({"error": "Instrument ID doesn't exist. (code 51001)"})], "{kind}");
    }
}

#[test]
fn closed_stdout_is_not_an_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_candlewick"))
        .args(["decode", "--exchange", "binance"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let block = BINANCE.repeat(100);
    while stdin.write_all(block.as_bytes()).is_ok() {}
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
