//! Contract of stored listings.

use std::slice;

use candlewick::model::{Contract, ExchangeId, Instrument, InstrumentStatus, MarketKind};
use candlewick::store::{Listing, StoreError};
use rust_decimal::Decimal;

use super::{Backend, minute};

pub async fn missing_instruments_become_delisted(backend: Backend) {
    let store = (backend.open)().await;
    // Real names: leading digits, significant case and non-Latin letters.
    let base = |n: usize| match n {
        0 => "1INCH".to_owned(),
        1 => "1000SATS".to_owned(),
        2 => "AAPLx".to_owned(),
        1_499 => "币安人生".to_owned(),
        _ => format!("C{n:04}"),
    };
    let instrument = |exchange, n: usize| Instrument {
        stream_native: n.is_multiple_of(2).then(|| format!("C{n}/USDT")),
        price_step: (!n.is_multiple_of(3)).then(|| Decimal::new(1, 2)),
        amount_step: (n % 3 != 1).then(|| Decimal::new(1, 8)),
        min_notional: n.is_multiple_of(4).then(|| Decimal::new(50, 1).normalize()),
        status: InstrumentStatus::ALL[n % 3],
        ..Instrument::new(exchange, format!("{}/USDT", base(n)).parse().unwrap(), format!("C{n}USDT"))
    };
    let listing = |exchange, count| {
        let mut all: Vec<Instrument> = (0..count).map(|n| instrument(exchange, n)).collect();
        all.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        all
    };
    let (binance, kraken) = (listing(ExchangeId::BINANCE, 1_500), listing(ExchangeId::KRAKEN, 3));
    let reversed: Vec<Instrument> = binance.iter().rev().cloned().collect();
    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &reversed, minute(7)).await.unwrap();
    store.put_instruments(ExchangeId::KRAKEN, MarketKind::Spot, &kraken, minute(8)).await.unwrap();
    let expected = Listing { instruments: binance.clone(), read_at: minute(7) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected, "sorted by symbol");

    // The new listing keeps two instruments, one with a new native id, and adds one.
    let renamed = Instrument { native: "NEW".into(), stream_native: None, ..binance[2].clone() };
    let added = instrument(ExchangeId::BINANCE, 1_501);
    let new_listing = [renamed.clone(), binance[3].clone(), added.clone()];
    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &new_listing, minute(9)).await.unwrap();
    let delisted = |one: &Instrument| Instrument { status: InstrumentStatus::Delisted, ..one.clone() };
    let mut all: Vec<Instrument> = binance.iter().map(delisted).collect();
    (all[2], all[3]) = (renamed, binance[3].clone());
    // It sorts before the last one, whose name is not Latin.
    all.insert(all.len() - 1, added);
    let expected = Listing { instruments: all.clone(), read_at: minute(9) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
    let expected = Listing { instruments: kraken, read_at: minute(8) };
    assert_eq!(store.instruments(ExchangeId::KRAKEN).await.unwrap(), expected);

    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &[], minute(10)).await.unwrap();
    let expected = Listing { instruments: all.iter().map(delisted).collect(), read_at: minute(10) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
    // Relisted instruments take their status from the new listing.
    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &binance, minute(11)).await.unwrap();
    let mut instruments = store.instruments(ExchangeId::BINANCE).await.unwrap().instruments;
    assert_eq!(instruments.remove(1_499).status, InstrumentStatus::Delisted);
    assert_eq!(instruments, binance);
}

pub async fn listing_replaces_only_its_own_kind(backend: Backend) {
    let store = (backend.open)().await;
    let exchange = ExchangeId::BINANCE;
    let instrument = |symbol: &str, contract| Instrument {
        contract,
        ..Instrument::new(exchange, symbol.parse().unwrap(), "BTCUSDT")
    };
    let contract = |size, expiry| Some(Contract { size, expiry });
    let spot = instrument("BTC/USDT", None);
    let perpetual = instrument("BTC/USDT:USDT", contract(Decimal::new(1, 3), None));
    let future = instrument("BTC/USDT:USDT-270326", contract(Decimal::ONE, Some(minute(30_000_000))));
    let inverse = instrument("BTC/USD:BTC", contract(Decimal::ONE_HUNDRED, None));
    let put = async |kind, listed: &[Instrument], at| store.put_instruments(exchange, kind, listed, minute(at)).await;
    put(MarketKind::Linear, &[perpetual.clone(), future.clone()], 9).await.unwrap();
    put(MarketKind::Spot, slice::from_ref(&spot), 7).await.unwrap();
    put(MarketKind::Inverse, slice::from_ref(&inverse), 8).await.unwrap();
    let instruments = vec![inverse.clone(), spot.clone(), perpetual.clone(), future.clone()];
    let expected = Listing { instruments, read_at: minute(7) };
    assert_eq!(store.instruments(exchange).await.unwrap(), expected, "the time of the oldest listing");

    put(MarketKind::Linear, slice::from_ref(&perpetual), 10).await.unwrap();
    put(MarketKind::Spot, slice::from_ref(&spot), 11).await.unwrap();
    let delisted = Instrument { status: InstrumentStatus::Delisted, ..future };
    let expected = Listing { instruments: vec![inverse, spot, perpetual.clone(), delisted], read_at: minute(8) };
    assert_eq!(store.instruments(exchange).await.unwrap(), expected);

    let other_kind = put(MarketKind::Spot, &[perpetual], 12).await;
    assert!(
        matches!(&other_kind, Err(StoreError::Corrupt(detail)) if detail.contains("BTC/USDT:USDT")),
        "{other_kind:?}"
    );
    assert_eq!(store.instruments(exchange).await.unwrap(), expected, "a rejected listing changes nothing");
}
