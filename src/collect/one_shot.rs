//! Fetches candles of an exchange without collecting it. Used by the command line.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{CollectorContext, DataSource};
use super::error::CollectError;
use super::exchange_time;
use super::fill::{FillError, Filler};
use super::listing::{InstrumentIndex, ListingReader};
use super::reconcile::RecheckQueue;
use super::rollup;
use super::writer::Writer;
use crate::exchanges::Exchange;
use crate::model::{
    BudgetState, Coverage, CoverageState, CoveredRange, Instrument, Series, Symbol, TimeRange, Timestamp,
};
use crate::store::StoreError;
use crate::upstream::{Priority, RestClient};

/// Maximum number of passes of a verification: some results need a second response.
const VERIFY_PASSES: u32 = 2;

/// Result of [`OneShotFetcher::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of ranges without candles that were fetched again.
    pub ranges: usize,
    /// Candles found in ranges that were `empty`.
    pub were_empty: usize,
    /// Candles found in ranges that were unobtainable.
    pub were_unobtainable: usize,
}

/// Fetches and stores candles of one exchange.
pub struct OneShotFetcher {
    filler: Filler,
    instruments: InstrumentIndex,
    /// The writers, and the derivation of longer candles.
    tasks: JoinSet<()>,
}

impl OneShotFetcher {
    /// Measures the exchange's clock and reads its listing.
    ///
    /// # Errors
    /// [`CollectError`] if neither the exchange nor the store has a listing.
    pub async fn connect(
        exchange: &'static dyn Exchange,
        source: &DataSource,
        context: &CollectorContext,
    ) -> Result<Self, CollectError> {
        let CollectorContext { cache, clock, limits } = context;
        let budgets = Arc::clone(&cache.budgets);
        let rest = RestClient::with_shared_budgets(exchange, &source.rest_origins, clock.clone(), budgets)?;
        exchange_time::measure_at_start(&rest, clock).await;
        let store = Arc::clone(&source.store);
        let instruments =
            ListingReader::new(exchange, Arc::clone(&rest), store.clone(), clock.clone()).read_initial().await??;
        let mut tasks = JoinSet::new();
        let mut writer = |written| {
            let (store, stop) = (Arc::clone(&store), CancellationToken::new());
            let (writer, writer_task) =
                Writer::new(exchange.id(), store, limits.write_queue, clock.clone(), written, stop);
            tasks.spawn(writer_task);
            writer
        };
        // Derived candles have their own writer: when the first writer is dropped, the tasks end one after another.
        let (written, batches) = mpsc::channel(64);
        let (writer, rollup_writer) = (writer(written), writer(mpsc::channel(1).0));
        let (publish, mut published) = mpsc::channel(64);
        let recheck_queue = Arc::new(RecheckQueue::default());
        tasks.spawn(rollup::run(
            batches,
            store.clone(),
            rollup_writer,
            rest.exchange_clock().clone(),
            publish,
            recheck_queue,
        ));
        // There are no subscribers: drop the candles.
        tasks.spawn(async move { while published.recv().await.is_some() {} });
        let (clock, exchange_clock, series_locks) = (clock.clone(), rest.exchange_clock().clone(), Arc::default());
        let (priority, suspect_ranges) = (Priority::Background, Arc::default());
        let filler =
            Filler { exchange, rest, store, writer, clock, exchange_clock, series_locks, priority, suspect_ranges };
        Ok(Self { filler, instruments, tasks })
    }

    /// The instrument of a listed market.
    #[must_use]
    pub fn instrument(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.instruments.get(symbol)
    }

    /// The symbols of all listed markets.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.instruments.symbols()
    }

    /// Fills a range, with retries; see `Filler::fill_with_retries`.
    ///
    /// # Errors
    /// Permanent errors only; see [`FillError::is_permanent`].
    pub async fn fill(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        progress: impl FnMut(Timestamp) + Send,
    ) -> Result<(), FillError> {
        self.filler.fill_with_retries(series, instrument, range, progress).await
    }

    /// Fetches again all parts of a range that are empty or unobtainable in the ledger.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn verify(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<VerifyReport, FillError> {
        let without_candle = |coverage: &Coverage| -> Vec<CoveredRange> {
            coverage.ranges().iter().copied().filter(|known| !known.state.has_candle()).collect()
        };
        let before = without_candle(&self.coverage(series, range).await?);
        for pass in 1..=VERIFY_PASSES {
            let mut due = None;
            for claim in &before {
                let verified = self.filler.recheck(series, instrument, claim.range, CoverageState::has_candle);
                due = due.max(verified.await?);
            }
            match due {
                // A range that is not between two candles of one response needs a second response.
                Some(due) if pass < VERIFY_PASSES => self.filler.clock.sleep_until(due).await,
                _ => break,
            }
        }
        let after = self.coverage(series, range).await?;
        let candles = |state: fn(CoverageState) -> bool| -> usize {
            let claims = before.iter().filter(|claim| state(claim.state));
            let now = claims.flat_map(|claim| after.within(claim.range).ranges().to_vec());
            now.filter(|now| now.state.has_candle()).map(|now| series.interval.open_times(now.range).count()).sum()
        };
        Ok(VerifyReport {
            ranges: before.len(),
            were_empty: candles(|state| state == CoverageState::Empty),
            were_unobtainable: candles(CoverageState::is_unobtainable),
        })
    }

    /// The coverage of a range in the ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn coverage(&self, series: &Series, range: TimeRange) -> Result<Coverage, StoreError> {
        self.filler.store.coverage(series, range).await
    }

    /// Usage of each rate limit of the exchange.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetState> {
        self.filler.rest.budgets()
    }

    /// Waits until all candles are written and longer candles are derived.
    pub async fn finish(self) {
        let Self { filler, mut tasks, .. } = self;
        drop(filler);
        while tasks.join_next().await.is_some() {}
    }
}
