//! Tests of connections.

use super::*;
use crate::clock::Clock;
use crate::simulator::market::Market;
use crate::simulator::registry;
use crate::simulator::rest::Query;

const DAY: i64 = 86_400_000;

#[test]
fn converts_times_to_microseconds() {
    let frame = r#"{"E":1763672430123,"x":"1763672430123","i":17636724301234,"y":[1763672430123]}"#;
    let expected = r#"{"E":1763672430123000,"x":"1763672430123000","i":17636724301234,"y":[1763672430123]}"#;
    assert_eq!((in_microseconds(frame).as_str(), has_timestamp(expected)), (expected, false));
}

#[test]
fn announces_and_closes_connection_at_maximum_age() {
    let clock = Clock::manual(Timestamp::from_millis(1_763_672_430_000));
    let shared = Arc::new(Shared::new(Market::new(0), clock));
    let protocol = registry::connect(&shared, "/stream", &Query::from_pairs(&[])).unwrap();
    let mut session = Session::new(&shared, protocol);
    let notices = |messages: &[Message]| {
        let texts = messages.iter().filter_map(|message| message.to_text().ok());
        texts.filter(|text| text.contains("serverShutdown")).count()
    };
    let (opened, mut messages) = (session.opened, Vec::new());
    session.last_tick = opened + DAY - 62_000;
    assert_eq!(session.advance(opened + DAY - 60_000, &mut messages), ControlFlow::Continue(()));
    assert_eq!(notices(&messages), 0);
    session.unanswered_ping_at = None;
    assert_eq!(session.advance(opened + DAY - 59_000, &mut messages), ControlFlow::Continue(()));
    assert_eq!(notices(&messages), 1);
    session.last_tick = opened + DAY - 1_000;
    assert_eq!(session.advance(opened + DAY - 250, &mut messages), ControlFlow::Continue(()));
    assert_eq!(session.advance(opened + DAY, &mut messages), ControlFlow::Break(Disconnect::Close(1001, "")));
    assert_eq!(notices(&messages), 1, "announced once");
}
