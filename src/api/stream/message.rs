//! Messages of `/v1/stream`: requests of clients and replies.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::client_feed::MAX_SNAPSHOT;
use crate::hub::SequenceId;
use crate::model::{Interval, wire};

/// Maximum length of a string `id`, in bytes.
const MAX_ID_BYTES: usize = 64;

/// Maximum length of an epoch, in bytes.
const MAX_EPOCH_BYTES: usize = 64;

/// Maximum value of `conflate_ms`.
const MAX_CONFLATE_MS: u64 = 60_000;

/// A request of a client. The reply carries the same id.
#[derive(Debug)]
pub struct Request {
    pub id: Value,
    pub op: Op,
}

/// The operation of a request.
#[derive(Debug)]
pub enum Op {
    Subscribe(Subscribe),
    Unsubscribe { topics: Vec<String> },
    List,
    Ping,
}

/// A subscription to topics of one channel.
#[derive(Debug)]
pub struct Subscribe {
    pub channel: ChannelName,
    pub exchange: Option<String>,
    pub symbols: Vec<String>,
    pub interval: Interval,
    pub snapshot: u32,
    /// Last received sequence ids, in the order of the symbols.
    pub resume: Vec<Option<SequenceId>>,
    pub conflate_ms: u64,
}

/// Channels that clients can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    Ticker,
    Trades,
    Candles,
    Status,
}

/// An invalid message: its id, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidMessage {
    pub id: Value,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum RawRequest {
    Subscribe {
        channel: ChannelName,
        exchange: Option<String>,
        #[serde(default)]
        symbols: Vec<String>,
        interval: Option<String>,
        snapshot: Option<u32>,
        resume: Option<RawResume>,
        conflate_ms: Option<u64>,
    },
    Unsubscribe {
        topics: Vec<String>,
    },
    List {},
    Ping {},
}

/// One sequence id for a single symbol, or one per symbol.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`resume` is {\"epoch\":…,\"seq\":…}, or a list of them in the order of `symbols`")]
enum RawResume {
    One(RawSequenceId),
    Each(Vec<Option<RawSequenceId>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSequenceId {
    epoch: String,
    seq: u64,
}

/// Parses a message.
///
/// # Errors
/// [`InvalidMessage`] states what is wrong or what is valid.
pub fn parse(text: &str) -> Result<Request, InvalidMessage> {
    let invalid = |id: Value, detail: String| InvalidMessage { id, detail };
    let mut message: Value = serde_json::from_str(text)
        .map_err(|error| invalid(Value::Null, format!("a message is a JSON object with `op`: {error}")))?;
    let Some(members) = message.as_object_mut() else {
        return Err(invalid(Value::Null, "a message is a JSON object with `op`".to_owned()));
    };
    let id = members.remove("id").unwrap_or(Value::Null);
    let is_valid = match &id {
        Value::Null | Value::Number(_) => true,
        Value::String(text) => text.len() <= MAX_ID_BYTES,
        _ => false,
    };
    if !is_valid {
        let detail = format!("`id` is a number, or a string of at most {MAX_ID_BYTES} bytes");
        return Err(invalid(Value::Null, detail));
    }
    let raw = serde_json::from_value(message).map_err(|error| invalid(id.clone(), error.to_string()))?;
    match check(raw) {
        Ok(op) => Ok(Request { id, op }),
        Err(detail) => Err(invalid(id, detail)),
    }
}

fn check(raw: RawRequest) -> Result<Op, String> {
    Ok(match raw {
        RawRequest::Unsubscribe { topics } => Op::Unsubscribe { topics },
        RawRequest::List {} => Op::List,
        RawRequest::Ping {} => Op::Ping,
        RawRequest::Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms } => {
            if channel != ChannelName::Status && symbols.is_empty() {
                return Err("`symbols` needs at least one market, such as [\"BTC/USDT\"]".to_owned());
            }
            if channel == ChannelName::Status && !symbols.is_empty() {
                return Err("the channel `status` has one topic per exchange and takes no `symbols`".to_owned());
            }
            let interval = match (channel, interval) {
                (ChannelName::Candles, Some(text)) => text.parse().map_err(|error| format!("`interval`: {error}"))?,
                (_, None) => Interval::M1,
                (_, Some(_)) => return Err("`interval` is valid for the channel `candles` only".to_owned()),
            };
            let conflate_ms = conflate_ms.unwrap_or(0);
            if conflate_ms > 0 && channel != ChannelName::Ticker {
                return Err("`conflate_ms` is valid for the channel `ticker` only".to_owned());
            }
            if conflate_ms > MAX_CONFLATE_MS {
                return Err(format!("`conflate_ms` is at most {MAX_CONFLATE_MS}"));
            }
            let snapshot = snapshot.unwrap_or(1);
            if snapshot > MAX_SNAPSHOT {
                return Err(format!("`snapshot` is at most {MAX_SNAPSHOT}"));
            }
            let resume = sequence_ids(resume, symbols.len())?;
            Op::Subscribe(Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms })
        }
    })
}

