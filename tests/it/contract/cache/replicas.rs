//! Contract between replicas: values, events, leases, requests, demand and budgets are shared.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::cache::{
    BudgetDecision, BudgetRequest, BusEvent, BusEventKind, CachedTicker, CollectorReply, CollectorRequest,
    RequestError, Version, new_epoch,
};
use candlewick::model::{
    Candle, ExchangeId, ExchangeState, FeedState, GapReason, Interval, Series, Source, Symbol, Ticker, TickerPatch,
    TimeRange, Timestamp, Topic, wire,
};
use rust_decimal::Decimal;

use super::Replicas;
use crate::support::wait_until;

const BINANCE: ExchangeId = ExchangeId::BINANCE;
const KRAKEN: ExchangeId = ExchangeId::KRAKEN;
const SECOND: Duration = Duration::from_secs(1);

fn btc() -> Symbol {
    "BTC/USDT".parse().unwrap()
}

fn ticker_topic() -> Topic {
    Topic::Ticker { exchange: BINANCE, symbol: btc() }
}

fn trades() -> Topic {
    Topic::Trades { exchange: BINANCE, symbol: btc() }
}

impl Replicas {
    fn ticker(&self, version: Version, last: i64) -> CachedTicker {
        let values = TickerPatch { last: Some(Decimal::new(last, 2)), bid: None, ..TickerPatch::default() };
        let received_at = self.clock.now();
        let ticker = Ticker { exchange: BINANCE, symbol: btc(), values, received_at, source: Source::Stream };
        let mut json = b"{".to_vec();
        wire::ticker_fields(&mut json, &ticker, false);
        CachedTicker { ticker, simulated: false, version, json: json.into() }
    }

    /// Caches and publishes a ticker, as a collector does.
    async fn publish_ticker(&self, cached: &CachedTicker) {
        self.collector.tickers.put(cached.clone(), 10 * SECOND).await.unwrap();
        let data = Bytes::from([&cached.json[..], b"}"].concat());
        let Version { token, seq } = cached.version;
        let event = BusEvent { epoch: new_epoch(token, 7), seq, kind: BusEventKind::Data(data) };
        self.collector.bus.publish(&ticker_topic(), event).await.unwrap();
    }

    async fn until_latest(&self, expected: &CachedTicker) {
        wait_until(&format!("the other replica has {:?}", expected.version), async || {
            self.api.tickers.get(BINANCE, &btc()).await.unwrap().as_ref() == Some(expected)
        })
        .await;
    }

    async fn publish(&self, topic: &Topic, numbers: impl IntoIterator<Item = u64>) {
        for seq in numbers {
            self.collector.bus.publish(topic, event(seq)).await.unwrap();
        }
    }
}

fn event(seq: u64) -> BusEvent {
    BusEvent { epoch: Arc::from("5.k3f9"), seq, kind: BusEventKind::Data(format!("{{\"n\":{seq}}}").into()) }
}

pub async fn tickers_reach_other_replica(replicas: Replicas) {
    let at = |seq| Version { token: 0xabc, seq };
    assert_eq!(replicas.api.tickers.get(BINANCE, &"NO/SUCH".parse().unwrap()).await.unwrap(), None);
    // The first get of a market reads the ticker from Redis; the bus delivers later ones.
    let first = replicas.ticker(at(2), 6_701_234);
    replicas.publish_ticker(&first).await;
    replicas.until_latest(&first).await;
    for seq in 3..40 {
        let next = replicas.ticker(at(seq), 6_701_234 + i64::try_from(seq).unwrap());
        replicas.publish_ticker(&next).await;
        if seq % 10 == 0 {
            replicas.until_latest(&next).await;
        }
    }
    replicas.until_latest(&replicas.api.tickers.get(BINANCE, &btc()).await.unwrap().unwrap()).await;
}

