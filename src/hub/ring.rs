//! The recent frames of one topic, bounded by number and bytes. All subscribers read from it, each with a cursor of its
//! own: what waits for a slow one costs nothing, and who falls behind the oldest frame has missed something.

use std::collections::VecDeque;

use super::frame::{Frame, Place};
use crate::cache::token_of;

/// The bounds of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most frames of a topic that are kept.
    pub frames: usize,
    /// The most bytes of them.
    pub bytes: usize,
}

/// Frames of a topic, each with an index of its own that only this process knows.
#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Frame>,
    /// The index of the first frame; the one after the last is `first + frames.len()`.
    first: u64,
    /// How many bytes the frames have, and how many those before them had.
    bytes: usize,
    passed: u64,
    bounds: Bounds,
    /// Whether only the newest data are kept.
    conflates: bool,
    newest: Option<Place>,
}

/// Of a topic that conflates so many frames are kept: the newest data, and the gaps before it.
const CONFLATED: usize = 4;

/// What a subscriber that resumes has to be told first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// Everything since is here: go on from this index.
    Whole(u64),
    /// What lies between is not kept. Go on from this index.
    Expired(u64),
}

impl Ring {
    pub fn new(bounds: Bounds, conflates: bool) -> Self {
        let frames = VecDeque::new();
        Self { frames, first: 0, bytes: 0, passed: 0, bounds, conflates, newest: None }
    }

    pub fn push(&mut self, frame: Frame) {
        if let Some(place) = frame.place() {
            self.newest = Some(place.clone());
        }
        let most = if self.conflates { CONFLATED } else { self.bounds.frames };
        self.bytes += frame.framed().len();
        let has_data = !frame.is_gap();
        self.frames.push_back(frame);
        while self.frames.len() > 1
            && (self.frames.len() > most
                || self.bytes > self.bounds.bytes
                || (self.conflates && has_data && self.frames.front().is_some_and(|first| !first.is_gap())))
        {
            let Some(gone) = self.frames.pop_front() else { break };
            self.bytes -= gone.framed().len();
            self.passed += gone.framed().len() as u64;
            self.first += 1;
        }
    }

    /// The index that the next frame will have.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// The last number that was heard.
    pub fn newest(&self) -> Option<&Place> {
        self.newest.as_ref()
    }

    /// How many bytes went by before the frame of an index, since the ring began.
    pub fn bytes_before(&self, index: u64) -> u64 {
        let kept = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let inside: usize = self.frames.iter().take(kept).map(|frame| frame.framed().len()).sum();
        self.passed + inside as u64
    }

    /// The index of the newest data.
    pub fn newest_data(&self) -> Option<u64> {
        let at = self.frames.iter().rposition(|frame| !frame.is_gap())?;
        Some(self.first + at as u64)
    }

    /// The bytes of frames that are no longer kept.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The frames from an index on, with the index of the first of them.
    pub fn since(&self, index: u64) -> (u64, impl Iterator<Item = &Frame>) {
        let from = index.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        (from, self.frames.range(skip.min(self.frames.len())..))
    }

    /// The newest `count` data, oldest first, before an index.
    pub fn latest(&self, count: usize, before: u64) -> Vec<Frame> {
        let upto = usize::try_from(before.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.frames.len());
        let mut latest: Vec<Frame> =
            self.frames.range(..upto).rev().filter(|frame| !frame.is_gap()).take(count).cloned().collect();
        latest.reverse();
        latest
    }

