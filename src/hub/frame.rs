//! WebSocket frames of events: encoded once and shared by all clients.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::{Channel, GapReason, Topic, wire};

/// Position of an event in its topic: the epoch and the sequence number in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceId {
    pub epoch: Arc<str>,
    pub seq: u64,
}

/// Sequence numbers of a topic that were missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedRange {
    /// Epoch of the sequence numbers; `None` if no event was received before.
    pub epoch: Option<Arc<str>>,
    /// The first missed number.
    pub from: Option<u64>,
    /// The last missed number; `None` if it is not known yet: the range ends at the next frame of the topic.
    pub to: Option<u64>,
    pub reason: GapReason,
}

/// A frame of a topic: data or a gap.
///
/// Frames from a server are not masked (RFC 6455, 5.1), so the bytes of a frame, header included, are the same for
/// every client.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` for a gap whose end is not known.
    sequence_id: Option<SequenceId>,
    /// The first sequence number of a gap, or the number of the data.
    first_seq: u64,
    /// `None` for data.
    gap_reason: Option<GapReason>,
    ws_frame: Bytes,
    /// Offset of the JSON in `ws_frame`.
    json_start: usize,
    /// Position of the data in `ws_frame`.
    data: Range<usize>,
    ws_payload_frame: OnceLock<Bytes>,
}

impl Frame {
    /// Builds a data frame; `data` is the encoded JSON object.
    #[must_use]
    pub fn data(topic: &Topic, sequence_id: SequenceId, data: &[u8]) -> Self {
        let json = wire::data_frame(topic, &sequence_id.epoch, sequence_id.seq, data);
        let (ws_frame, json_start) = text_frame(&json);
        // The data are the last member.
        let end = ws_frame.len() - 1;
        let data = end - data.len()..end;
        Self(Arc::new(Inner {
            first_seq: sequence_id.seq,
            sequence_id: Some(sequence_id),
            gap_reason: None,
            ws_frame,
            json_start,
            data,
            ws_payload_frame: OnceLock::new(),
        }))
    }

    /// Builds a gap frame.
    #[must_use]
    pub fn gap(topic: &Topic, missed: &MissedRange) -> Self {
        let MissedRange { epoch, from, to, reason } = missed;
        let (ws_frame, json_start) = text_frame(&wire::client_gap_frame(topic, epoch.as_deref(), *from, *to, *reason));
        Self(Arc::new(Inner {
            sequence_id: epoch.clone().zip(*to).map(|(epoch, seq)| SequenceId { epoch, seq }),
            first_seq: from.unwrap_or(0),
            gap_reason: Some(*reason),
            ws_frame,
            json_start,
            data: 0..0,
            ws_payload_frame: OnceLock::new(),
        }))
    }

    /// The sequence id of the data, or of the last missed event of a gap; `None` if the end of the gap is not known.
    #[must_use]
    pub fn sequence_id(&self) -> Option<&SequenceId> {
        self.0.sequence_id.as_ref()
    }

    /// The sequence number of the data, or the first missed number of a gap.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.0.first_seq
    }

    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.0.gap_reason.is_some()
    }

    /// The reason of a gap; `None` for data.
    #[must_use]
    pub fn gap_reason(&self) -> Option<GapReason> {
        self.0.gap_reason
    }

    /// The WebSocket text frame with the complete message.
    #[must_use]
    pub fn ws_frame(&self) -> &Bytes {
        &self.0.ws_frame
    }

    /// The JSON of the complete message.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0.ws_frame[self.0.json_start..]
    }

    /// The JSON of the data only; empty for a gap.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.ws_frame[self.0.data.clone()]
    }

    /// A WebSocket text frame with the data only.
    #[must_use]
    pub fn ws_payload_frame(&self) -> &Bytes {
        self.0.ws_payload_frame.get_or_init(|| text_frame(self.payload()).0)
    }
}

/// A WebSocket text frame, and the offset of its text.
fn text_frame(json: &[u8]) -> (Bytes, usize) {
    let mut out = Vec::with_capacity(json.len() + 10);
    put_text_frame(&mut out, json);
    let start = out.len() - json.len();
    (Bytes::from(out), start)
}

/// Appends a complete server-to-client text frame (RFC 6455, 5.2).
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

/// Whether topics of this channel are conflated: only the newest data matter.
pub(super) const fn conflates(channel: Channel) -> bool {
    matches!(channel, Channel::Ticker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    #[test]
    fn client_decodes_text_frames() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            put_text_frame(&mut out, text.as_bytes());
            let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(out), Role::Client, None);
            assert_eq!(client.read().unwrap(), Message::text(text));
        }
    }

    #[test]
    fn frame_exposes_its_parts() {
        let topic: Topic = "trades:kraken:BTC/USD".parse().unwrap();
        let id = SequenceId { epoch: "e".into(), seq: 7 };
        let frame = Frame::data(&topic, id.clone(), b"{\"price\":1}");
        assert_eq!(frame.payload(), b"{\"price\":1}");
        assert_eq!(
            std::str::from_utf8(frame.json()).unwrap(),
            "{\"type\":\"trade\",\"topic\":\"trades:kraken:BTC/USD\",\"epoch\":\"e\",\"seq\":7,\"data\":{\"price\":1}}"
        );
        assert_eq!((frame.sequence_id(), frame.first_seq(), frame.is_gap()), (Some(&id), 7, false));
        assert_eq!(&frame.ws_payload_frame()[..2], &[0x81, 11]);
        let missed = MissedRange { epoch: Some("e".into()), from: Some(3), to: Some(5), reason: GapReason::BusLost };
        let gap = Frame::gap(&topic, &missed);
        assert_eq!((gap.sequence_id().map(|id| id.seq), gap.first_seq(), gap.is_gap()), (Some(5), 3, true));
        assert_eq!(
            std::str::from_utf8(gap.json()).unwrap(),
            "{\"type\":\"gap\",\"topic\":\"trades:kraken:BTC/USD\",\"epoch\":\"e\",\"from_seq\":3,\"to_seq\":5,\
             \"reason\":\"bus_lost\"}"
        );
    }
}
