//! What an exchange sends may be cut, mixed up or hostile: no panic, and no more comes out than went in. The payloads are
//! the fixtures and, where there are any, recordings of real ones. `fuzz/` goes on where this ends.

use std::sync::LazyLock;

use candlewick::exchanges::{Frame, Outbox, Reply, exchange};
use candlewick::model::{ExchangeId, Interval, wire};
use proptest::prelude::*;

use crate::exchanges::{NOW, bodies, candles_of, frames, listening, listing};
use crate::recordings;

/// Bodies that are longer take longer to break than they are worth.
const LONGEST: usize = 20_000;

/// What one exchange sends.
struct Payloads {
    frames: Vec<String>,
    bodies: Vec<String>,
}

fn payloads(id: ExchangeId) -> &'static Payloads {
    static ALL: LazyLock<Vec<Payloads>> = LazyLock::new(|| {
        let of = |id| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            let mut all = Payloads { frames: owned(&frames(id)), bodies: owned(&bodies(id)) };
            all.frames.extend(recordings::frames(id));
            all.bodies.extend(recordings::bodies(id).into_iter().filter(|body| body.len() <= LONGEST));
            all
        };
        ExchangeId::ALL.into_iter().map(of).collect()
    });
    let at = ExchangeId::ALL.iter().position(|&one| one == id).unwrap();
    &ALL[at]
}

/// A payload with some of it cut, replaced or repeated.
fn mutated(all: &'static [String]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}",
        "[-0-9eE.]{1,30}",
        proptest::sample::select(vec![
            "null",
            "\"",
            "{",
            "}",
            "[",
            "]",
            "\\u0000",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "99999999999999999999999",
            "\"NaN\"",
            "1e999",
            "0",
            "é",
            ",",
            ":",
        ])
        .prop_map(str::to_owned),
    ];
    let edit = (any::<prop::sample::Index>(), 0..12_usize, piece);
    (proptest::sample::select(all), proptest::collection::vec(edit, 1..4)).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

fn any_exchange() -> impl Strategy<Value = ExchangeId> {
    proptest::sample::select(ExchangeId::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn broken_frames_never_panic(
        (id, frame) in any_exchange().prop_flat_map(|id| (Just(id), mutated(&payloads(id).frames))),
    ) {
        for mut session in listening(exchange(id)).into_iter().chain([exchange(id).decoder()]) {
            let mut out = Outbox::default();
            let _ = session.on_frame(Frame::Text(&frame), NOW, &mut out);
            let _ = session.on_frame(Frame::Binary(frame.as_bytes()), NOW, &mut out);
            prop_assert!(out.events.len() <= frame.len(), "{} events of {} bytes", out.events.len(), frame.len());
            for event in out.events.iter() {
                let _ = wire::event_data(event, false);
            }
            let _ = session.on_timer(NOW, &mut out);
        }
    }

    #[test]
    fn broken_replies_never_panic(
        (id, body) in any_exchange().prop_flat_map(|id| (Just(id), mutated(&payloads(id).bodies))),
        status in proptest::sample::select(vec![200_u16, 400, 403, 404, 429, 500]),
        interval in proptest::sample::select(Interval::ALL.to_vec()),
    ) {
        let (exchange, reply) = (exchange(id), Reply { status, body: body.as_bytes() });
        if let Ok(listed) = (exchange.instruments().parse)(&reply, NOW) {
            prop_assert!(listed.len() <= body.len());
        }
        for call in exchange.ticker(&listing(exchange)[0]) {
            let _ = (call.parse)(&reply, NOW);
        }
        if let Some(Ok(rows)) = candles_of(exchange, interval).map(|call| (call.parse)(&reply, NOW)) {
            prop_assert!(rows.count() <= body.len());
        }
    }

    #[test]
    fn guessing_never_panics(id in any_exchange(), native in "\\PC{0,40}") {
        let _ = exchange(id).guess_symbol(&native);
    }
}
