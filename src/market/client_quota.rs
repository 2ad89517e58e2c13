//! Client quotas: how much of an exchange's request budget one client may use.
//!
//! A client may use at most a quarter of the weight that an exchange allows per minute. The process that serves the
//! client charges it before it sends the request to the collector, so the quota does not depend on where the collector
//! runs. Usage is shared with other replicas through [`ClientLimits`]; their usage counts here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::{ClientLimits, CollectorRequest};
use crate::clock::Clock;
use crate::model::{ExchangeId, Interval, TimeRange};

/// Time in which a used quota is refilled.
const WINDOW: Duration = Duration::from_mins(1);

/// One client may use this fraction (1/4) of the budget.
const QUOTA_DIVISOR: u32 = 4;

/// Maximum number of tracked clients per exchange. Above it, all new clients share one quota.
const MAX_CLIENTS: usize = 16_384;

/// A repeated request within this time is free: it joins the pending request or is served from its result.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

/// Maximum number of remembered requests per client.
const MAX_REMEMBERED_REQUESTS: usize = 32;

/// Timeout for the usage at other replicas; without it only the usage in this process counts.
const SHARED_TIMEOUT: Duration = Duration::from_millis(250);

/// Identifies a client: the id of its API key, or its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// A client with this key id or address.
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

/// Request budget of an exchange and the cost of candles.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamCost {
    /// Weight per minute that the exchange allows in the scope of candle requests.
    pub per_minute: u32,
    /// Weight of one page of candles, and of any other request.
    pub page_weight: u32,
    /// Maximum number of candles per page.
    pub page_rows: u32,
    /// Number of latest candles that the exchange serves; `None` for all since the listing.
    pub history_rows: Option<u32>,
    /// Native intervals of the exchange. Other intervals are derived from the longest native one that divides them.
    pub intervals: &'static [Interval],
}

impl UpstreamCost {
    /// Weight per minute that one client may use.
    #[must_use]
    pub fn client_quota(&self) -> u32 {
        (self.per_minute / QUOTA_DIVISOR).max(self.page_weight).max(1)
    }

    /// Weight of fetching the candles of these ranges.
    #[must_use]
    pub fn candle_weight(&self, interval: Interval, ranges: &[TimeRange]) -> u32 {
        let native = self.intervals.iter().copied();
        let base = native.filter(|native| *native == interval || native.divides(interval)).max().unwrap_or(interval);
        let length = base.max_duration().as_millis().max(1);
        let max_rows = self.history_rows.map_or(u128::MAX, u128::from);
        let pages: u128 = ranges
            .iter()
            .map(|range| {
                range.duration().as_millis().div_ceil(length).min(max_rows).div_ceil(self.page_rows.max(1).into())
            })
            .fold(0, u128::saturating_add);
        u32::try_from(pages).unwrap_or(u32::MAX).saturating_mul(self.page_weight)
    }
}

/// The usage of each client at each exchange.
pub(super) struct ClientQuotas {
    clock: Clock,
    shared: Arc<dyn ClientLimits>,
    costs: HashMap<ExchangeId, UpstreamCost>,
    clients: Mutex<HashMap<ExchangeId, HashMap<ClientId, Usage>>>,
}

#[derive(Default)]
struct Usage {
    /// When the whole quota is available again, by the clock's `elapsed`.
    refilled_at: Duration,
    /// The latest requests and their times.
    recent_requests: VecDeque<(CollectorRequest, Duration)>,
}

impl ClientQuotas {
    pub fn new(clock: Clock, shared: Arc<dyn ClientLimits>) -> Self {
        Self { clock, shared, costs: HashMap::new(), clients: Mutex::default() }
    }

    pub fn set_costs(&mut self, costs: HashMap<ExchangeId, UpstreamCost>) {
        self.costs = costs;
    }

    pub fn cost(&self, exchange: ExchangeId) -> Option<&UpstreamCost> {
        self.costs.get(&exchange)
    }

