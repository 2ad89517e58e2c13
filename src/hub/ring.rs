//! Ring buffer of the recent frames of one topic, bounded by number and bytes. All subscribers read from it, each with
//! its own cursor. A slow client needs no memory of its own; one that falls behind the oldest frame has missed frames.

use std::collections::VecDeque;

use super::frame::{Frame, SequenceId};
use crate::cache::epoch_token;

/// Limits of the ring buffer of a topic.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Maximum number of frames.
    pub frames: usize,
    /// Maximum total size of the frames in bytes; a single frame may exceed it.
    pub bytes: usize,
}

/// The frames of a topic. Each has an index, which is local to this process.
#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Frame>,
    /// The index of the first frame; the one after the last is `first + frames.len()`.
    first: u64,
    /// Total size of `frames`.
    bytes: usize,
    /// Total size of the frames that were evicted.
    evicted_bytes: u64,
    limits: RingLimits,
    /// Whether only the newest data frame is kept.
    conflates: bool,
    latest_sequence_id: Option<SequenceId>,
}

/// Maximum number of frames of a conflated topic: the newest data frame and gaps.
const MAX_CONFLATED_FRAMES: usize = 4;

/// Where a subscriber continues after a resume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResumePoint {
    /// No frame is missing; continue at this index.
    Continue(u64),
    /// Frames in between were evicted; continue at this index.
    Expired(u64),
}

impl Ring {
    pub fn new(limits: RingLimits, conflates: bool) -> Self {
        let frames = VecDeque::new();
        Self { frames, first: 0, bytes: 0, evicted_bytes: 0, limits, conflates, latest_sequence_id: None }
    }

    pub fn push(&mut self, frame: Frame) {
        if let Some(id) = frame.sequence_id() {
            self.latest_sequence_id = Some(id.clone());
        }
        let max_frames = if self.conflates { MAX_CONFLATED_FRAMES } else { self.limits.frames };
        self.bytes += frame.ws_frame().len();
        let has_data = !frame.is_gap();
        self.frames.push_back(frame);
        while self.frames.len() > 1
            && (self.frames.len() > max_frames
                || self.bytes > self.limits.bytes
                || (self.conflates && has_data && self.frames.front().is_some_and(|first| !first.is_gap())))
        {
            let Some(evicted) = self.frames.pop_front() else { break };
            self.bytes -= evicted.ws_frame().len();
            self.evicted_bytes += evicted.ws_frame().len() as u64;
            self.first += 1;
        }
    }

    /// The index of the next frame.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// The sequence id of the latest event received.
    pub fn latest_sequence_id(&self) -> Option<&SequenceId> {
        self.latest_sequence_id.as_ref()
    }

    /// Total size of all frames before an index, evicted ones included.
    pub fn bytes_before(&self, index: u64) -> u64 {
        let count = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let buffered: usize = self.frames.iter().take(count).map(|frame| frame.ws_frame().len()).sum();
        self.evicted_bytes + buffered as u64
    }

    /// The index of the newest data frame.
    pub fn latest_data_index(&self) -> Option<u64> {
        let at = self.frames.iter().rposition(|frame| !frame.is_gap())?;
        Some(self.first + at as u64)
    }

    /// Total size of the evicted frames.
    pub fn evicted_bytes(&self) -> u64 {
        self.evicted_bytes
    }

    /// The buffered frames from an index on, and the index of the first one.
    pub fn since(&self, index: u64) -> (u64, impl Iterator<Item = &Frame>) {
        let from = index.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        (from, self.frames.range(skip.min(self.frames.len())..))
    }

    /// The newest `count` data frames before an index, oldest first.
    pub fn recent_data(&self, count: usize, before: u64) -> Vec<Frame> {
        let upto = usize::try_from(before.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.frames.len());
        let mut recent: Vec<Frame> =
            self.frames.range(..upto).rev().filter(|frame| !frame.is_gap()).take(count).cloned().collect();
        recent.reverse();
        recent
    }

