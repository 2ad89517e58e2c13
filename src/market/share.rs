//! What a question of a client costs an exchange's budget, and how much of it one client may cause.
//!
//! A client holds at most a quarter of what an exchange allows in a minute. What it causes is charged before the collector is
//! asked, in the process that the client asks, so that it holds wherever the collector is. Other replicas are told
//! ([`ClientLimits`]), and what they know raises the level here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::{ClientLimits, Question};
use crate::clock::Clock;
use crate::model::{ExchangeId, Interval, TimeRange};

/// What shares are counted in.
const WINDOW: Duration = Duration::from_mins(1);

/// One client holds at most one part in so many.
const PARTS: u32 = 4;

/// The most clients that are remembered of an exchange. Past it, those that are new have one share together.
const MOST_CLIENTS: usize = 16_384;

/// The same question within so long joins the one that is being answered, or finds its answer: it costs nothing more.
const SAME_QUESTION: Duration = Duration::from_secs(30);

/// How many questions of a client are remembered for that.
const REMEMBERED: usize = 32;

/// How long other replicas may take to answer; without their word this process counts for itself.
const SHARED_WITHIN: Duration = Duration::from_millis(250);

/// Who asks: the id of a key, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// A client by its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an exchange allows, and what candles cost there.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamCost {
    /// Weight that the exchange allows in a minute where candles are metered.
    pub per_minute: u32,
    /// What one page of candles costs, and any other question.
    pub page_weight: u32,
    /// The most candles of a page.
    pub page_rows: u32,
    /// How many candles back from now there are; `None` for back to the listing.
    pub reach_rows: Option<u32>,
    /// The intervals that the exchange gives itself; others are made of the longest one that fits.
    pub intervals: &'static [Interval],
}

impl UpstreamCost {
    /// The weight that one client may cause in a minute.
    #[must_use]
    pub fn share(&self) -> u32 {
        (self.per_minute / PARTS).max(self.page_weight).max(1)
    }

    /// The weight of fetching these ranges of an interval.
    #[must_use]
    pub fn of_candles(&self, interval: Interval, ranges: &[TimeRange]) -> u32 {
        let native = self.intervals.iter().copied();
        let base = native.filter(|native| *native == interval || native.divides(interval)).max().unwrap_or(interval);
        let length = base.max_duration().as_millis().max(1);
        let reach = self.reach_rows.map_or(u128::MAX, u128::from);
        let pages: u128 = ranges
            .iter()
            .map(|range| {
                range.duration().as_millis().div_ceil(length).min(reach).div_ceil(self.page_rows.max(1).into())
            })
            .fold(0, u128::saturating_add);
        u32::try_from(pages).unwrap_or(u32::MAX).saturating_mul(self.page_weight)
    }
}

/// How much of each exchange's budget each client has caused to be used.
pub(super) struct Shares {
    clock: Clock,
    shared: Arc<dyn ClientLimits>,
    costs: HashMap<ExchangeId, UpstreamCost>,
    clients: Mutex<HashMap<ExchangeId, HashMap<ClientId, Used>>>,
}

#[derive(Default)]
struct Used {
    /// When all of the share is free again, by the clock's `elapsed`.
    free_at: Duration,
    /// What was asked last, and when.
    asked: VecDeque<(Question, Duration)>,
}

impl Shares {
    pub fn new(clock: Clock, shared: Arc<dyn ClientLimits>) -> Self {
        Self { clock, shared, costs: HashMap::new(), clients: Mutex::default() }
    }

    pub fn set_costs(&mut self, costs: HashMap<ExchangeId, UpstreamCost>) {
        self.costs = costs;
    }

    pub fn cost(&self, exchange: ExchangeId) -> Option<&UpstreamCost> {
        self.costs.get(&exchange)
    }

    /// Charges a client for a question of this weight.
    ///
    /// # Errors
    /// Its share is used up: in how long this question could be charged.
    pub async fn charge(&self, client: &ClientId, question: &Question, weight: u32) -> Result<(), Duration> {
        let exchange = question.exchange();
        let Some(cost) = self.costs.get(&exchange) else { return Ok(()) };
        let time = WINDOW / cost.share() * weight.min(cost.share());
        if !self.take(client, question, time)? || !self.shared.is_shared() {
            return Ok(());
        }
        let name = format!("upstream:{exchange}:{client}");
        let told = self.clock.timeout(self.clock.inside(SHARED_WITHIN), self.shared.used(&name, time, WINDOW)).await;
        if let Ok(Ok(level)) = told {
            let free_at = self.clock.elapsed() + level.min(WINDOW);
            if let Some(used) = self.clients.lock().get_mut(&exchange).and_then(|clients| clients.get_mut(client)) {
                used.free_at = used.free_at.max(free_at);
            }
        }
        Ok(())
    }