    /// Charges a client for a request of this weight.
    ///
    /// # Errors
    /// The quota is used up; the value is the time until this request can be charged.
    pub async fn charge(&self, client: &ClientId, request: &CollectorRequest, weight: u32) -> Result<(), Duration> {
        let exchange = request.exchange();
        let Some(cost) = self.costs.get(&exchange) else { return Ok(()) };
        let time = WINDOW / cost.client_quota() * weight.min(cost.client_quota());
        if !self.try_charge(client, request, time)? || !self.shared.is_shared() {
            return Ok(());
        }
        let name = format!("upstream:{exchange}:{client}");
        let shared = self
            .clock
            .timeout(self.clock.to_clock_time(SHARED_TIMEOUT), self.shared.record_usage(&name, time, WINDOW))
            .await;
        if let Ok(Ok(level)) = shared {
            let refilled_at = self.clock.elapsed() + level.min(WINDOW);
            if let Some(usage) = self.clients.lock().get_mut(&exchange).and_then(|clients| clients.get_mut(client)) {
                usage.refilled_at = usage.refilled_at.max(refilled_at);
            }
        }
        Ok(())
    }

    /// Charges `time`, the part of [`WINDOW`] that equals the weight. Returns `false` for a repeated request, which is
    /// free.
    fn try_charge(&self, client: &ClientId, request: &CollectorRequest, time: Duration) -> Result<bool, Duration> {
        let now = self.clock.elapsed();
        let mut exchanges = self.clients.lock();
        let clients = exchanges.entry(request.exchange()).or_default();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(client) {
            clients.retain(|_, usage| usage.refilled_at > now);
        }
        let is_full = clients.len() >= MAX_CLIENTS && !clients.contains_key(client);
        let key = if is_full { ClientId::new("") } else { client.clone() };
        let usage = clients.entry(key).or_default();
        usage.recent_requests.retain(|(_, at)| *at + DUPLICATE_WINDOW > now);
        if usage.recent_requests.iter().any(|(recent, _)| recent == request) {
            return Ok(false);
        }
        let refilled_at = usage.refilled_at.max(now) + time;
        if refilled_at > now + WINDOW {
            return Err(refilled_at.saturating_sub(now + WINDOW));
        }
        usage.refilled_at = refilled_at;
        if usage.recent_requests.len() == MAX_REMEMBERED_REQUESTS {
            usage.recent_requests.pop_front();
        }
        usage.recent_requests.push_back((request.clone(), now));
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
        history_rows: None,
        intervals: &[Interval::M1, Interval::H1, Interval::D1],
    };

    fn quotas() -> (ClientQuotas, Clock) {
        let clock = Clock::manual(Timestamp::EPOCH);
        let mut quotas = ClientQuotas::new(clock.clone(), crate::cache::memory(clock.clone()).limits);
        quotas.set_costs([(ExchangeId::KRAKEN, COST)].into());
        (quotas, clock)
    }

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    fn request(exchange: ExchangeId, start: i64) -> CollectorRequest {
        let series = Series { exchange, symbol: "BTC/USD".parse().unwrap(), interval: Interval::M1 };
        CollectorRequest::Candles { series, range: minutes(start, start + 1) }
    }

    #[test]
    fn candle_weight_counts_pages() {
        assert_eq!(COST.candle_weight(Interval::M1, &[minutes(0, 100)]), 2);
        assert_eq!(COST.candle_weight(Interval::M1, &[minutes(0, 101), minutes(200, 201)]), 6);
        assert_eq!(COST.candle_weight(Interval::H1, &[minutes(0, 6_000)]), 2);
        assert_eq!(COST.candle_weight(Interval::H4, &[minutes(0, 24_000)]), 8, "derived from hours");
        let short = UpstreamCost { history_rows: Some(700), ..COST };
        assert_eq!(
            short.candle_weight(Interval::M1, &[minutes(0, 10_000_000)]),
            14,
            "limited by the available history"
        );
        let all_time = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
        assert_eq!(COST.candle_weight(Interval::M1, &[all_time; 100]), u32::MAX, "saturates");
    }

