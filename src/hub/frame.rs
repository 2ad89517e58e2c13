//! An event as it leaves: encoded once, framed once, shared by all who get it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::{Channel, GapReason, Topic, wire};

/// Where an event stands in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: Arc<str>,
    pub seq: u64,
}

/// The numbers of a topic that were missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The run that the numbers belong to; `None` where nothing was heard before.
    pub epoch: Option<Arc<str>>,
    pub from: Option<u64>,
    /// The last one; `None` where it is not known yet: up to the next frame of the topic.
    pub to: Option<u64>,
    pub reason: GapReason,
}

/// A frame of a topic: data or a gap.
///
/// What a server sends over a WebSocket is not masked (RFC 6455, 5.1), so the very bytes of a frame, header and all,
/// are the same for every client.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` for a gap whose numbers are not known.
    place: Option<Place>,
    /// The first number that it speaks of; of data its own.
    from: u64,
    /// Of a gap.
    reason: Option<GapReason>,
    framed: Bytes,
    /// Where in `framed` the JSON begins, and where the data lie.
    json: usize,
    data: Range<usize>,
    bare: OnceLock<Bytes>,
}

impl Frame {
    /// The frame of new data; `data` is the encoded object.
    #[must_use]
    pub fn data(topic: &Topic, place: Place, data: &[u8]) -> Self {
        let json = wire::data_frame(topic, &place.epoch, place.seq, data);
        let (framed, at) = framed(&json);
        // The data are the last member.
        let end = framed.len() - 1;
        let from = place.seq;
        let data = end - data.len()..end;
        Self(Arc::new(Inner { place: Some(place), from, reason: None, framed, json: at, data, bare: OnceLock::new() }))
    }

    /// The frame of a gap.
    #[must_use]
    pub fn gap(topic: &Topic, missed: &Missed) -> Self {
        let Missed { epoch, from, to, reason } = missed;
        let (framed, at) = framed(&wire::missed_frame(topic, epoch.as_deref(), *from, *to, *reason));
        let place = epoch.clone().zip(*to).map(|(epoch, seq)| Place { epoch, seq });
        let from = from.unwrap_or(0);
        Self(Arc::new(Inner {
            place,
            from,
            reason: Some(*reason),
            framed,
            json: at,
            data: 0..0,
            bare: OnceLock::new(),
        }))
    }

    /// Its place in the topic; of a gap that of the last number missed, `None` where that is not known.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The first number that it speaks of.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.0.from
    }

    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.0.reason.is_some()
    }

    /// Why there is a gap, if it is one.
    #[must_use]
    pub fn reason(&self) -> Option<GapReason> {
        self.0.reason
    }

    /// Ready for a WebSocket.
    #[must_use]
    pub fn framed(&self) -> &Bytes {
        &self.0.framed
    }

    /// The JSON text of the whole frame.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0.framed[self.0.json..]
    }

    /// The JSON of the data alone; empty for a gap.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.framed[self.0.data.clone()]
    }

    /// The data alone, ready for a WebSocket.
    #[must_use]
    pub fn framed_payload(&self) -> &Bytes {
        self.0.bare.get_or_init(|| framed(self.payload()).0)
    }
}

fn framed(json: &[u8]) -> (Bytes, usize) {
    let mut out = Vec::with_capacity(json.len() + 10);
    put_text_frame(&mut out, json);
    let at = out.len() - json.len();
    (Bytes::from(out), at)
}

/// Appends a whole text frame as a server sends it (RFC 6455, 5.2).
pub fn put_text_frame(out: &mut Vec<u8>, text: &[u8]) {
    const FINAL_TEXT: u8 = 0x81;
    out.push(FINAL_TEXT);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Of a topic of this channel only the newest data matter.
pub(super) const fn conflates(channel: Channel) -> bool {
    matches!(channel, Channel::Ticker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    #[test]
    fn a_client_reads_what_was_framed() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            put_text_frame(&mut out, text.as_bytes());
            let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(out), Role::Client, None);
            assert_eq!(client.read().unwrap(), Message::text(text));
        }
    }

    #[test]
    fn a_frame_knows_its_parts() {
        let topic: Topic = "trades:kraken:BTC/USD".parse().unwrap();
        let place = Place { epoch: "e".into(), seq: 7 };
        let frame = Frame::data(&topic, place.clone(), b"{\"price\":1}");
        assert_eq!(frame.payload(), b"{\"price\":1}");
        assert_eq!(
            std::str::from_utf8(frame.json()).unwrap(),
            "{\"type\":\"trade\",\"topic\":\"trades:kraken:BTC/USD\",\"epoch\":\"e\",\"seq\":7,\"data\":{\"price\":1}}"
        );
        assert_eq!((frame.place(), frame.from(), frame.is_gap()), (Some(&place), 7, false));
        assert_eq!(&frame.framed_payload()[..2], &[0x81, 11]);
        let missed = Missed { epoch: Some("e".into()), from: Some(3), to: Some(5), reason: GapReason::BusLost };
        let gap = Frame::gap(&topic, &missed);
        assert_eq!((gap.place().map(|place| place.seq), gap.from(), gap.is_gap()), (Some(5), 3, true));
        assert_eq!(
            std::str::from_utf8(gap.json()).unwrap(),
            "{\"type\":\"gap\",\"topic\":\"trades:kraken:BTC/USD\",\"epoch\":\"e\",\"from_seq\":3,\"to_seq\":5,\
             \"reason\":\"bus_lost\"}"
        );
    }
}
