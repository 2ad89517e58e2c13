//! Lines of input are frames that one connection of each exchange gets, one after another: no panic, and no more events
//! than bytes. With a listing (sessions that listen to all of it) and without (the decoder of recordings).
#![no_main]

use candlewick::exchanges::{Frame, Outbox, Subscription};
use candlewick::model::{Channel, wire};
use candlewick_fuzz::{NOW, listings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for (exchange, listing) in listings() {
        let of = |instrument: &_| Channel::ALL.map(|channel| Subscription { channel, instrument: std::sync::Arc::clone(instrument) });
        let subscriptions: Vec<_> = listing.iter().flat_map(of).collect();
        let plans = exchange.connections(&subscriptions).into_iter();
        let sessions = plans.map(|plan| (plan.session)(plan.subscriptions)).chain([exchange.decoder()]);
        for mut session in sessions {
            let mut out = Outbox::default();
            session.on_open(NOW, &mut out);
            for line in data.split(|&byte| byte == b'\n') {
                let mut out = Outbox::default();
                let _ = match std::str::from_utf8(line) {
                    Ok(text) => session.on_frame(Frame::Text(text), NOW, &mut out),
                    Err(_) => session.on_frame(Frame::Binary(line), NOW, &mut out),
                };
                assert!(out.events.len() <= line.len(), "{} events of {} bytes", out.events.len(), line.len());
                for event in out.events.iter() {
                    let _ = wire::event_data(event, false);
                }
            }
            let _ = session.on_timer(NOW, &mut out);
        }
    }
});
