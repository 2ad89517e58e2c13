//! What is known of a series.

use candlewick::model::{Coverage, CoveredRange, Knowledge, Series};
use candlewick::store::SeriesWrite;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{Backend, EVER, claim, fetched, minutes, series};

/// Up to `most` claims in the first hour, some of them empty.
fn some_claims(random: &mut StdRng, most: usize) -> Vec<CoveredRange> {
    (0..random.random_range(0..=most))
        .map(|_| {
            let start = random.random_range(0..60);
            let state = Knowledge::ALL[random.random_range(0..Knowledge::ALL.len())];
            claim((start, start + random.random_range(0..8)), state)
        })
        .collect()
}

fn claims_of(series: &Series, claims: &[CoveredRange]) -> SeriesWrite {
    SeriesWrite { series: series.clone(), candles: Vec::new(), claims: claims.to_vec() }
}

pub async fn the_ledger_agrees_with_the_model(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(17);
    for symbol in ["A/X", "B/X", "C/X"] {
        let series = series(symbol);
        let mut model = Coverage::default();
        for round in 0..60 {
            let claims = some_claims(&mut random, 3);
            for claim in &claims {
                model.add(*claim);
            }
            store.write(&[claims_of(&series, &claims)]).await.unwrap();
            assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), model, "{symbol} round {round}");
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..20)));
            assert_eq!(store.coverage(&series, part).await.unwrap(), model.within(part), "{symbol} {part:?}");
        }
    }
}

pub async fn a_part_of_the_ledger_has_a_bound(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(29);
    for round in 0..20 {
        let series = series(&format!("C{round}/X"));
        let claims = some_claims(&mut random, 30);
        store.write(&[claims_of(&series, &claims)]).await.unwrap();
        let model: Coverage = claims.into_iter().collect();
        for _ in 0..20 {
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..70)));
            let most = random.random_range(0..12);
            let expected: Vec<_> = model.within(part).ranges().iter().take(most as usize).copied().collect();
            let told = store.ledger(&series, part, most).await.unwrap();
            assert_eq!(told.ranges(), expected, "{round}: the first {most} of {part:?}");
        }
    }
    let nothing = store.ledger(&series("NO/SUCH"), minutes(EVER), 5).await.unwrap();
    assert_eq!(nothing, Coverage::default());
}

/// Merging is associative, commutative and idempotent, also in a database.
pub async fn order_and_repetition_do_not_matter(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(31);
    for round in 0..15 {
        let claims = some_claims(&mut random, 20);
        let model: Coverage = claims.iter().copied().collect();
        for order in 0..4 {
            let series = series(&format!("C{round}/X{order}"));
            // In some order, in parts of some length, some of them again: each as a batch, or several in one.
            let mut left = claims.clone();
            left.extend(claims.iter().copied().filter(|_| random.random_bool(0.3)));
            left.shuffle(&mut random);
            while !left.is_empty() {
                let batch: Vec<SeriesWrite> = (0..random.random_range(1..4))
                    .map(|_| claims_of(&series, &left.split_off(left.len() - random.random_range(0..=left.len()))))
                    .collect();
                store.write(&batch).await.unwrap();
            }
            assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), model, "{round} in order {order}");
            store.write(&[claims_of(&series, &claims)]).await.unwrap();
            assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), model, "{round} again in order {order}");
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