pub async fn ticker_with_older_lease_token_is_ignored(replicas: Replicas) {
    let new = replicas.ticker(Version { token: 9, seq: 1 }, 2);
    replicas.api.tickers.put(new.clone(), SECOND).await.unwrap();
    replicas.until_latest(&new).await;
    // The collector that lost the lease still publishes.
    replicas.publish_ticker(&replicas.ticker(Version { token: 8, seq: 900 }, 1)).await;
    // Updates arrive in order: once the next ticker arrives, the old collector's one has been handled.
    let next = replicas.ticker(Version { token: 9, seq: 2 }, 3);
    replicas.publish_ticker(&next).await;
    replicas.until_latest(&next).await;
    let other = super::add_replica(&replicas).await;
    assert_eq!(other.tickers.get(BINANCE, &btc()).await.unwrap(), Some(next), "Redis holds the new ticker");
}

fn series() -> Series {
    Series { exchange: BINANCE, symbol: btc(), interval: Interval::M1 }
}

fn candle(minute: i64, closed: bool) -> Candle {
    let price = Decimal::new(6_700_001, 2);
    Candle {
        timestamp: Timestamp::from_secs(minute * 60),
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Decimal::new(minute, 8),
        quote_volume: (minute % 2 == 0).then_some(Decimal::ONE),
        trades: (minute % 3 == 0).then_some(7),
        closed,
        revision: 1,
    }
}

pub async fn candles_reach_other_replica(replicas: Replicas) {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(6_000));
    for minute in 1..40 {
        for (seq, closed) in [(2 * minute, false), (2 * minute + 1, true), (2 * minute, false)] {
            let version = Version { token: 3, seq: u64::try_from(seq).unwrap() };
            replicas.collector.candles.put(&series(), candle(minute, closed), version).await.unwrap();
        }
    }
    let expected: Vec<Candle> = (24..40).map(|minute| candle(minute, true)).collect();
    wait_until("the newest candles arrive", async || {
        replicas.api.candles.get(&series(), range).await.unwrap() == expected
    })
    .await;
    let part = TimeRange::new(Timestamp::from_secs(1_500), Timestamp::from_secs(1_560));
    assert_eq!(replicas.api.candles.get(&series(), part).await.unwrap(), [candle(25, true)]);
}

pub async fn states_reach_other_replica(replicas: Replicas) {
    let state = ExchangeState {
        state: FeedState::Live,
        intervals: vec![Interval::M1, Interval::Mo1],
        symbols: vec![btc()],
        budgets: vec![candlewick::model::BudgetState {
            scope: "rest".into(),
            limit: 6_000,
            window: 60 * SECOND,
            used: 3,
            open_at: None,
        }],
        listed_at: Some(replicas.clock.now()),
        exchange_time: Some(replicas.clock.now()),
        ..ExchangeState::initial(KRAKEN, replicas.clock.now())
    };
    replicas.collector.states.put(state.clone()).await.unwrap();
    wait_until("the other replica has the state", async || {
        replicas.api.states.get(KRAKEN).await.unwrap().as_deref() == Some(&state)
    })
    .await;
    assert_eq!(replicas.api.states.all().await.unwrap().len(), 1);
    assert!(replicas.api.states.exchange_time(KRAKEN) >= state.exchange_time);
}

pub async fn events_reach_other_replica(replicas: Replicas) {
    let mut subscription = replicas.api.bus.subscribe(&trades()).await.unwrap();
    replicas.publish(&trades(), 1..=200).await;
    let gap = BusEvent { kind: BusEventKind::Gap(GapReason::UpstreamDisconnect), ..event(201) };
    replicas.collector.bus.publish(&trades(), gap.clone()).await.unwrap();
    for seq in 1..=200 {
        assert_eq!(subscription.next().await, Some(event(seq)));
    }
    assert_eq!(subscription.next().await, Some(gap));
    // A new subscription receives events from then on.
    drop(subscription);
    replicas.publish(&trades(), 202..=202).await;
    let mut new = replicas.api.bus.subscribe(&trades()).await.unwrap();
    replicas.publish(&trades(), 203..=203).await;
    while let Some(event) = new.next().await {
        if event.seq == 203 {
            break;
        }
        assert_eq!(event.seq, 202, "only the event before may still arrive");
    }
}

