//! What a client may say on `/v1/stream`, and how it is answered.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::feed::MAX_SNAPSHOT;
use crate::hub::Place;
use crate::model::{Interval, wire};

/// The longest text of an `id`, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The longest name of an epoch, in bytes.
const MAX_EPOCH_BYTES: usize = 64;

/// The most that `conflate_ms` may be.
const MAX_CONFLATE_MS: u64 = 60_000;

/// A request, with the id that its answer carries.
#[derive(Debug)]
pub struct Request {
    pub id: Value,
    pub op: Op,
}

/// What is asked for.
#[derive(Debug)]
pub enum Op {
    Subscribe(Subscribe),
    Unsubscribe { topics: Vec<String> },
    List,
    Ping,
}

/// Topics of one channel.
#[derive(Debug)]
pub struct Subscribe {
    pub channel: ChannelName,
    pub exchange: Option<String>,
    pub symbols: Vec<String>,
    pub interval: Interval,
    pub snapshot: u32,
    /// Where the client was, in the order of the symbols.
    pub resume: Vec<Option<Place>>,
    pub conflate_ms: u64,
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    Ticker,
    Trades,
    Candles,
    Status,
}

/// A message that has no meaning here: its id, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    pub id: Value,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Raw {
    Subscribe {
        channel: ChannelName,
        exchange: Option<String>,
        #[serde(default)]
        symbols: Vec<String>,
        interval: Option<String>,
        snapshot: Option<u32>,
        resume: Option<Resume>,
        conflate_ms: Option<u64>,
    },
    Unsubscribe {
        topics: Vec<String>,
    },
    List {},
    Ping {},
}

/// One place, for one symbol, or one a symbol.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`resume` is {\"epoch\":…,\"seq\":…}, or a list of them in the order of `symbols`")]
enum Resume {
    One(RawPlace),
    Each(Vec<Option<RawPlace>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlace {
    epoch: String,
    seq: u64,
}

/// Reads a message.
///
/// # Errors
/// [`Invalid`] says what would be right.
pub fn read(text: &str) -> Result<Request, Invalid> {
    let refuse = |id: Value, detail: String| Invalid { id, detail };
    let mut message: Value = serde_json::from_str(text)
        .map_err(|error| refuse(Value::Null, format!("a message is a JSON object with `op`: {error}")))?;
    let Some(members) = message.as_object_mut() else {
        return Err(refuse(Value::Null, "a message is a JSON object with `op`".to_owned()));
    };
    let id = members.remove("id").unwrap_or(Value::Null);
    let sane = match &id {
        Value::Null | Value::Number(_) => true,
        Value::String(text) => text.len() <= MAX_ID_BYTES,
        _ => false,
    };
    if !sane {
        let detail = format!("`id` is a number, or a text of at most {MAX_ID_BYTES} bytes");
        return Err(refuse(Value::Null, detail));
    }
    let raw = serde_json::from_value(message).map_err(|error| refuse(id.clone(), error.to_string()))?;
    match check(raw) {
        Ok(op) => Ok(Request { id, op }),
        Err(detail) => Err(refuse(id, detail)),
    }
}

fn check(raw: Raw) -> Result<Op, String> {
    Ok(match raw {
        Raw::Unsubscribe { topics } => Op::Unsubscribe { topics },
        Raw::List {} => Op::List,
        Raw::Ping {} => Op::Ping,
        Raw::Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms } => {
            if channel != ChannelName::Status && symbols.is_empty() {
                return Err("`symbols` names at least one market, such as [\"BTC/USDT\"]".to_owned());
            }
            if channel == ChannelName::Status && !symbols.is_empty() {
                return Err("the channel `status` is one an exchange, and has no `symbols`".to_owned());
            }
            let interval = match (channel, interval) {
                (ChannelName::Candles, Some(text)) => text.parse().map_err(|error| format!("`interval`: {error}"))?,
                (_, None) => Interval::M1,
                (_, Some(_)) => return Err("only candles have an `interval`".to_owned()),
            };
            let conflate_ms = conflate_ms.unwrap_or(0);
            if conflate_ms > 0 && channel != ChannelName::Ticker {
                return Err("only tickers can be conflated: `conflate_ms` belongs to the channel `ticker`".to_owned());
            }
            if conflate_ms > MAX_CONFLATE_MS {
                return Err(format!("`conflate_ms` is at most {MAX_CONFLATE_MS}"));
            }
            let snapshot = snapshot.unwrap_or(1);
            if snapshot > MAX_SNAPSHOT {
                return Err(format!("`snapshot` is at most {MAX_SNAPSHOT}"));
            }
            let resume = places(resume, symbols.len())?;
            Op::Subscribe(Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms })
        }
    })
}

