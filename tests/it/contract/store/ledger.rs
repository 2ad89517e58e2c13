//! Contract of the coverage ledger.

use candlewick::model::{Coverage, CoverageState, CoveredRange, Series};
use candlewick::store::SeriesWrite;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{ALL_TIME, Backend, claim, fetched, minutes, series};

/// Up to `max` claims in the first hour; some have an empty range.
fn random_claims(random: &mut StdRng, max: usize) -> Vec<CoveredRange> {
    (0..random.random_range(0..=max))
        .map(|_| {
            let start = random.random_range(0..60);
            let state = CoverageState::ALL[random.random_range(0..CoverageState::ALL.len())];
            claim((start, start + random.random_range(0..8)), state)
        })
        .collect()
}

fn claims_write(series: &Series, claims: &[CoveredRange]) -> SeriesWrite {
    SeriesWrite { series: series.clone(), candles: Vec::new(), claims: claims.to_vec() }
}

pub async fn coverage_matches_model(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(17);
    for symbol in ["A/X", "B/X", "C/X"] {
        let series = series(symbol);
        let mut model = Coverage::default();
        for round in 0..60 {
            let claims = random_claims(&mut random, 3);
            for claim in &claims {
                model.add(*claim);
            }
            store.write(&[claims_write(&series, &claims)]).await.unwrap();
            assert_eq!(store.coverage(&series, minutes(ALL_TIME)).await.unwrap(), model, "{symbol} round {round}");
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..20)));
            assert_eq!(store.coverage(&series, part).await.unwrap(), model.within(part), "{symbol} {part:?}");
        }
    }
}

pub async fn coverage_page_is_limited(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(29);
    for round in 0..20 {
        let series = series(&format!("C{round}/X"));
        let claims = random_claims(&mut random, 30);
        store.write(&[claims_write(&series, &claims)]).await.unwrap();
        let model: Coverage = claims.into_iter().collect();
        for _ in 0..20 {
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..70)));
            let limit = random.random_range(0..12);
            let expected: Vec<_> = model.within(part).ranges().iter().take(limit as usize).copied().collect();
            let page = store.coverage_page(&series, part, limit).await.unwrap();
            assert_eq!(page.ranges(), expected, "{round}: the first {limit} of {part:?}");
        }
    }
    let empty = store.coverage_page(&series("NO/SUCH"), minutes(ALL_TIME), 5).await.unwrap();
    assert_eq!(empty, Coverage::default());
}

/// Merging claims is associative, commutative and idempotent, also in a database.
pub async fn merging_claims_is_order_independent_and_idempotent(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(31);
    for round in 0..15 {
        let claims = random_claims(&mut random, 20);
        let model: Coverage = claims.iter().copied().collect();
        for order in 0..4 {
            let series = series(&format!("C{round}/X{order}"));
            // Random order, batch sizes and repetitions.
            let mut remaining = claims.clone();
            remaining.extend(claims.iter().copied().filter(|_| random.random_bool(0.3)));
            remaining.shuffle(&mut random);
            while !remaining.is_empty() {
                let batch: Vec<SeriesWrite> = (0..random.random_range(1..4))
                    .map(|_| {
                        claims_write(
                            &series,
                            &remaining.split_off(remaining.len() - random.random_range(0..=remaining.len())),
                        )
                    })
                    .collect();
                store.write(&batch).await.unwrap();
            }
            assert_eq!(
                store.coverage(&series, minutes(ALL_TIME)).await.unwrap(),
                model,
                "round {round}, order {order}"
            );
            store.write(&[claims_write(&series, &claims)]).await.unwrap();
            assert_eq!(
                store.coverage(&series, minutes(ALL_TIME)).await.unwrap(),
                model,
                "round {round}, order {order}, repeated"
            );
        }
    }
}

pub async fn claims_without_rows_are_stored(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let claims = vec![claim((0, 10), CoverageState::Empty), claim((20, 30), CoverageState::Unavailable)];
    store.write(&[SeriesWrite { series: btc.clone(), candles: Vec::new(), claims: claims.clone() }]).await.unwrap();
    assert_eq!(store.coverage(&btc, minutes(ALL_TIME)).await.unwrap().ranges(), claims);
    // Two adjacent ranges of one series in one batch.
    store.write(&[fetched(&btc, (10, 15)), fetched(&btc, (15, 20))]).await.unwrap();
    let known = store.coverage(&btc, minutes(ALL_TIME)).await.unwrap();
    assert_eq!(known.ranges(), [claims[0], claim((10, 20), CoverageState::Fetched), claims[1]]);
}
