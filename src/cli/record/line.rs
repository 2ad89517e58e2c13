//! Formats recorded traffic as JSON lines.

use crate::model::{Timestamp, wire};
use crate::upstream::{TrafficEvent, TrafficKind};

/// Writes a line such as `{"t":"recv","conn":"binance.1","ts":1763672400.123,"data":"raw text"}`, with a line feed.
/// `t` is `connect`, `send`, `recv`, `binary` or `http`.
pub fn write(out: &mut Vec<u8>, traffic: &TrafficEvent) {
    out.clear();
    match &traffic.kind {
        TrafficKind::Connected { connection, address } => {
            begin(out, "connect", Some(connection), traffic.at);
            member(out, "addr", address);
        }
        TrafficKind::Sent { connection, text } => {
            begin(out, "send", Some(connection), traffic.at);
            member(out, "data", text);
        }
        TrafficKind::Received { connection, text } => {
            begin(out, "recv", Some(connection), traffic.at);
            member(out, "data", text);
        }
        TrafficKind::ReceivedBinary { connection, bytes } => {
            begin(out, "binary", Some(connection), traffic.at);
            member(out, "hex", &hex::encode(bytes));
        }
        TrafficKind::Response { url, status, body } => {
            begin(out, "http", None, traffic.at);
            member(out, "url", url);
            out.extend_from_slice(format!(",\"status\":{status}").as_bytes());
            member(out, "data", &String::from_utf8_lossy(body));
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Writes a line for frames that were dropped because the queue was full: `{"t":"lost","ts":…,"frames":12}`.
pub fn dropped(out: &mut Vec<u8>, frames: u64, at: Timestamp) {
    out.clear();
    begin(out, "lost", None, at);
    out.extend_from_slice(format!(",\"frames\":{frames}}}\n").as_bytes());
}

fn begin(out: &mut Vec<u8>, kind: &str, connection: Option<&str>, at: Timestamp) {
    out.extend_from_slice(b"{\"t\":");
    wire::string(out, kind);
    if let Some(connection) = connection {
        member(out, "conn", connection);
    }
    let millis = at.millis();
    out.extend_from_slice(format!(",\"ts\":{}.{:03}", millis / 1_000, millis % 1_000).as_bytes());
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!(",\"{name}\":").as_bytes());
    wire::string(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: TrafficKind) -> String {
        let mut out = Vec::new();
        write(&mut out, &TrafficEvent { at: Timestamp::from_millis(1_763_672_400_023), kind });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_traffic_as_json_lines() {
        let connection = || "kraken.1".into();
        for (kind, expected) in [
            (
                TrafficKind::Received { connection: connection(), text: "{\"a\":\"\t\"}".to_owned() },
                r#"{"t":"recv","conn":"kraken.1","ts":1763672400.023,"data":"{\"a\":\"\u0009\"}"}"#,
            ),
            (
                TrafficKind::Sent { connection: connection(), text: "ping".to_owned() },
                r#"{"t":"send","conn":"kraken.1","ts":1763672400.023,"data":"ping"}"#,
            ),
            (
                TrafficKind::Connected { connection: connection(), address: "wss://x/y".to_owned() },
                r#"{"t":"connect","conn":"kraken.1","ts":1763672400.023,"addr":"wss://x/y"}"#,
            ),
            (
                TrafficKind::ReceivedBinary { connection: connection(), bytes: vec![1, 255].into() },
                r#"{"t":"binary","conn":"kraken.1","ts":1763672400.023,"hex":"01ff"}"#,
            ),
            (
                TrafficKind::Response { url: "https://x/y?z=1".to_owned(), status: 200, body: "{}".into() },
                r#"{"t":"http","ts":1763672400.023,"url":"https://x/y?z=1","status":200,"data":"{}"}"#,
            ),
        ] {
            let json = line(kind);
            assert_eq!(json, format!("{expected}\n"));
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
        let mut out = Vec::new();
        dropped(&mut out, 12, Timestamp::from_millis(5));
        assert_eq!(out, b"{\"t\":\"lost\",\"ts\":0.005,\"frames\":12}\n");
    }
}
