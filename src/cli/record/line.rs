//! What was recorded, as a JSON line.

use std::fmt::Write as _;

use crate::model::{Timestamp, wire};
use crate::upstream::{Traffic, What};

/// `{"t":"recv","conn":"binance.1","ts":1763672400.123,"data":"raw text"}`, and the like for what was sent, connected and
/// answered. Ends with a line feed.
pub fn write(out: &mut Vec<u8>, traffic: &Traffic) {
    out.clear();
    match &traffic.what {
        What::Connected { connection, address } => {
            begin(out, "connect", Some(connection), traffic.at);
            member(out, "addr", address);
        }
        What::Sent { connection, text } => {
            begin(out, "send", Some(connection), traffic.at);
            member(out, "data", text);
        }
        What::Received { connection, text } => {
            begin(out, "recv", Some(connection), traffic.at);
            member(out, "data", text);
        }
        What::ReceivedBinary { connection, bytes } => {
            begin(out, "binary", Some(connection), traffic.at);
            let mut hex = String::with_capacity(2 * bytes.len());
            for byte in bytes {
                let _ = write!(hex, "{byte:02x}");
            }
            member(out, "hex", &hex);
        }
        What::Answered { url, status, body } => {
            begin(out, "http", None, traffic.at);
            member(out, "url", url);
            out.extend_from_slice(format!(",\"status\":{status}").as_bytes());
            member(out, "data", &String::from_utf8_lossy(body));
        }
    }
    out.extend_from_slice(b"}\n");
}

/// What could not be kept up with: `{"t":"lost","ts":…,"frames":12}`.
pub fn lost(out: &mut Vec<u8>, frames: u64, at: Timestamp) {
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

    fn line(what: What) -> String {
        let mut out = Vec::new();
        write(&mut out, &Traffic { at: Timestamp::from_millis(1_763_672_400_023), what });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn traffic_is_a_line() {
        let connection = || "okx.1".into();
        for (what, expected) in [
            (
                What::Received { connection: connection(), text: "{\"a\":\"\t\"}".to_owned() },
                r#"{"t":"recv","conn":"okx.1","ts":1763672400.023,"data":"{\"a\":\"\u0009\"}"}"#,
            ),
            (
                What::Sent { connection: connection(), text: "ping".to_owned() },
                r#"{"t":"send","conn":"okx.1","ts":1763672400.023,"data":"ping"}"#,
            ),
            (
                What::Connected { connection: connection(), address: "wss://x/y".to_owned() },
                r#"{"t":"connect","conn":"okx.1","ts":1763672400.023,"addr":"wss://x/y"}"#,
            ),
            (
                What::ReceivedBinary { connection: connection(), bytes: vec![1, 255].into() },
                r#"{"t":"binary","conn":"okx.1","ts":1763672400.023,"hex":"01ff"}"#,
            ),
            (
                What::Answered { url: "https://x/y?z=1".to_owned(), status: 200, body: "{}".into() },
                r#"{"t":"http","ts":1763672400.023,"url":"https://x/y?z=1","status":200,"data":"{}"}"#,
            ),
        ] {
            let told = line(what);
            assert_eq!(told, format!("{expected}\n"));
            assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{told}");
        }
        let mut out = Vec::new();
        lost(&mut out, 12, Timestamp::from_millis(5));
        assert_eq!(out, b"{\"t\":\"lost\",\"ts\":0.005,\"frames\":12}\n");
    }
}
