//! Backfills that someone asked for: taken from the store, worked off in the background, several at a time.
//!
//! A backfill that an end of the process interrupts is still open in the store. Whoever collects the exchange next goes on
//! with it, and the ledger says where.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinSet};

use super::fill::Filler;
use super::listing::Listed;
use crate::model::{Backfill, BackfillState};
use crate::store::Backfills;
use crate::telemetry::collect::{BackfillEnded, BackfillStarted};

/// How often it is looked for new ones.
const LOOK: Duration = Duration::from_secs(2);

/// How many are worked on at a time: while one waits for the exchange or the store, another goes on.
const AT_A_TIME: usize = 4;

/// Works off the backfills of an exchange.
#[derive(Clone)]
pub struct Backfiller {
    /// In the background.
    pub filler: Arc<Filler>,
    pub listed: watch::Receiver<Arc<Listed>>,
}

impl Backfiller {
    /// Looks for backfills and works them off, for ever.
    pub async fn run(self) {
        let mut under_way: HashSet<String> = HashSet::new();
        let mut tasks = JoinSet::new();
        let mut running: HashMap<task::Id, Backfill> = HashMap::new();
        loop {
            // A store that does not answer is asked again.
            let open = self.filler.store.backfills(Backfills::Open(self.filler.exchange.id())).await;
            for backfill in open.unwrap_or_default() {
                if under_way.len() < AT_A_TIME && under_way.insert(backfill.id.clone()) {
                    let (this, work) = (self.clone(), backfill.clone());
                    let task = tasks.spawn(async move { this.work_off(work).await });
                    running.insert(task.id(), backfill);
                }
            }
            tokio::select! {
                () = self.filler.clock.sleep(LOOK) => {}
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let id = ended.as_ref().map_or_else(task::JoinError::id, |(id, ())| *id);
                    let Some(mut backfill) = running.remove(&id) else { continue };
                    under_way.remove(&backfill.id);
                    // It would end like this again.
                    if let Err(error) = ended {
                        let worked = Err(format!("its task ended: {error}"));
                        BackfillEnded { backfill: &backfill, result: &worked }.emit();
                        self.put(&mut backfill, BackfillState::Failed, worked.err()).await;
                    }
                }
            }
        }
    }

    async fn work_off(&self, mut backfill: Backfill) {
        BackfillStarted { backfill: &backfill }.emit();
        self.put(&mut backfill, BackfillState::Running, None).await;
        let instrument = self.listed.borrow().get(&backfill.series.symbol).cloned();
        let worked = match &instrument {
            None => Err(format!("{} does not list {}", backfill.series.exchange, backfill.series.symbol)),
            Some(instrument) => {
                let filled = self.filler.fill_steadily(&backfill.series, instrument, backfill.range, |_| {});
                filled.await.map_err(|error| error.to_string())
            }
        };
        BackfillEnded { backfill: &backfill, result: &worked }.emit();
        match worked {
            Ok(()) => self.put(&mut backfill, BackfillState::Done, None).await,
            Err(why) => self.put(&mut backfill, BackfillState::Failed, Some(why)).await,
        }
    }

    /// Keeps a state, however long the store needs.
    async fn put(&self, backfill: &mut Backfill, state: BackfillState, detail: Option<String>) {
        let Filler { store, clock, .. } = &*self.filler;
        (backfill.state, backfill.detail, backfill.updated_at) = (state, detail, clock.now());
        while store.put_backfill(backfill).await.is_err() {
            clock.sleep(LOOK).await;
        }
    }
}