fn sequence_ids(resume: Option<RawResume>, symbols: usize) -> Result<Vec<Option<SequenceId>>, String> {
    let raw = match resume {
        None => return Ok(vec![None; symbols]),
        Some(RawResume::One(id)) => vec![Some(id)],
        Some(RawResume::Each(ids)) => ids,
    };
    if raw.len() != symbols {
        return Err("`resume` needs one element per symbol, in the order of `symbols`; use null to omit one".to_owned());
    }
    let parse_id = |raw: RawSequenceId| {
        let is_valid = !raw.epoch.is_empty() && raw.epoch.len() <= MAX_EPOCH_BYTES && raw.seq < u64::MAX;
        is_valid.then(|| SequenceId { epoch: Arc::from(raw.epoch), seq: raw.seq })
    };
    raw.into_iter()
        .map(|raw| raw.map(|raw| parse_id(raw).ok_or("`resume` is not a valid sequence id".to_owned())).transpose())
        .collect()
}

/// Encodes a reply to a request: `{"type":…,"id":…` and what `members` writes.
pub fn reply(kind: &str, id: &Value, members: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if !id.is_null() {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.to_string().as_bytes());
    }
    members(&mut out);
    out.push(b'}');
    out
}

/// Encodes the message that announces the shutdown.
pub fn shutdown(within: Duration) -> Vec<u8> {
    format!("{{\"type\":\"shutdown\",\"in_ms\":{}}}", within.as_millis()).into_bytes()
}

/// Encodes an error: `{"type":"error",…}`.
pub fn error(id: &Value, code: &str, detail: &str) -> Vec<u8> {
    reply("error", id, |out| {
        out.extend_from_slice(b",\"code\":");
        wire::string(out, code);
        out.extend_from_slice(b",\"detail\":");
        wire::string(out, detail);
    })
}

/// Writes `,"topics":[…]`.
pub fn topics(out: &mut Vec<u8>, topics: impl IntoIterator<Item = impl AsRef<str>>) {
    out.extend_from_slice(b",\"topics\":[");
    for (index, topic) in topics.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        wire::string(out, topic.as_ref());
    }
    out.push(b']');
}

/// Writes `,"rejected":[{"symbol":…,"code":…}]`; `key` is the name of the first member.
pub fn rejected<'a>(out: &mut Vec<u8>, key: &str, rejected: impl IntoIterator<Item = (&'a str, &'static str)>) {
    out.extend_from_slice(b",\"rejected\":[");
    for (index, (name, code)) in rejected.into_iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::string(out, key);
        out.push(b':');
        wire::string(out, name);
        out.extend_from_slice(b",\"code\":");
        wire::string(out, code);
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(text: &str) -> Subscribe {
        match parse(text).unwrap().op {
            Op::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parses_subscription_with_defaults() {
        let minimal = subscribe(r#"{"op":"subscribe","channel":"ticker","symbols":["BTC/USDT"]}"#);
        assert_eq!((minimal.interval, minimal.snapshot, minimal.conflate_ms), (Interval::M1, 1, 0));
        assert_eq!(minimal.resume, [None]);
        let full = subscribe(
            r#"{"op":"subscribe","id":"x","channel":"candles","exchange":"kraken","symbols":["A/B","C/D"],"interval":"1h",
                "snapshot":50,"resume":[null,{"epoch":"e","seq":7}]}"#,
        );
        assert_eq!((full.interval, full.snapshot), (Interval::H1, 50));
        assert_eq!(full.resume, [None, Some(SequenceId { epoch: "e".into(), seq: 7 })]);
    }

    #[test]
    fn rejects_invalid_messages_with_id_and_reason() {
        for (text, id, part) in [
            ("", Value::Null, "JSON"),
            ("[]", Value::Null, "object"),
            ("{\"op\":", Value::Null, "JSON"),
            (r#"{"id":[1],"op":"ping"}"#, Value::Null, "`id`"),
            (r#"{"id":1}"#, 1.into(), "op"),
            (r#"{"id":1,"op":"fly"}"#, 1.into(), "fly"),
            (r#"{"id":1,"op":"ping","x":1}"#, 1.into(), "x"),
            (r#"{"id":1,"op":"subscribe"}"#, 1.into(), "channel"),
            (r#"{"id":1,"op":"subscribe","channel":"ticker"}"#, 1.into(), "symbols"),
            (r#"{"id":1,"op":"subscribe","channel":"book","symbols":["A/B"]}"#, 1.into(), "book"),
            (r#"{"id":1,"op":"subscribe","channel":"status","symbols":["A/B"]}"#, 1.into(), "status"),
            (r#"{"id":1,"op":"subscribe","channel":"trades","symbols":["A/B"],"interval":"1m"}"#, 1.into(), "interval"),
            (
                r#"{"id":1,"op":"subscribe","channel":"candles","symbols":["A/B"],"interval":"7m"}"#,
                1.into(),
                "interval",
            ),
            (r#"{"id":1,"op":"subscribe","channel":"trades","symbols":["A/B"],"conflate_ms":9}"#, 1.into(), "conflate"),
            (r#"{"id":1,"op":"subscribe","channel":"ticker","symbols":["A/B"],"snapshot":1001}"#, 1.into(), "1000"),
            (r#"{"id":1,"op":"subscribe","channel":"trades","symbols":["A/B"],"resume":7}"#, 1.into(), "resume"),
            (r#"{"id":1,"op":"subscribe","channel":"trades","symbols":["A/B"],"resume":[]}"#, 1.into(), "resume"),
        ] {
            let invalid = parse(text).unwrap_err();
            assert_eq!(invalid.id, id, "{text}");
            assert!(invalid.detail.contains(part), "{text} -> {}", invalid.detail);
        }
    }
}