    /// Uses `time` of a share; says whether that is new, or the question was charged for already.
    fn take(&self, client: &ClientId, question: &Question, time: Duration) -> Result<bool, Duration> {
        let now = self.clock.elapsed();
        let mut exchanges = self.clients.lock();
        let clients = exchanges.entry(question.exchange()).or_default();
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(client) {
            clients.retain(|_, used| used.free_at > now);
        }
        let is_full = clients.len() >= MOST_CLIENTS && !clients.contains_key(client);
        let own = if is_full { ClientId::new("") } else { client.clone() };
        let used = clients.entry(own).or_default();
        used.asked.retain(|(_, at)| *at + SAME_QUESTION > now);
        if used.asked.iter().any(|(asked, _)| asked == question) {
            return Ok(false);
        }
        let free_at = used.free_at.max(now) + time;
        if free_at > now + WINDOW {
            return Err(free_at.saturating_sub(now + WINDOW));
        }
        used.free_at = free_at;
        if used.asked.len() == REMEMBERED {
            used.asked.pop_front();
        }
        used.asked.push_back((question.clone(), now));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::CacheError;
    use crate::model::{Series, Timestamp};

    const COST: UpstreamCost = UpstreamCost {
        per_minute: 240,
        page_weight: 2,
        page_rows: 100,
        reach_rows: None,
        intervals: &[Interval::M1, Interval::H1, Interval::D1],
    };

    fn shares() -> (Shares, Clock) {
        let clock = Clock::manual(Timestamp::EPOCH);
        let mut shares = Shares::new(clock.clone(), crate::cache::memory(clock.clone()).limits);
        shares.set_costs([(ExchangeId::Kraken, COST)].into());
        (shares, clock)
    }

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    fn question(exchange: ExchangeId, start: i64) -> Question {
        let series = Series { exchange, symbol: "BTC/USD".parse().unwrap(), interval: Interval::M1 };
        Question::Candles { series, range: minutes(start, start + 1) }
    }

    #[test]
    fn candles_cost_what_their_pages_do() {
        assert_eq!(COST.of_candles(Interval::M1, &[minutes(0, 100)]), 2);
        assert_eq!(COST.of_candles(Interval::M1, &[minutes(0, 101), minutes(200, 201)]), 6);
        assert_eq!(COST.of_candles(Interval::H1, &[minutes(0, 6_000)]), 2);
        assert_eq!(COST.of_candles(Interval::H4, &[minutes(0, 24_000)]), 8, "made of hours");
        let short = UpstreamCost { reach_rows: Some(700), ..COST };
        assert_eq!(short.of_candles(Interval::M1, &[minutes(0, 10_000_000)]), 14, "there are no more");
        let ever = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
        assert_eq!(COST.of_candles(Interval::M1, &[ever; 100]), u32::MAX, "it has a bound");
    }

    #[tokio::test]
    async fn one_client_holds_no_more_than_its_share_and_takes_nothing_from_others() {
        let (shares, clock) = shares();
        let (one, other) = (ClientId::new("one"), ClientId::new("other"));
        assert_eq!(COST.share(), 60);
        for at in 0..6 {
            assert_eq!(shares.charge(&one, &question(ExchangeId::Kraken, at), 10).await, Ok(()));
        }
        let refused = shares.charge(&one, &question(ExchangeId::Kraken, 6), 10).await;
        assert_eq!(refused, Err(Duration::from_secs(10)));
        assert_eq!(shares.charge(&one, &question(ExchangeId::Kraken, 3), 10).await, Ok(()), "it is being answered");
        assert_eq!(shares.charge(&other, &question(ExchangeId::Kraken, 6), 60).await, Ok(()));
        assert_eq!(shares.charge(&one, &question(ExchangeId::Okx, 6), 1_000).await, Ok(()), "nothing is known of it");
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(shares.charge(&one, &question(ExchangeId::Kraken, 6), 10).await, Ok(()));
    }

    /// Other replicas, at which the client has used all but a second.
    struct Elsewhere;

    #[async_trait::async_trait]
    impl ClientLimits for Elsewhere {
        fn is_shared(&self) -> bool {
            true
        }

        async fn used(&self, client: &str, used: Duration, _: Duration) -> Result<Duration, CacheError> {
            assert_eq!(client, "upstream:kraken:one");
            Ok(used + Duration::from_secs(58))
        }
    }

    #[tokio::test]
    async fn what_a_client_caused_at_other_replicas_counts() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let mut shares = Shares::new(clock.clone(), Arc::new(Elsewhere));
        shares.set_costs([(ExchangeId::Kraken, COST)].into());
        let one = ClientId::new("one");
        assert_eq!(shares.charge(&one, &question(ExchangeId::Kraken, 0), 1).await, Ok(()));
        let refused = shares.charge(&one, &question(ExchangeId::Kraken, 1), 2).await;
        assert_eq!(refused, Err(Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn clients_past_the_bound_share() {
        let (shares, _clock) = shares();
        for id in 0..MOST_CLIENTS {
            let client = ClientId::new(&id.to_string());
            assert_eq!(shares.charge(&client, &question(ExchangeId::Kraken, 0), 1).await, Ok(()));
        }
        assert_eq!(shares.charge(&ClientId::new("a"), &question(ExchangeId::Kraken, 1), 60).await, Ok(()));
        assert!(shares.charge(&ClientId::new("b"), &question(ExchangeId::Kraken, 2), 60).await.is_err());
        assert!(shares.clients.lock()[&ExchangeId::Kraken].len() <= MOST_CLIENTS + 1);
    }

    proptest! {
        /// Whatever a client asks and when: what it causes in any window is at most what its share allows at once and what
        /// has come back meanwhile.
        #[test]
        fn no_window_holds_more_than_two_shares(asked in prop::collection::vec((0_u64..20, 1_u32..100), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (shares, clock) = shares();
                let client = ClientId::new("one");
                let mut passed: Vec<(Duration, u32)> = Vec::new();
                for (at, (pause, weight)) in (0..).zip(asked) {
                    clock.advance(Duration::from_secs(pause)).await;
                    let now = clock.elapsed();
                    if shares.charge(&client, &question(ExchangeId::Kraken, at), weight).await.is_ok() {
                        passed.push((now, weight.min(COST.share())));
                    }
                    let window: u32 = passed.iter().filter(|(at, _)| *at + WINDOW > now).map(|(_, weight)| weight).sum();
                    assert!(window <= 2 * COST.share(), "{window}");
                }
            });
        }
    }
}
