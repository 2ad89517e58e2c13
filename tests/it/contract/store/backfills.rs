//! Backfills that were asked for.

use candlewick::model::{Backfill, BackfillState, ExchangeId, Series};
use candlewick::store::{Backfills, KEPT_BACKFILLS};

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

pub async fn a_backfill_is_kept_and_changed(backend: Backend) {
    let store = (backend.open)().await;
    assert_eq!(store.backfills(Backfills::Newest).await.unwrap(), []);
    let (mut first, second) = (backfill(1, BackfillState::Waiting), backfill(2, BackfillState::Running));
    let elsewhere = Backfill {
        id: "other".to_owned(),
        series: Series { exchange: ExchangeId::Kraken, ..series("BTC/USD") },
        ..backfill(3, BackfillState::Waiting)
    };
    for one in [&first, &second, &elsewhere] {
        store.put_backfill(one).await.unwrap();
    }
    let open = async || store.backfills(Backfills::Open(ExchangeId::Binance)).await.unwrap();
    assert_eq!(open().await, [first.clone(), second.clone()], "the oldest first");
    first.state = BackfillState::Failed;
    first.detail = Some("the exchange does not list it".to_owned());
    first.updated_at = minute(9);
    store.put_backfill(&first).await.unwrap();
    assert_eq!(open().await, std::slice::from_ref(&second));
    assert_eq!(store.backfills(Backfills::Id("b00001")).await.unwrap(), [first.clone()]);
    assert_eq!(store.backfills(Backfills::Id("b'--")).await.unwrap(), []);
    assert_eq!(store.backfills(Backfills::Newest).await.unwrap(), [elsewhere, second, first]);
}

pub async fn of_backfills_that_ended_the_newest_are_kept(backend: Backend) {
    let store = (backend.open)().await;
    store.put_backfill(&backfill(0, BackfillState::Waiting)).await.unwrap();
    let most = KEPT_BACKFILLS;
    for number in 1..=most + 2 {
        store.put_backfill(&backfill(number, BackfillState::Done)).await.unwrap();
    }
    let gone = store.backfills(Backfills::Id("b00002")).await.unwrap();
    assert_eq!(gone, []);
    assert_eq!(store.backfills(Backfills::Id("b00003")).await.unwrap().len(), 1);
    assert_eq!(store.backfills(Backfills::Newest).await.unwrap().len(), usize::try_from(most).unwrap());
    assert_eq!(store.backfills(Backfills::Open(ExchangeId::Binance)).await.unwrap().len(), 1, "it is not done");
}
