//! What both targets share: markets to ask about and to listen to.

use std::sync::{Arc, LazyLock};

use candlewick::exchanges::{Exchange, RestResponse, exchange};
use candlewick::model::{ExchangeId, Instrument, Timestamp};

pub const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_500);

/// Every exchange with the listing of its fixtures.
pub fn listings() -> &'static [(&'static dyn Exchange, Vec<Arc<Instrument>>)] {
    static ALL: LazyLock<Vec<(&'static dyn Exchange, Vec<Arc<Instrument>>)>> =
        LazyLock::new(|| ExchangeId::all().filter_map(exchange).map(|exchange| (exchange, listing(exchange))).collect());
    &ALL
}

fn listing(exchange: &dyn Exchange) -> Vec<Arc<Instrument>> {
    let path = format!("{}/../tests/fixtures/{}/instruments.json", env!("CARGO_MANIFEST_DIR"), exchange.id());
    let body = std::fs::read(path).expect("each exchange has this fixture");
    let read = (exchange.instruments().parse)(&RestResponse { status: 200, body: &body }, NOW);
    read.expect("the fixture is a listing").into_iter().map(Arc::new).collect()
}