    #[tokio::test]
    async fn quota_limits_one_client_and_not_others() {
        let (quotas, clock) = quotas();
        let (one, other) = (ClientId::new("one"), ClientId::new("other"));
        assert_eq!(COST.client_quota(), 60);
        for at in 0..6 {
            assert_eq!(quotas.charge(&one, &request(ExchangeId::KRAKEN, at), 10).await, Ok(()));
        }
        let retry_after = quotas.charge(&one, &request(ExchangeId::KRAKEN, 6), 10).await;
        assert_eq!(retry_after, Err(Duration::from_secs(10)));
        assert_eq!(
            quotas.charge(&one, &request(ExchangeId::KRAKEN, 3), 10).await,
            Ok(()),
            "a repeated request is free"
        );
        assert_eq!(quotas.charge(&other, &request(ExchangeId::KRAKEN, 6), 60).await, Ok(()));
        assert_eq!(quotas.charge(&one, &request(ExchangeId::BINANCE, 6), 1_000).await, Ok(()), "no cost is configured");
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(quotas.charge(&one, &request(ExchangeId::KRAKEN, 6), 10).await, Ok(()));
    }

    /// Other replicas, where the client has used 58 of 60 seconds.
    struct RemoteUsage;

    #[async_trait::async_trait]
    impl ClientLimits for RemoteUsage {
        fn is_shared(&self) -> bool {
            true
        }

        async fn record_usage(&self, client: &str, usage: Duration, _: Duration) -> Result<Duration, CacheError> {
            assert_eq!(client, "upstream:kraken:one");
            Ok(usage + Duration::from_secs(58))
        }
    }

    #[tokio::test]
    async fn usage_at_other_replicas_counts() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let mut quotas = ClientQuotas::new(clock.clone(), Arc::new(RemoteUsage));
        quotas.set_costs([(ExchangeId::KRAKEN, COST)].into());
        let one = ClientId::new("one");
        assert_eq!(quotas.charge(&one, &request(ExchangeId::KRAKEN, 0), 1).await, Ok(()));
        let retry_after = quotas.charge(&one, &request(ExchangeId::KRAKEN, 1), 2).await;
        assert_eq!(retry_after, Err(Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn clients_above_maximum_share_one_quota() {
        let (quotas, _clock) = quotas();
        for id in 0..MAX_CLIENTS {
            let client = ClientId::new(&id.to_string());
            assert_eq!(quotas.charge(&client, &request(ExchangeId::KRAKEN, 0), 1).await, Ok(()));
        }
        assert_eq!(quotas.charge(&ClientId::new("a"), &request(ExchangeId::KRAKEN, 1), 60).await, Ok(()));
        assert!(quotas.charge(&ClientId::new("b"), &request(ExchangeId::KRAKEN, 2), 60).await.is_err());
        assert!(quotas.clients.lock()[&ExchangeId::KRAKEN].len() <= MAX_CLIENTS + 1);
    }

    proptest! {
        /// In any window a client can use at most the quota available at its start plus the quota refilled during it.
        #[test]
        fn no_window_exceeds_two_quotas(requests in prop::collection::vec((0_u64..20, 1_u32..100), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (quotas, clock) = quotas();
                let client = ClientId::new("one");
                let mut accepted: Vec<(Duration, u32)> = Vec::new();
                for (at, (pause, weight)) in (0..).zip(requests) {
                    clock.advance(Duration::from_secs(pause)).await;
                    let now = clock.elapsed();
                    if quotas.charge(&client, &request(ExchangeId::KRAKEN, at), weight).await.is_ok() {
                        accepted.push((now, weight.min(COST.client_quota())));
                    }
                    let recent = accepted.iter().filter(|(at, _)| *at + WINDOW > now);
                    let used: u32 = recent.map(|(_, weight)| weight).sum();
                    assert!(used <= 2 * COST.client_quota(), "{used}");
                }
            });
        }
    }
}
