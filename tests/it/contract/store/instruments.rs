//! Contract of stored listings.

use candlewick::model::{ExchangeId, Instrument, InstrumentStatus};
use candlewick::store::Listing;
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
    store.put_instruments(ExchangeId::BINANCE, &reversed, minute(7)).await.unwrap();
    store.put_instruments(ExchangeId::KRAKEN, &kraken, minute(8)).await.unwrap();
    let expected = Listing { instruments: binance.clone(), read_at: minute(7) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected, "sorted by symbol");

    // The new listing keeps two instruments, one with a new native id, and adds one.
    let renamed = Instrument { native: "NEW".into(), stream_native: None, ..binance[2].clone() };
    let added = instrument(ExchangeId::BINANCE, 1_501);
    let new_listing = [renamed.clone(), binance[3].clone(), added.clone()];
    store.put_instruments(ExchangeId::BINANCE, &new_listing, minute(9)).await.unwrap();
    let delisted = |one: &Instrument| Instrument { status: InstrumentStatus::Delisted, ..one.clone() };
    let mut all: Vec<Instrument> = binance.iter().map(delisted).collect();
    (all[2], all[3]) = (renamed, binance[3].clone());
    // It sorts before the last one, whose name is not Latin.
    all.insert(all.len() - 1, added);
    let expected = Listing { instruments: all.clone(), read_at: minute(9) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
    let expected = Listing { instruments: kraken, read_at: minute(8) };
    assert_eq!(store.instruments(ExchangeId::KRAKEN).await.unwrap(), expected);

    store.put_instruments(ExchangeId::BINANCE, &[], minute(10)).await.unwrap();
    let expected = Listing { instruments: all.iter().map(delisted).collect(), read_at: minute(10) };
    assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap(), expected);
    // Relisted instruments take their status from the new listing.
    store.put_instruments(ExchangeId::BINANCE, &binance, minute(11)).await.unwrap();
    let mut instruments = store.instruments(ExchangeId::BINANCE).await.unwrap().instruments;
    assert_eq!(instruments.remove(1_499).status, InstrumentStatus::Delisted);
    assert_eq!(instruments, binance);
}
