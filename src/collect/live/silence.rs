//! Detects silence on a connection with heartbeats, after which messages may be missing.

use std::time::Duration;

use crate::model::Timestamp;

/// Connections with heartbeats receive one per second. After a longer silence than this, messages may be missing.
pub const MAX_SILENCE: Duration = Duration::from_secs(15);

/// When the connection of one market last received a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilenceMonitor {
    last_received: Option<Timestamp>,
}

impl SilenceMonitor {
    /// A message was received at `at`; an acknowledgement is one. Returns the time of the message before it if the
    /// silence between the two was too long.
    pub fn on_message(&mut self, at: Timestamp) -> Option<Timestamp> {
        let before = self.last_received.unwrap_or(at);
        self.last_received = Some(before.max(at));
        (at.since(before) > MAX_SILENCE).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_with_next_message() {
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let mut monitor = SilenceMonitor::default();
        for (secs, silent_since) in [(0, None), (1, None), (16, None), (15, None), (32, Some(16)), (33, None)] {
            assert_eq!(monitor.on_message(at(secs)), silent_since.map(at), "{secs}");
        }
    }
}
