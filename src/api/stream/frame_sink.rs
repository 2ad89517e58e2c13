//! What a transport implements to send the frames of a client.

use bytes::Bytes;

use crate::hub::{Frame, SequenceId, SlotId};
use crate::model::{Topic, wire};

/// Receives the frames of a client.
pub trait FrameSink {
    /// Writes a frame of a topic.
    fn frame(&mut self, slot: SlotId, frame: &Frame);
    /// Writes a snapshot of a topic.
    fn snapshot(&mut self, snapshot: Snapshot<'_>);
    /// Writes any other JSON text.
    fn text(&mut self, json: &[u8]);
}

/// The latest values of a topic, with the sequence id of the last event that they include.
pub struct Snapshot<'a> {
    pub slot: SlotId,
    pub topic: &'a Topic,
    pub sequence_id: Option<&'a SequenceId>,
    /// JSON objects.
    pub data: &'a [Bytes],
}

impl Snapshot<'_> {
    /// Encodes the snapshot as a frame.
    pub fn json(&self) -> Vec<u8> {
        wire::snapshot_frame(self.topic, self.sequence_id.map(|id| (&*id.epoch, id.seq)), self.data)
    }
}
