//! Runs the requested backfills of the store in the background, several at a time.
//!
//! A backfill stays open in the store when the process ends. The next collector of the exchange continues it; the
//! coverage ledger shows what is already fetched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinSet};

use super::fill::Filler;
use super::listing::InstrumentIndex;
use crate::model::{Backfill, BackfillState};
use crate::store::{BackfillFilter, BackfillStore};
use crate::telemetry::collect::{BackfillEnded, BackfillStarted};

/// Time between two reads of open backfills, and between two attempts to save a state.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// Maximum number of backfills in progress: while one waits for the exchange or the store, others continue.
const MAX_CONCURRENT: usize = 4;

/// Runs the backfills of an exchange.
#[derive(Clone)]
pub struct Backfiller {
    pub store: Arc<dyn BackfillStore>,
    /// With background priority.
    pub filler: Arc<Filler>,
    pub instruments: watch::Receiver<Arc<InstrumentIndex>>,
}

impl Backfiller {
    /// Reads open backfills and runs them, forever.
    pub async fn run(self) {
        let mut in_progress: HashSet<String> = HashSet::new();
        let mut tasks = JoinSet::new();
        let mut running: HashMap<task::Id, Backfill> = HashMap::new();
        loop {
            // A store error is ignored: the next poll tries again.
            let open = self.store.backfills(BackfillFilter::Open(self.filler.exchange.id())).await;
            for backfill in open.unwrap_or_default() {
                if in_progress.len() < MAX_CONCURRENT && in_progress.insert(backfill.id.clone()) {
                    let (this, to_run) = (self.clone(), backfill.clone());
                    let task = tasks.spawn(async move { this.run_backfill(to_run).await });
                    running.insert(task.id(), backfill);
                }
            }
            tokio::select! {
                () = self.filler.clock.sleep(POLL_EVERY) => {}
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let id = ended.as_ref().map_or_else(task::JoinError::id, |(id, ())| *id);
                    let Some(mut backfill) = running.remove(&id) else { continue };
                    in_progress.remove(&backfill.id);
                    // The task panicked. It would panic again, so the backfill fails.
                    if let Err(error) = ended {
                        let result = Err(format!("the backfill task ended: {error}"));
                        BackfillEnded { backfill: &backfill, result: &result }.emit();
                        self.save(&mut backfill, BackfillState::Failed, result.err()).await;
                    }
                }
            }
        }
    }

    async fn run_backfill(&self, mut backfill: Backfill) {
        BackfillStarted { backfill: &backfill }.emit();
        self.save(&mut backfill, BackfillState::Running, None).await;
        let instrument = self.instruments.borrow().get(&backfill.series.symbol).cloned();
        let result = match &instrument {
            None => Err(format!("{} does not list {}", backfill.series.exchange, backfill.series.symbol)),
            Some(instrument) => {
                let filled = self.filler.fill_with_retries(&backfill.series, instrument, backfill.range, |_| {});
                filled.await.map_err(|error| error.to_string())
            }
        };
        BackfillEnded { backfill: &backfill, result: &result }.emit();
        match result {
            Ok(()) => self.save(&mut backfill, BackfillState::Done, None).await,
            Err(error) => self.save(&mut backfill, BackfillState::Failed, Some(error)).await,
        }
    }

    /// Saves a state, and retries until the store accepts it.
    async fn save(&self, backfill: &mut Backfill, state: BackfillState, detail: Option<String>) {
        let clock = &self.filler.clock;
        (backfill.state, backfill.detail, backfill.updated_at) = (state, detail, clock.now());
        while self.store.put_backfill(backfill).await.is_err() {
            clock.sleep(POLL_EVERY).await;
        }
    }
}