pub async fn missing_sequence_numbers_are_a_gap(replicas: Replicas) {
    let mut subscription = replicas.api.bus.subscribe(&trades()).await.unwrap();
    let bus_gap = |seq| BusEvent { kind: BusEventKind::Gap(GapReason::BusLost), ..event(seq) };
    replicas.publish(&trades(), [4, 5, 9]).await;
    for expected in [event(4), event(5), bus_gap(5), event(9)] {
        assert_eq!(subscription.next().await, Some(expected));
    }
    // Ticker topics may skip sequence numbers.
    let mut tickers = replicas.api.bus.subscribe(&ticker_topic()).await.unwrap();
    replicas.publish(&ticker_topic(), [4, 9]).await;
    for seq in [4, 9] {
        assert_eq!(tickers.next().await, Some(event(seq)));
    }
}

pub async fn lease_excludes_other_replicas(replicas: Replicas) {
    let lease = replicas.collector.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    assert_eq!(replicas.api.leases.acquire("collect:binance", 20 * SECOND).await.unwrap(), None);
    assert!(replicas.collector.leases.renew(&lease, 20 * SECOND).await.unwrap());
    replicas.collector.leases.release(&lease).await.unwrap();
    let next = replicas.api.leases.acquire("collect:binance", 4 * SECOND).await.unwrap().unwrap();
    assert!(next.token > lease.token);
    assert!(!replicas.collector.leases.renew(&lease, 20 * SECOND).await.unwrap());
}

pub async fn lease_tokens_increase_after_redis_data_loss(replicas: Replicas) {
    let first = replicas.collector.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    super::delete_data(&replicas).await;
    assert!(!replicas.collector.leases.renew(&first, SECOND).await.unwrap());
    let second = replicas.api.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    assert!(second.token > first.token, "{} and {}", first.token, second.token);
}

fn candles_request(minutes: i64) -> CollectorRequest {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(minutes * 60));
    CollectorRequest::Candles { series: series(), range }
}

pub async fn requests_reach_collector_on_other_replica(replicas: Replicas) {
    let mut receiver = replicas.collector.requests.serve(BINANCE).await.unwrap();
    let spawn_request = |request| {
        let requests = replicas.api.requests.clone();
        tokio::spawn(async move { requests.request(request, 100 * SECOND).await })
    };
    let replies = [
        Ok(CollectorReply::Stored),
        Ok(CollectorReply::Ticker(replicas.ticker(Version { token: 4, seq: 9 }, 5))),
        Err(RequestError::UnknownSymbol),
        Err(RequestError::RateLimited(Timestamp::from_secs(9))),
        Err(RequestError::Failed("the exchange is in maintenance".to_owned())),
    ];
    for reply in replies {
        // Identical requests of both replicas are sent once.
        let remote_caller = spawn_request(candles_request(3));
        let incoming = receiver.next().await.unwrap();
        assert_eq!(incoming.request, candles_request(3));
        let local_requests = replicas.collector.requests.clone();
        let local_caller = tokio::spawn(async move { local_requests.request(candles_request(3), 100 * SECOND).await });
        replicas.clock.sleep(SECOND).await;
        (incoming.reply)(reply.clone());
        assert_eq!(remote_caller.await.unwrap(), reply);
        assert_eq!(local_caller.await.unwrap(), reply);
    }
    let ticker_caller = spawn_request(CollectorRequest::Ticker { exchange: BINANCE, symbol: btc() });
    let incoming = receiver.next().await.unwrap();
    assert_eq!(incoming.request, CollectorRequest::Ticker { exchange: BINANCE, symbol: btc() });
    drop(incoming);
    assert!(matches!(ticker_caller.await.unwrap(), Err(RequestError::Failed(_))));
    // The collector stops during a request.
    let caller = spawn_request(candles_request(4));
    let _incoming = receiver.next().await.unwrap();
    drop(receiver);
    assert_eq!(caller.await.unwrap(), Err(RequestError::Offline));
    wait_until("the collector is deregistered", async || {
        replicas.api.requests.request(candles_request(5), SECOND).await == Err(RequestError::Offline)
    })
    .await;
}