    /// Where to go on after a place.
    pub fn resume(&self, place: &Place) -> Resumed {
        // On another replica the client was told of a collector that this one has not heard of yet.
        if self.newest.as_ref().is_some_and(|newest| token_of(&newest.epoch) < token_of(&place.epoch)) {
            return Resumed::Whole(self.end());
        }
        if self.conflates {
            let known = self.newest.as_ref().is_some_and(|newest| newest.epoch == place.epoch);
            return if known { Resumed::Whole(self.first) } else { Resumed::Expired(self.end()) };
        }
        let of_run = |frame: &Frame| frame.place().is_some_and(|at| at.epoch == place.epoch);
        let ahead = self.newest.as_ref().is_some_and(|newest| newest.epoch == place.epoch && newest.seq <= place.seq);
        let Some(start) = self.frames.iter().position(of_run) else {
            return if ahead { Resumed::Whole(self.end()) } else { Resumed::Expired(self.end()) };
        };
        if !ahead && self.frames[start].from() > place.seq + 1 {
            return Resumed::Expired(self.end());
        }
        let told = |frame: &&Frame| frame.place().is_some_and(|at| at.epoch == place.epoch && at.seq <= place.seq);
        let told = self.frames.range(start..).take_while(told).count();
        Resumed::Whole(self.first + (start + told) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::frame::Missed;
    use crate::model::{GapReason, Topic};

    fn topic() -> Topic {
        "trades:binance:BTC/USDT".parse().unwrap()
    }

    fn place(epoch: &str, seq: u64) -> Place {
        Place { epoch: epoch.into(), seq }
    }

    fn ring(frames: usize, conflates: bool) -> Ring {
        Ring::new(Bounds { frames, bytes: 1 << 20 }, conflates)
    }

    fn data(epoch: &str, seq: u64) -> Frame {
        Frame::data(&topic(), place(epoch, seq), b"{}")
    }

    fn gap(epoch: &str, from: u64, to: Option<u64>) -> Frame {
        let missed = Missed { epoch: Some(epoch.into()), from: Some(from), to, reason: GapReason::BusLost };
        Frame::gap(&topic(), &missed)
    }

    #[test]
    fn it_holds_no_more_than_its_bounds() {
        let mut by_number = ring(3, false);
        let mut by_bytes = Ring::new(Bounds { frames: 100, bytes: 250 }, false);
        for seq in 1..=10 {
            by_number.push(data("e", seq));
            by_bytes.push(data("e", seq));
        }
        assert_eq!((by_number.frames.len(), by_number.first, by_number.end()), (3, 7, 10));
        assert_eq!(by_bytes.frames.len(), 250 / data("e", 1).framed().len());
        let length = data("e", 1).framed().len() as u64;
        assert_eq!((by_number.passed(), by_number.bytes_before(8)), (7 * length, 8 * length));
        let huge = Frame::data(&topic(), place("e", 11), &[b' '; 1_000]);
        by_bytes.push(huge);
        assert_eq!(by_bytes.frames.len(), 1, "the newest is kept, however long it is");
    }

    #[test]
    fn of_a_ticker_only_the_newest_is_kept_and_the_gaps_before_it() {
        let mut ring = ring(100, true);
        ring.push(data("e", 1));
        ring.push(gap("e", 2, Some(2)));
        ring.push(data("e", 3));
        ring.push(data("e", 4));
        let kept: Vec<_> = ring.since(0).1.map(Frame::from).collect();
        assert_eq!(kept, [2, 3, 4]);
        for seq in 5..=9 {
            ring.push(data("e", seq));
        }
        assert_eq!(ring.since(0).1.last().map(Frame::from), Some(9));
        assert!(ring.frames.len() <= CONFLATED);
    }

    #[test]
    fn who_resumes_goes_on_where_it_was_or_is_told_that_it_cannot() {
        let mut ring = ring(4, false);
        assert_eq!(ring.resume(&place("e", 5)), Resumed::Expired(0), "nothing was heard yet");
        for seq in 1..=6 {
            ring.push(data("e", seq));
        }
        // Kept are 3 to 6, with the indices 2 to 5.
        for (seq, expected) in [
            (1, Resumed::Expired(6)),
            (2, Resumed::Whole(2)),
            (4, Resumed::Whole(4)),
            (6, Resumed::Whole(6)),
            (9, Resumed::Whole(6)),
        ] {
            assert_eq!(ring.resume(&place("e", seq)), expected, "after {seq}");
        }
        assert_eq!(ring.resume(&place("d", 4)), Resumed::Expired(6));
        assert_eq!(ring.resume(&place("7.d", 4)), Resumed::Whole(6), "the client is ahead of this replica");
        ring.push(gap("f", 1, Some(1)));
        ring.push(data("f", 2));
        assert_eq!(ring.resume(&place("e", 5)), Resumed::Whole(5), "over the end of an epoch");
        assert_eq!(ring.resume(&place("e", 6)), Resumed::Whole(6));
        assert_eq!(ring.resume(&place("f", 1)), Resumed::Whole(7));
        ring.push(gap("f", 3, None));
        assert_eq!(ring.resume(&place("f", 2)), Resumed::Whole(8), "an open gap is told");
    }
}
