//! Truncated, corrupted and hostile payloads of exchanges: no panic, and no more events than input bytes. The payloads
//! are the fixtures and, if present, recordings. `fuzz/` covers more.

use std::sync::LazyLock;

use candlewick::exchanges::{Frame, Outbox, RestResponse};
use candlewick::model::{ExchangeId, Interval, wire};
use proptest::prelude::*;

use crate::exchanges::{NOW, bodies, candles_of, frames, listing, subscribed_sessions};
use crate::recordings;
use crate::support::adapter;

/// Longer bodies take too long to mutate.
const MAX_BODY_BYTES: usize = 20_000;

/// Payloads of one exchange.
struct Payloads {
    frames: Vec<String>,
    bodies: Vec<String>,
}

fn payloads(id: ExchangeId) -> &'static Payloads {
    static ALL: LazyLock<Vec<Payloads>> = LazyLock::new(|| {
        let load = |id| {
            let mut all = Payloads { frames: frames(id), bodies: bodies(id).into() };
            all.frames.extend(recordings::frames(id));
            all.bodies.extend(recordings::bodies(id).into_iter().filter(|body| body.len() <= MAX_BODY_BYTES));
            all
        };
        ExchangeId::all().map(load).collect()
    });
    let at = ExchangeId::all().position(|one| one == id).unwrap();
    &ALL[at]
}

/// A payload with random edits: parts removed, replaced or inserted.
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
    proptest::sample::select(ExchangeId::all().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn mutated_frames_never_panic(
        (id, frame) in any_exchange().prop_flat_map(|id| (Just(id), mutated(&payloads(id).frames))),
    ) {
        for mut session in subscribed_sessions(adapter(id)).into_iter().chain([adapter(id).decoder()]) {
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
    fn mutated_replies_never_panic(
        (id, body) in any_exchange().prop_flat_map(|id| (Just(id), mutated(&payloads(id).bodies))),
        status in proptest::sample::select(vec![200_u16, 400, 403, 404, 429, 500]),
        interval in proptest::sample::select(Interval::ALL.to_vec()),
    ) {
        let (exchange, reply) = (adapter(id), RestResponse { status, body: body.as_bytes() });
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
    fn guessing_symbols_never_panics(id in any_exchange(), native in "\\PC{0,40}") {
        let _ = adapter(id).guess_symbol(&native);
    }
}
