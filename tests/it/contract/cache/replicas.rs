//! What one replica tells, the other hears.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::cache::{
    Answer, BusEvent, BusEventKind, KeptTicker, Position, Question, RequestError, Spend, Spent, epoch,
};
use candlewick::model::{
    Candle, ExchangeId, ExchangeState, FeedState, GapReason, Interval, Series, Source, Symbol, Ticker, TickerPatch,
    TimeRange, Timestamp, Topic, wire,
};
use rust_decimal::Decimal;

use super::Replicas;
use crate::support::until;

const BINANCE: ExchangeId = ExchangeId::Binance;
const KRAKEN: ExchangeId = ExchangeId::Kraken;
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
    fn kept(&self, position: Position, last: i64) -> KeptTicker {
        let values = TickerPatch { last: Some(Decimal::new(last, 2)), bid: None, ..TickerPatch::default() };
        let received_at = self.clock.now();
        let ticker = Ticker { exchange: BINANCE, symbol: btc(), values, received_at, source: Source::Stream };
        let mut json = b"{".to_vec();
        wire::ticker_fields(&mut json, &ticker, false);
        KeptTicker { ticker, simulated: false, position, json: json.into() }
    }

    /// Keeps and publishes it, as a collector does.
    async fn tell(&self, kept: &KeptTicker) {
        self.collector.tickers.put(kept.clone(), 10 * SECOND).await.unwrap();
        let data = Bytes::from([&kept.json[..], b"}"].concat());
        let Position { token, seq } = kept.position;
        let event = BusEvent { epoch: epoch(token, 7), seq, kind: BusEventKind::Data(data) };
        self.collector.bus.publish(&ticker_topic(), event).await.unwrap();
    }

    async fn until_latest(&self, expected: &KeptTicker) {
        until(&format!("the other replica has {:?}", expected.position), async || {
            self.server.tickers.get(BINANCE, &btc()).await.unwrap().as_ref() == Some(expected)
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

pub async fn tickers_reach_the_other_replica(two: Replicas) {
    let at = |seq| Position { token: 0xabc, seq };
    assert_eq!(two.server.tickers.get(BINANCE, &"NO/SUCH".parse().unwrap()).await.unwrap(), None);
    // What was told before anybody asked is in Redis; what comes after arrives by itself.
    let first = two.kept(at(2), 6_701_234);
    two.tell(&first).await;
    two.until_latest(&first).await;
    for seq in 3..40 {
        let next = two.kept(at(seq), 6_701_234 + i64::try_from(seq).unwrap());
        two.tell(&next).await;
        if seq % 10 == 0 {
            two.until_latest(&next).await;
        }
    }
    two.until_latest(&two.server.tickers.get(BINANCE, &btc()).await.unwrap().unwrap()).await;
}

pub async fn an_old_collector_changes_nothing(two: Replicas) {
    let new = two.kept(Position { token: 9, seq: 1 }, 2);
    two.server.tickers.put(new.clone(), SECOND).await.unwrap();
    two.until_latest(&new).await;
    // The one who lost the lease does not know it yet.
    two.tell(&two.kept(Position { token: 8, seq: 900 }, 1)).await;
    // Told in order: when the next is there, the last was heard.
    let next = two.kept(Position { token: 9, seq: 2 }, 3);
    two.tell(&next).await;
    two.until_latest(&next).await;
    let other = super::replica_of(&two).await;
    assert_eq!(other.tickers.get(BINANCE, &btc()).await.unwrap(), Some(next), "in Redis, too");
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

pub async fn candles_reach_the_other_replica(two: Replicas) {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(6_000));
    for minute in 1..40 {
        for (seq, closed) in [(2 * minute, false), (2 * minute + 1, true), (2 * minute, false)] {
            let position = Position { token: 3, seq: u64::try_from(seq).unwrap() };
            two.collector.candles.put(&series(), candle(minute, closed), position).await.unwrap();
        }
    }
    let expected: Vec<Candle> = (24..40).map(|minute| candle(minute, true)).collect();
    until("the newest candles are there", async || two.server.candles.get(&series(), range).await.unwrap() == expected)
        .await;
    let some = TimeRange::new(Timestamp::from_secs(1_500), Timestamp::from_secs(1_560));
    assert_eq!(two.server.candles.get(&series(), some).await.unwrap(), [candle(25, true)]);
}

pub async fn states_reach_the_other_replica(two: Replicas) {
    let told = ExchangeState {
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
        listed_at: Some(two.clock.now()),
        ..ExchangeState::unheard(KRAKEN, two.clock.now())
    };
    two.collector.states.put(told.clone()).await.unwrap();
    until("the other replica has the state", async || {
        two.server.states.get(KRAKEN).await.unwrap().as_deref() == Some(&told)
    })
    .await;
    assert_eq!(two.server.states.all().await.unwrap().len(), 1);
}

pub async fn events_reach_the_other_replica(two: Replicas) {
    let mut listener = two.server.bus.subscribe(&trades()).await.unwrap();
    two.publish(&trades(), 1..=200).await;
    let gap = BusEvent { kind: BusEventKind::Gap(GapReason::UpstreamDisconnect), ..event(201) };
    two.collector.bus.publish(&trades(), gap.clone()).await.unwrap();
    for seq in 1..=200 {
        assert_eq!(listener.next().await, Some(event(seq)));
    }
    assert_eq!(listener.next().await, Some(gap));
    // Who left and came back hears what comes from then on.
    drop(listener);
    two.publish(&trades(), 202..=202).await;
    let mut back = two.server.bus.subscribe(&trades()).await.unwrap();
    two.publish(&trades(), 203..=203).await;
    while let Some(event) = back.next().await {
        if event.seq == 203 {
            break;
        }
        assert_eq!(event.seq, 202, "it may have been under way");
    }
}

pub async fn missing_numbers_are_a_gap(two: Replicas) {
    let mut listener = two.server.bus.subscribe(&trades()).await.unwrap();
    let lost = |seq| BusEvent { kind: BusEventKind::Gap(GapReason::BusLost), ..event(seq) };
    two.publish(&trades(), [4, 5, 9]).await;
    for expected in [event(4), event(5), lost(5), event(9)] {
        assert_eq!(listener.next().await, Some(expected));
    }
    // Of tickers some may be left out.
    let mut tickers = two.server.bus.subscribe(&ticker_topic()).await.unwrap();
    two.publish(&ticker_topic(), [4, 9]).await;
    for seq in [4, 9] {
        assert_eq!(tickers.next().await, Some(event(seq)));
    }
}

pub async fn a_lease_is_held_against_others(two: Replicas) {
    let lease = two.collector.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    assert_eq!(two.server.leases.acquire("collect:binance", 20 * SECOND).await.unwrap(), None);
    assert!(two.collector.leases.renew(&lease, 20 * SECOND).await.unwrap());
    two.collector.leases.release(&lease).await.unwrap();
    let next = two.server.leases.acquire("collect:binance", 4 * SECOND).await.unwrap().unwrap();
    assert!(next.token > lease.token);
    assert!(!two.collector.leases.renew(&lease, 20 * SECOND).await.unwrap());
}

pub async fn tokens_grow_though_redis_forgets(two: Replicas) {
    let first = two.collector.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    super::forget(&two).await;
    assert!(!two.collector.leases.renew(&first, SECOND).await.unwrap());
    let second = two.server.leases.acquire("collect:binance", 20 * SECOND).await.unwrap().unwrap();
    assert!(second.token > first.token, "{} and {}", first.token, second.token);
}

fn question(minutes: i64) -> Question {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(minutes * 60));
    Question::Candles { series: series(), range }
}

pub async fn questions_reach_the_collector(two: Replicas) {
    let mut desk = two.collector.requests.serve(BINANCE).await.unwrap();
    let ask = |question| {
        let requests = two.server.requests.clone();
        tokio::spawn(async move { requests.ask(question, 100 * SECOND).await })
    };
    let answers = [
        Ok(Answer::Stored),
        Ok(Answer::Ticker(two.kept(Position { token: 4, seq: 9 }, 5))),
        Err(RequestError::UnknownSymbol),
        Err(RequestError::RateLimited(Timestamp::from_secs(9))),
        Err(RequestError::Failed("the exchange is in maintenance".to_owned())),
    ];
    for answer in answers {
        // Two of the same, from two places, are one question.
        let asker = ask(question(3));
        let job = desk.next().await.unwrap();
        assert_eq!(job.question, question(3));
        let here = two.collector.requests.clone();
        let near = tokio::spawn(async move { here.ask(question(3), 100 * SECOND).await });
        two.clock.sleep(SECOND).await;
        (job.answer)(answer.clone());
        assert_eq!(asker.await.unwrap(), answer);
        assert_eq!(near.await.unwrap(), answer);
    }
    let by_name = ask(Question::Ticker { exchange: BINANCE, symbol: btc() });
    let job = desk.next().await.unwrap();
    assert_eq!(job.question, Question::Ticker { exchange: BINANCE, symbol: btc() });
    drop(job);
    assert!(matches!(by_name.await.unwrap(), Err(RequestError::Failed(_))));
    // The collector goes in the middle of it.
    let asker = ask(question(4));
    let _job = desk.next().await.unwrap();
    drop(desk);
    assert_eq!(asker.await.unwrap(), Err(RequestError::Offline));
    until("the word that it serves is gone", async || {
        two.server.requests.ask(question(5), SECOND).await == Err(RequestError::Offline)
    })
    .await;
}

pub async fn nobody_serves_elsewhere(two: Replicas) {
    assert_eq!(two.server.requests.ask(question(1), 100 * SECOND).await, Err(RequestError::Offline));
    let _desk = two.collector.requests.serve(KRAKEN).await.unwrap();
    assert_eq!(two.server.requests.ask(question(1), 100 * SECOND).await, Err(RequestError::Offline));
}

pub async fn demand_is_heard_elsewhere(two: Replicas) {
    two.server.demand.want(BINANCE, &btc(), 20 * SECOND).await.unwrap();
    assert_eq!(two.collector.demand.wanted(BINANCE).await.unwrap(), [btc()]);
    assert_eq!(two.collector.demand.wanted(KRAKEN).await.unwrap(), Vec::<Symbol>::new());
    until("it is wanted no more", async || two.collector.demand.wanted(BINANCE).await.unwrap().is_empty()).await;
}

pub async fn budgets_are_shared(two: Replicas) {
    let spend = |weight, used, banned| Spend {
        exchange: BINANCE,
        scope: "rest",
        weight,
        most: 10,
        window: 40 * SECOND,
        used,
        banned,
    };
    let none = Duration::ZERO;
    assert_eq!(two.collector.budgets.spend(spend(4, 0, none)).await.unwrap(), Spent::Now);
    assert_eq!(two.server.budgets.spend(spend(4, 0, none)).await.unwrap(), Spent::Now);
    let Spent::Later(wait) = two.server.budgets.spend(spend(4, 4, none)).await.unwrap() else { panic!("12 of 10") };
    assert!(wait <= 45 * SECOND && wait > 30 * SECOND, "{wait:?}");
    // Another scope is another limit.
    let other = Spend { scope: "connections", ..spend(9, 0, none) };
    assert_eq!(two.server.budgets.spend(other).await.unwrap(), Spent::Now);
    two.clock.sleep(wait + SECOND).await;
    assert_eq!(two.server.budgets.spend(spend(4, 0, none)).await.unwrap(), Spent::Now);
    // What the exchange says that is used counts, wherever it was used.
    assert!(matches!(two.collector.budgets.spend(spend(1, 10, none)).await.unwrap(), Spent::Later(_)));
    // A ban of one is a ban of all, and the longer word stays; also the one that only a replica knows.
    two.collector.budgets.ban(BINANCE, "rest", 30 * SECOND).await.unwrap();
    two.collector.budgets.ban(BINANCE, "rest", SECOND).await.unwrap();
    let banned = two.server.budgets.spend(spend(1, 0, none)).await.unwrap();
    assert!(matches!(banned, Spent::Banned(left) if left > 20 * SECOND && left <= 30 * SECOND), "{banned:?}");
    super::forget(&two).await;
    assert!(matches!(two.collector.budgets.spend(spend(1, 0, 20 * SECOND)).await.unwrap(), Spent::Banned(_)));
    assert!(matches!(two.server.budgets.spend(spend(1, 0, none)).await.unwrap(), Spent::Banned(_)));
}

pub async fn an_exchange_that_changed_its_source_is_forgotten(two: Replicas) {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(6_000));
    let first = two.kept(Position { token: 5, seq: 1 }, 1);
    two.tell(&first).await;
    two.collector.candles.put(&series(), candle(3, true), Position { token: 5, seq: 2 }).await.unwrap();
    until("the candle is there", async || !two.server.candles.get(&series(), range).await.unwrap().is_empty()).await;
    two.collector.tickers.clear(BINANCE).await.unwrap();
    two.collector.candles.clear(BINANCE).await.unwrap();
    assert_eq!(two.server.candles.get(&series(), range).await.unwrap(), []);
    assert_eq!(two.server.tickers.get(BINANCE, &btc()).await.unwrap(), None);
}
