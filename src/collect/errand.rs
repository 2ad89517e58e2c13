//! An exchange that is asked for candles without being collected: for the command line.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::aftermath;
use super::collector::CollectError;
use super::exchange_time;
use super::fill::{FillError, Filler};
use super::listing::{Listed, Reader};
use super::source::{Shared, Source};
use super::sweep::Doubts;
use super::writer::Writer;
use crate::exchanges::Exchange;
use crate::model::{BudgetState, Coverage, CoveredRange, Instrument, Knowledge, Series, Symbol, TimeRange, Timestamp};
use crate::store::StoreError;
use crate::upstream::{RestClient, Urgency};

/// How often a verification goes through what needs a second answer.
const VERIFY_PASSES: u32 = 2;

/// What asking again found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many ranges without a candle were asked for again.
    pub ranges: usize,
    /// Candles that the ledger had claimed not to exist.
    pub were_empty: usize,
    /// Candles that the ledger had claimed not to be had.
    pub were_lost: usize,
}

/// What is needed to fetch candles and to keep them.
pub struct Errand {
    filler: Filler,
    listed: Listed,
    /// Writes, and derives longer candles.
    helpers: JoinSet<()>,
}

impl Errand {
    /// Reads the listing of an exchange.
    ///
    /// # Errors
    /// [`CollectError`]: neither the exchange nor the store gave one.
    pub async fn begin(
        exchange: &'static dyn Exchange,
        source: &Source,
        shared: &Shared,
    ) -> Result<Self, CollectError> {
        let Shared { cache, clock, limits } = shared;
        let budgets = Arc::clone(&cache.budgets);
        let rest = RestClient::sharing(exchange, &source.rest_origins, clock.clone(), budgets)?;
        exchange_time::settle(&rest, clock).await;
        let store = Arc::clone(&source.store);
        let listed = Reader::new(exchange, Arc::clone(&rest), Arc::clone(&store), clock.clone()).first().await??;
        let mut helpers = JoinSet::new();
        let mut writer = |written| {
            let (store, stop) = (Arc::clone(&store), CancellationToken::new());
            let (writer, writing) = Writer::new(exchange.id(), store, limits.write_queue, clock.clone(), written, stop);
            helpers.spawn(writing);
            writer
        };
        // What is derived has a writer of its own, so that all of it ends, one after another, when the first is let go.
        let (written, batches) = mpsc::channel(64);
        let (writer, derived) = (writer(written), writer(mpsc::channel(1).0));
        let (announce, mut announced) = mpsc::channel(64);
        let doubts = Arc::new(Doubts::default());
        helpers.spawn(aftermath::follow(
            batches,
            Arc::clone(&store),
            derived,
            rest.exchange_clock().clone(),
            announce,
            doubts,
        ));
        // Nobody listens.
        helpers.spawn(async move { while announced.recv().await.is_some() {} });
        let (clock, exchange_clock, busy) = (clock.clone(), rest.exchange_clock().clone(), Arc::default());
        let (urgency, suspects) = (Urgency::Background, Arc::default());
        let filler = Filler { exchange, rest, store, writer, clock, exchange_clock, busy, urgency, suspects };
        Ok(Self { filler, listed, helpers })
    }

    /// Finds a market that is listed.
    #[must_use]
    pub fn find(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.listed.get(symbol)
    }

    /// The symbols of all markets that are listed.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.listed.symbols()
    }

    /// Makes a range known, however long it takes, and tells each time up to which it has come.
    ///
    /// # Errors
    /// What trying again would not mend.
    pub async fn fill(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        reached: impl FnMut(Timestamp) + Send,
    ) -> Result<(), FillError> {
        self.filler.fill_steadily(series, instrument, range, reached).await
    }

    /// Asks the exchange again for all of a range that the ledger calls empty or lost.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn verify(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<Verified, FillError> {
        let silent = |coverage: &Coverage| -> Vec<CoveredRange> {
            coverage.ranges().iter().copied().filter(|known| !known.state.has_candle()).collect()
        };
        let before = silent(&self.coverage(series, range).await?);
        for pass in 1..=VERIFY_PASSES {
            let mut due = None;
            for doubtful in &before {
                let verified = self.filler.verify(series, instrument, doubtful.range, Knowledge::has_candle);
                due = due.max(verified.await?);
            }
            match due {
                // What is silent without a candle on both sides needs a second answer.
                Some(due) if pass < VERIFY_PASSES => self.filler.clock.sleep_until(due).await,
                _ => break,
            }
        }
        let after = self.coverage(series, range).await?;
        let candles = |state: fn(Knowledge) -> bool| -> usize {
            let claims = before.iter().filter(|claim| state(claim.state));
            let now = claims.flat_map(|claim| after.within(claim.range).ranges().to_vec());
            now.filter(|now| now.state.has_candle()).map(|now| series.interval.opens(now.range).count()).sum()
        };
        Ok(Verified {
            ranges: before.len(),
            were_empty: candles(|state| state == Knowledge::Empty),
            were_lost: candles(Knowledge::is_lost),
        })
    }

    /// What the ledger says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn coverage(&self, series: &Series, range: TimeRange) -> Result<Coverage, StoreError> {
        self.filler.store.coverage(series, range).await
    }

    /// How much of each of the exchange's limits is used.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetState> {
        self.filler.rest.budgets()
    }

    /// Waits until everything is written, and what follows from it is derived.
    pub async fn end(self) {
        let Self { filler, mut helpers, .. } = self;
        drop(filler);
        while helpers.join_next().await.is_some() {}
    }
}
