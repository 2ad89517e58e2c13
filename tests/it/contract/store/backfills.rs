//! Contract of stored backfills.

use candlewick::model::{Backfill, BackfillState, ExchangeId, Series};
use candlewick::store::{BackfillFilter, MAX_STORED_BACKFILLS};

use super::{Backend, minute, minutes, series};

fn backfill(number: i64, state: BackfillState) -> Backfill {
    Backfill {
        id: format!("b{number:05}"),
        series: series("BTC/USDT"),
        range: minutes((number, number + 10)),
        state,
        detail: None,
        created_at: minute(number),
        updated_at: minute(number),
    }
}

pub async fn backfill_is_stored_and_updated(backend: Backend) {
    let store = (backend.open)().await;
    assert_eq!(store.backfills(BackfillFilter::Newest).await.unwrap(), []);
    let (mut first, second) = (backfill(1, BackfillState::Waiting), backfill(2, BackfillState::Running));
    let other_exchange = Backfill {
        id: "other".to_owned(),
        series: Series { exchange: ExchangeId::KRAKEN, ..series("BTC/USD") },
        ..backfill(3, BackfillState::Waiting)
    };
    for one in [&first, &second, &other_exchange] {
        store.put_backfill(one).await.unwrap();
    }
    let open = async || store.backfills(BackfillFilter::Open(ExchangeId::BINANCE)).await.unwrap();
    assert_eq!(open().await, [first.clone(), second.clone()], "oldest first");
    first.state = BackfillState::Failed;
    first.detail = Some("the exchange does not list it".to_owned());
    first.updated_at = minute(9);
    store.put_backfill(&first).await.unwrap();
    assert_eq!(open().await, std::slice::from_ref(&second));
    assert_eq!(store.backfills(BackfillFilter::Id("b00001")).await.unwrap(), [first.clone()]);
    assert_eq!(store.backfills(BackfillFilter::Id("b'--")).await.unwrap(), []);
    assert_eq!(store.backfills(BackfillFilter::Newest).await.unwrap(), [other_exchange, second, first]);
}

pub async fn only_newest_ended_backfills_are_retained(backend: Backend) {
    let store = (backend.open)().await;
    store.put_backfill(&backfill(0, BackfillState::Waiting)).await.unwrap();
    let limit = MAX_STORED_BACKFILLS;
    for number in 1..=limit + 2 {
        store.put_backfill(&backfill(number, BackfillState::Done)).await.unwrap();
    }
    let removed = store.backfills(BackfillFilter::Id("b00002")).await.unwrap();
    assert_eq!(removed, []);
    assert_eq!(store.backfills(BackfillFilter::Id("b00003")).await.unwrap().len(), 1);
    assert_eq!(store.backfills(BackfillFilter::Newest).await.unwrap().len(), usize::try_from(limit).unwrap());
    assert_eq!(
        store.backfills(BackfillFilter::Open(ExchangeId::BINANCE)).await.unwrap().len(),
        1,
        "an open backfill is never removed"
    );
}
