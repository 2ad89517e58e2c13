//! What is known of a series.

use candlewick::model::{Coverage, CoveredRange, Knowledge};
use candlewick::store::SeriesWrite;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Backend, EVER, claim, fetched, minutes, series};

pub async fn the_ledger_agrees_with_the_model(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(17);
    for symbol in ["A/X", "B/X", "C/X"] {
        let series = series(symbol);
        let mut model = Coverage::default();
        for round in 0..60 {
            let claims: Vec<CoveredRange> = (0..random.random_range(0..4))
                .map(|_| {
                    let start = random.random_range(0..60);
                    let state = Knowledge::ALL[random.random_range(0..Knowledge::ALL.len())];
                    claim((start, start + random.random_range(0..8)), state)
                })
                .collect();
            for claim in &claims {
                model.add(*claim);
            }
            store.write(&[SeriesWrite { series: series.clone(), candles: Vec::new(), claims }]).await.unwrap();
            assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), model, "{symbol} round {round}");
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..20)));
            assert_eq!(store.coverage(&series, part).await.unwrap(), model.within(part), "{symbol} {part:?}");
        }
    }
}

pub async fn claims_without_rows_are_kept(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let claims = vec![claim((0, 10), Knowledge::Empty), claim((20, 30), Knowledge::Unavailable)];
    store.write(&[SeriesWrite { series: btc.clone(), candles: Vec::new(), claims: claims.clone() }]).await.unwrap();
    assert_eq!(store.coverage(&btc, minutes(EVER)).await.unwrap().ranges(), claims);
    // Two parts of the same series in one batch, the second beside the first.
    store.write(&[fetched(&btc, (10, 15)), fetched(&btc, (15, 20))]).await.unwrap();
    let known = store.coverage(&btc, minutes(EVER)).await.unwrap();
    assert_eq!(known.ranges(), [claims[0], claim((10, 20), Knowledge::Fetched), claims[1]]);
}
