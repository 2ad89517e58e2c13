//! What both targets share: markets to ask about and to listen to.

use std::sync::{Arc, LazyLock};

use candlewick::exchanges::{Exchange, RestResponse, exchange};
use candlewick::model::{ExchangeId, Instrument, Timestamp};

pub const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_500);

/// Every exchange with the listing of its fixtures.
pub fn listings() -> &'static [(&'static dyn Exchange, Vec<Arc<Instrument>>)] {
    static ALL: LazyLock<Vec<(&'static dyn Exchange, Vec<Arc<Instrument>>)>> =
        LazyLock::new(|| ExchangeId::ALL.map(|id| (exchange(id), listing(id))).into());
    &ALL
}

fn listing(id: ExchangeId) -> Vec<Arc<Instrument>> {
    let body = match id {
        ExchangeId::Binance => include_str!("../tests/fixtures/binance/exchange_info.json"),
        ExchangeId::Kraken => include_str!("../tests/fixtures/kraken/asset_pairs.json"),
        ExchangeId::Coinbase => include_str!("../tests/fixtures/coinbase/products.json"),
        ExchangeId::Bybit => include_str!("../tests/fixtures/bybit/instruments.json"),
        ExchangeId::Okx => include_str!("../tests/fixtures/okx/instruments.json"),
    };
    let read = (exchange(id).instruments().parse)(&RestResponse { status: 200, body: body.as_bytes() }, NOW);
    read.expect("the fixture is a listing").into_iter().map(Arc::new).collect()
}