    /// Where to continue after a sequence id.
    pub fn resume(&self, id: &SequenceId) -> ResumePoint {
        // The client was connected to another replica that already received events of a newer collector.
        let latest = self.latest_sequence_id.as_ref();
        if latest.is_some_and(|latest| epoch_token(&latest.epoch) < epoch_token(&id.epoch)) {
            return ResumePoint::Continue(self.end());
        }
        if self.conflates {
            let known = latest.is_some_and(|latest| latest.epoch == id.epoch);
            return if known { ResumePoint::Continue(self.first) } else { ResumePoint::Expired(self.end()) };
        }
        let same_epoch = |frame: &Frame| frame.sequence_id().is_some_and(|at| at.epoch == id.epoch);
        let is_ahead = latest.is_some_and(|latest| latest.epoch == id.epoch && latest.seq <= id.seq);
        let Some(start) = self.frames.iter().position(same_epoch) else {
            return if is_ahead { ResumePoint::Continue(self.end()) } else { ResumePoint::Expired(self.end()) };
        };
        if !is_ahead && self.frames[start].first_seq() > id.seq + 1 {
            return ResumePoint::Expired(self.end());
        }
        let is_delivered =
            |frame: &&Frame| frame.sequence_id().is_some_and(|at| at.epoch == id.epoch && at.seq <= id.seq);
        let delivered = self.frames.range(start..).take_while(is_delivered).count();
        ResumePoint::Continue(self.first + (start + delivered) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::frame::MissedRange;
    use crate::model::{GapReason, Topic};

    fn topic() -> Topic {
        "trades:binance:BTC/USDT".parse().unwrap()
    }

    fn id(epoch: &str, seq: u64) -> SequenceId {
        SequenceId { epoch: epoch.into(), seq }
    }

    fn ring(frames: usize, conflates: bool) -> Ring {
        Ring::new(RingLimits { frames, bytes: 1 << 20 }, conflates)
    }

    fn data(epoch: &str, seq: u64) -> Frame {
        Frame::data(&topic(), id(epoch, seq), b"{}")
    }

    fn gap(epoch: &str, from: u64, to: Option<u64>) -> Frame {
        let missed = MissedRange { epoch: Some(epoch.into()), from: Some(from), to, reason: GapReason::BusLost };
        Frame::gap(&topic(), &missed)
    }

    #[test]
    fn evicts_frames_above_limits() {
        let mut by_number = ring(3, false);
        let mut by_bytes = Ring::new(RingLimits { frames: 100, bytes: 250 }, false);
        for seq in 1..=10 {
            by_number.push(data("e", seq));
            by_bytes.push(data("e", seq));
        }
        assert_eq!((by_number.frames.len(), by_number.first, by_number.end()), (3, 7, 10));
        assert_eq!(by_bytes.frames.len(), 250 / data("e", 1).ws_frame().len());
        let length = data("e", 1).ws_frame().len() as u64;
        assert_eq!((by_number.evicted_bytes(), by_number.bytes_before(8)), (7 * length, 8 * length));
        let huge = Frame::data(&topic(), id("e", 11), &[b' '; 1_000]);
        by_bytes.push(huge);
        assert_eq!(by_bytes.frames.len(), 1, "the newest frame is kept, whatever its size");
    }

    #[test]
    fn conflated_topic_keeps_newest_data_and_gaps() {
        let mut ring = ring(100, true);
        ring.push(data("e", 1));
        ring.push(gap("e", 2, Some(2)));
        ring.push(data("e", 3));
        ring.push(data("e", 4));
        let buffered: Vec<_> = ring.since(0).1.map(Frame::first_seq).collect();
        assert_eq!(buffered, [2, 3, 4]);
        for seq in 5..=9 {
            ring.push(data("e", seq));
        }
        assert_eq!(ring.since(0).1.last().map(Frame::first_seq), Some(9));
        assert!(ring.frames.len() <= MAX_CONFLATED_FRAMES);
    }

    #[test]
    fn resume_continues_or_expires() {
        let mut ring = ring(4, false);
        assert_eq!(ring.resume(&id("e", 5)), ResumePoint::Expired(0), "nothing was received yet");
        for seq in 1..=6 {
            ring.push(data("e", seq));
        }
        // Buffered are 3 to 6, with the indices 2 to 5.
        for (seq, expected) in [
            (1, ResumePoint::Expired(6)),
            (2, ResumePoint::Continue(2)),
            (4, ResumePoint::Continue(4)),
            (6, ResumePoint::Continue(6)),
            (9, ResumePoint::Continue(6)),
        ] {
            assert_eq!(ring.resume(&id("e", seq)), expected, "after {seq}");
        }
        assert_eq!(ring.resume(&id("d", 4)), ResumePoint::Expired(6));
        assert_eq!(ring.resume(&id("7.d", 4)), ResumePoint::Continue(6), "the client is ahead of this replica");
        ring.push(gap("f", 1, Some(1)));
        ring.push(data("f", 2));
        assert_eq!(ring.resume(&id("e", 5)), ResumePoint::Continue(5), "across the end of an epoch");
        assert_eq!(ring.resume(&id("e", 6)), ResumePoint::Continue(6));
        assert_eq!(ring.resume(&id("f", 1)), ResumePoint::Continue(7));
        ring.push(gap("f", 3, None));
        assert_eq!(ring.resume(&id("f", 2)), ResumePoint::Continue(8), "an open gap is delivered");
    }
}