fn places(resume: Option<Resume>, symbols: usize) -> Result<Vec<Option<Place>>, String> {
    let raw = match resume {
        None => return Ok(vec![None; symbols]),
        Some(Resume::One(place)) => vec![Some(place)],
        Some(Resume::Each(places)) => places,
    };
    if raw.len() != symbols {
        return Err("`resume` has one place for each of `symbols`, in their order, or null".to_owned());
    }
    let place = |raw: RawPlace| {
        let sane = !raw.epoch.is_empty() && raw.epoch.len() <= MAX_EPOCH_BYTES && raw.seq < u64::MAX;
        sane.then(|| Place { epoch: Arc::from(raw.epoch), seq: raw.seq })
    };
    raw.into_iter()
        .map(|raw| raw.map(|raw| place(raw).ok_or("`resume` is a place that this service told".to_owned())).transpose())
        .collect()
}

/// A frame that answers a request: `{"type":…,"id":…` and what `members` writes.
pub fn answer(kind: &str, id: &Value, members: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
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

/// What is said before the process ends.
pub fn shutdown(within: Duration) -> Vec<u8> {
    format!("{{\"type\":\"shutdown\",\"in_ms\":{}}}", within.as_millis()).into_bytes()
}

/// `{"type":"error",…}`
pub fn error(id: &Value, code: &str, detail: &str) -> Vec<u8> {
    answer("error", id, |out| {
        out.extend_from_slice(b",\"code\":");
        wire::string(out, code);
        out.extend_from_slice(b",\"detail\":");
        wire::string(out, detail);
    })
}

/// `,"topics":[…]`
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

/// `,"rejected":[{"symbol":…,"code":…}]`; `what` names the first member.
pub fn rejected<'a>(out: &mut Vec<u8>, what: &str, rejected: impl IntoIterator<Item = (&'a str, &'static str)>) {
    out.extend_from_slice(b",\"rejected\":[");
    for (index, (name, code)) in rejected.into_iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::string(out, what);
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
        match read(text).unwrap().op {
            Op::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subscription_is_read_with_its_defaults() {
        let plain = subscribe(r#"{"op":"subscribe","channel":"ticker","symbols":["BTC/USDT"]}"#);
        assert_eq!((plain.interval, plain.snapshot, plain.conflate_ms), (Interval::M1, 1, 0));
        assert_eq!(plain.resume, [None]);
        let full = subscribe(
            r#"{"op":"subscribe","id":"x","channel":"candles","exchange":"okx","symbols":["A/B","C/D"],"interval":"1h",
                "snapshot":50,"resume":[null,{"epoch":"e","seq":7}]}"#,
        );
        assert_eq!((full.interval, full.snapshot), (Interval::H1, 50));
        assert_eq!(full.resume, [None, Some(Place { epoch: "e".into(), seq: 7 })]);
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_its_id_and_a_reason() {
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
            let invalid = read(text).unwrap_err();
            assert_eq!(invalid.id, id, "{text}");
            assert!(invalid.detail.contains(part), "{text} -> {}", invalid.detail);
        }
    }
}