pub async fn request_without_remote_collector_is_offline(replicas: Replicas) {
    assert_eq!(replicas.api.requests.request(candles_request(1), 100 * SECOND).await, Err(RequestError::Offline));
    let _receiver = replicas.collector.requests.serve(KRAKEN).await.unwrap();
    assert_eq!(replicas.api.requests.request(candles_request(1), 100 * SECOND).await, Err(RequestError::Offline));
}

pub async fn demand_reaches_other_replica(replicas: Replicas) {
    replicas.api.demand.add(BINANCE, &btc(), 20 * SECOND).await.unwrap();
    assert_eq!(replicas.collector.demand.symbols(BINANCE).await.unwrap(), [btc()]);
    assert_eq!(replicas.collector.demand.symbols(KRAKEN).await.unwrap(), Vec::<Symbol>::new());
    wait_until("the demand expires", async || replicas.collector.demand.symbols(BINANCE).await.unwrap().is_empty())
        .await;
}

pub async fn rate_limit_budgets_are_shared(replicas: Replicas) {
    let spend = |weight, used, banned| BudgetRequest {
        exchange: BINANCE,
        scope: "rest",
        weight,
        max_per_window: 10,
        window: 40 * SECOND,
        used_locally: used,
        ban_remaining: banned,
    };
    let none = Duration::ZERO;
    assert_eq!(replicas.collector.budgets.spend(spend(4, 0, none)).await.unwrap(), BudgetDecision::Granted);
    assert_eq!(replicas.api.budgets.spend(spend(4, 0, none)).await.unwrap(), BudgetDecision::Granted);
    let BudgetDecision::RetryAfter(wait) = replicas.api.budgets.spend(spend(4, 4, none)).await.unwrap() else {
        panic!("12 of 10")
    };
    assert!(wait <= 45 * SECOND && wait > 30 * SECOND, "{wait:?}");
    // Each scope has its own limit.
    let other = BudgetRequest { scope: "connections", ..spend(9, 0, none) };
    assert_eq!(replicas.api.budgets.spend(other).await.unwrap(), BudgetDecision::Granted);
    replicas.clock.sleep(wait + SECOND).await;
    assert_eq!(replicas.api.budgets.spend(spend(4, 0, none)).await.unwrap(), BudgetDecision::Granted);
    // Usage that the exchange reports counts for all replicas.
    assert!(matches!(
        replicas.collector.budgets.spend(spend(1, 10, none)).await.unwrap(),
        BudgetDecision::RetryAfter(_)
    ));
    // A ban applies to all replicas and the longest one wins, also a ban that only one replica still knows.
    replicas.collector.budgets.ban(BINANCE, "rest", 30 * SECOND).await.unwrap();
    replicas.collector.budgets.ban(BINANCE, "rest", SECOND).await.unwrap();
    let banned = replicas.api.budgets.spend(spend(1, 0, none)).await.unwrap();
    assert!(
        matches!(banned, BudgetDecision::Banned(remaining) if remaining > 20 * SECOND && remaining <= 30 * SECOND),
        "{banned:?}"
    );
    super::delete_data(&replicas).await;
    assert!(matches!(
        replicas.collector.budgets.spend(spend(1, 0, 20 * SECOND)).await.unwrap(),
        BudgetDecision::Banned(_)
    ));
    assert!(matches!(replicas.api.budgets.spend(spend(1, 0, none)).await.unwrap(), BudgetDecision::Banned(_)));
}

pub async fn clear_removes_exchange_on_all_replicas(replicas: Replicas) {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(6_000));
    let first = replicas.ticker(Version { token: 5, seq: 1 }, 1);
    replicas.publish_ticker(&first).await;
    replicas.collector.candles.put(&series(), candle(3, true), Version { token: 5, seq: 2 }).await.unwrap();
    wait_until("the candle arrives", async || !replicas.api.candles.get(&series(), range).await.unwrap().is_empty())
        .await;
    replicas.collector.tickers.clear(BINANCE).await.unwrap();
    replicas.collector.candles.clear(BINANCE).await.unwrap();
    assert_eq!(replicas.api.candles.get(&series(), range).await.unwrap(), []);
    assert_eq!(replicas.api.tickers.get(BINANCE, &btc()).await.unwrap(), None);
}
