//! What exchanges list.

use candlewick::model::{ExchangeId, Instrument};
use candlewick::store::Listing;
use rust_decimal::Decimal;

use super::{Backend, minute};

pub async fn a_listing_is_replaced_as_a_whole(backend: Backend) {
    let store = (backend.open)().await;
    let instrument = |exchange, n: usize| Instrument {
        exchange,
        symbol: format!("C{n:04}/USDT").parse().unwrap(),
        native: format!("C{n}USDT"),
        stream_native: n.is_multiple_of(2).then(|| format!("C{n}/USDT")),
        price_step: (!n.is_multiple_of(3)).then(|| Decimal::new(1, 2)),
        amount_step: (n % 3 != 1).then(|| Decimal::new(1, 8)),
        active: !n.is_multiple_of(5),
    };
    let binance: Vec<Instrument> = (0..1_500).map(|n| instrument(ExchangeId::Binance, n)).collect();
    let kraken: Vec<Instrument> = (0..3).map(|n| instrument(ExchangeId::Kraken, n)).collect();
    let backward: Vec<Instrument> = binance.iter().rev().cloned().collect();
    store.put_instruments(ExchangeId::Binance, &backward, minute(7)).await.unwrap();
    store.put_instruments(ExchangeId::Kraken, &kraken, minute(8)).await.unwrap();
    let expected = Listing { instruments: binance.clone(), read_at: minute(7) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected, "sorted by symbol");

    store.put_instruments(ExchangeId::Binance, &binance[2..4], minute(9)).await.unwrap();
    let expected = Listing { instruments: binance[2..4].to_vec(), read_at: minute(9) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected);
    let expected = Listing { instruments: kraken, read_at: minute(8) };
    assert_eq!(store.instruments(ExchangeId::Kraken).await.unwrap(), expected);

    store.put_instruments(ExchangeId::Binance, &[], minute(10)).await.unwrap();
    let expected = Listing { instruments: Vec::new(), read_at: minute(10) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected);
}
