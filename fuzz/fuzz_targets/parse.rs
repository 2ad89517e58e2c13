//! Input is the body of a REST reply, to every question that every exchange is asked: no panic, and no more rows than
//! bytes.
#![no_main]

use std::sync::Arc;

use candlewick::exchanges::{CandlePage, RestResponse};
use candlewick::model::{Interval, TimeRange, Timestamp};
use candlewick_fuzz::{NOW, listings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for (exchange, listing) in listings() {
        for status in [200, 400] {
            let reply = RestResponse { status, body };
            if let Ok(listed) = (exchange.instruments().parse)(&reply, NOW) {
                assert!(listed.len() <= body.len());
            }
            for call in exchange.ticker(&listing[0]) {
                let _ = (call.parse)(&reply, NOW);
            }
            for interval in [Interval::M1, Interval::H4, Interval::W1, Interval::Mo1] {
                let (instrument, range) = (Arc::clone(&listing[0]), TimeRange::new(Timestamp::EPOCH, NOW));
                let page = CandlePage { instrument, interval, range, requested_at: NOW };
                if let Some(Ok(rows)) = exchange.candles(&page).map(|call| (call.parse)(&reply, NOW)) {
                    assert!(rows.count() <= body.len());
                }
            }
        }
    }
});
