//! Tests of the session with a minimal dialect: whatever the exchange answers, and in whatever order, each subscription
//! ends acknowledged, rejected, or with a new connection.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::exchanges::profile::{MinuteCandles, PageCost, Profile, RateLimit};
use crate::exchanges::testing::{NOW, acknowledged, all_channels, instrument, rejected};
use crate::model::{ExchangeId, Number, Side};

static PROFILE: Profile = Profile {
    rest_origins: &[],
    ws_origins: &[],
    rest_headers: &[],
    probe_path: "/",
    rate_limits: &[],
    connection_limit: RateLimit { name: "connections", limit: 1, window: Duration::from_secs(1), used_header: None },
    default_ban_duration: Duration::from_secs(1),
    reset_header: None,
    page_cost: PageCost { scope: "rest", weight: 1 },
    channels: &Channel::ALL,
    minute_candles: MinuteCandles::Flagged,
    intervals: &[],
    page_rows: 1,
    accepts_long_ranges: false,
    rest_lag: Duration::ZERO,
    history_rows: None,
    idle_timeout: Duration::from_mins(1),
    ack_timeout: Duration::from_secs(10),
    messages_per_second: NonZeroU32::MIN.saturating_add(9),
    max_connection_age: None,
};

const BY_REQUEST: u8 = 0;
const IN_ORDER: u8 = 1;
const BY_TOPIC: u8 = 2;
const TOPIC_LIST: u8 = 3;
/// Like `BY_REQUEST`, with requests of one channel, and a welcome.
const WELCOME: u8 = 4;

/// Requests: `subscribe 1 stats:A,book:A`. Answers: `ack 1 -`, `refuse 1 stats:A`, `already - stats:A`,
/// `list stats:A trade:A`. Data: `trade A 12.5`.
#[derive(Default)]
struct TestCodec<const DIALECT: u8>;

impl<const DIALECT: u8> StreamCodec for TestCodec<DIALECT> {
    type State = ();

    const RULES: StreamRules = StreamRules {
        answers: match DIALECT {
            BY_REQUEST | WELCOME => Answers::ByRequest,
            IN_ORDER => Answers::InOrder,
            BY_TOPIC => Answers::ByTopic,
            _ => Answers::TopicList,
        },
        mixes_channels: matches!(DIALECT, BY_REQUEST | IN_ORDER),
        topics_per_request: 4,
        single_topic_channels: &["candle"],
        connection_channel: if DIALECT == TOPIC_LIST { Some("heartbeats") } else { None },
        awaits_welcome: DIALECT == WELCOME,
        ping: Some(Ping {
            interval: Duration::from_mins(5),
            only_if_idle: false,
            message: |id, _| format!("ping {id}"),
        }),
        ..StreamRules::new(ExchangeId::BINANCE, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["stats", "book"],
            Channel::Trades => &["trade"],
            Channel::Candles => &["candle"],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let topics: Vec<_> = request.topics.iter().map(|topic| format!("{}:{}", topic.channel, topic.market)).collect();
        format!("{:?} {} {}", request.operation, request.id, topics.join(",")).to_lowercase()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        let topic = |text: &'a str| {
            let (channel, market) = text.split_once(':').unzip();
            (channel.map(Into::into), market.map(Into::into))
        };
        let answer = |id: &str, named| {
            let (channel, market) = topic(named);
            Answer { request: id.parse().ok(), channel, market }
        };
        let parts: Vec<&'a str> = text.split(' ').collect();
        Ok(match *parts {
            ["ack", id, named] => Inbound::Ack(answer(id, named)),
            ["refuse", id, named] => Inbound::Refusal { answer: answer(id, named), reason: "refused".into() },
            ["already", id, named] => Inbound::AlreadySubscribed(answer(id, named)),
            ["list", ref topics @ ..] => {
                let pair =
                    |named: &&'a str| named.split_once(':').map(|(channel, market)| (channel.into(), market.into()));
                Inbound::TopicList(topics.iter().filter_map(pair).collect())
            }
            ["welcome"] => Inbound::Welcome,
            ["ping"] => Inbound::Reply("pong".to_owned()),
            ["trade", market, price] => {
                sink.trade(market, || {
                    let price = Number::parse(price).map_err(|error| error.to_string())?;
                    Ok(NewTrade { id: "1".into(), price, amount: price, side: Side::Buy, timestamp: NOW })
                });
                Inbound::Data
            }
            _ => Inbound::Ignored,
        })
    }
}

fn subscriptions(markets: usize) -> Vec<Subscription> {
    let market = |index: usize| {
        let base = ["a", "b", "c", "d", "e", "f"][index];
        all_channels(instrument(ExchangeId::BINANCE, &format!("{}/USDT", base.to_uppercase()), base, None))
    };
    (0..markets).flat_map(market).collect()
}

/// The exchange's side: answers each request, and refuses topics of some markets.
struct FakeExchange {
    dialect: u8,
    refused: BTreeSet<String>,
    /// Whether requests with a refused topic get an error; otherwise a list without the topic.
    refuses_loudly: bool,
    subscribed: BTreeSet<String>,
    answers: Vec<String>,
}

impl FakeExchange {
    fn receive(&mut self, frames: Vec<String>) {
        for frame in frames {
            let [operation, id, topics] = *frame.split(' ').collect::<Vec<_>>() else { continue };
            assert_eq!(operation, "subscribe");
            let topics: Vec<&str> = topics.split(',').collect();
            assert!(
                topics.len() <= 4
                    && (topics.len() == 1 || !topics.iter().any(|one| one.starts_with("candle")) || self.dialect < 2)
            );
            let is_refused = |topic: &&str| self.refused.contains(topic.split_once(':').unwrap().1);
            let (bad, good): (Vec<&str>, Vec<&str>) = topics.iter().copied().partition(is_refused);
            match self.dialect {
                BY_TOPIC => {
                    self.answers.extend(good.iter().map(|topic| format!("ack {id} {topic}")));
                    self.answers.extend(bad.iter().map(|topic| format!("refuse {id} {topic}")));
                    self.subscribed.extend(good.into_iter().map(str::to_owned));
                }
                TOPIC_LIST if !bad.is_empty() && self.refuses_loudly => self.answers.push("refuse - -".to_owned()),
                _ if !bad.is_empty() && self.refuses_loudly => self.answers.push(format!("refuse {id} -")),
                TOPIC_LIST => {
                    let name = |topic: &str| topic.replace("heartbeats:", "heartbeats:heartbeats");
                    self.subscribed.extend(good.into_iter().map(name));
                    let list: Vec<_> = self.subscribed.iter().cloned().collect();
                    self.answers.push(format!("list {}", list.join(" ")));
                }
                _ => {
                    self.subscribed.extend(good.into_iter().map(str::to_owned));
                    self.answers.push(format!("ack {id} -"));
                }
            }
        }
    }
}

/// How each subscription ended, by topic.
#[derive(Debug, Default)]
struct Outcome {
    acknowledged: BTreeSet<String>,
    rejected: BTreeSet<String>,
    is_renewed: bool,
}

impl Outcome {
    fn record(&mut self, out: &Outbox) {
        for topic in acknowledged(out) {
            assert!(!self.rejected.contains(&topic), "{topic} was rejected before");
            assert!(self.acknowledged.insert(topic.clone()), "{topic} is acknowledged twice");
        }
        for topic in rejected(out) {
            assert!(!self.acknowledged.contains(&topic), "{topic} was acknowledged before");
            assert!(self.rejected.insert(topic.clone()), "{topic} is rejected twice");
        }
    }
}

/// Runs a session against an exchange whose answers are delivered, lost and repeated as `script` says.
fn run<const DIALECT: u8>(markets: usize, refused: &[usize], refuses_loudly: bool, script: &[u8]) {
    let all = subscriptions(markets);
    let refused = refused.iter().map(|index| ["a", "b", "c", "d", "e", "f"][*index].to_owned()).collect();
    let mut exchange =
        FakeExchange { dialect: DIALECT, refused, refuses_loudly, subscribed: BTreeSet::new(), answers: Vec::new() };
    let mut session = Session::<TestCodec<DIALECT>>::open(all.clone());
    let (mut outcome, mut delivered, mut now) = (Outcome::default(), Vec::<String>::new(), NOW);
    let (mut lost, mut repeated) = (false, false);
    let mut handle = |session: &mut dyn FeedSession, exchange: &mut FakeExchange, text: &str| {
        let mut out = Outbox::default();
        // A refusal that cannot be attributed is an error of its frame only.
        if let Err(error) = session.on_frame(Frame::Text(text), now, &mut out) {
            assert_eq!(error.recovery(), Recovery::SkipFrame, "{error}");
        }
        outcome.record(&out);
        exchange.receive(out.frames);
    };
    let mut out = Outbox::default();
    session.on_open(now, &mut out);
    exchange.receive(out.frames);
    if DIALECT == WELCOME {
        assert!(exchange.answers.is_empty(), "nothing is requested before the welcome");
        handle(&mut *session, &mut exchange, "welcome");
    }
    let in_order = matches!(DIALECT, IN_ORDER | TOPIC_LIST);
    for step in script {
        if exchange.answers.is_empty() {
            break;
        }
        let at = if in_order { 0 } else { usize::from(*step) % exchange.answers.len() };
        match step % 8 {
            0 => {
                lost = true;
                exchange.answers.remove(at);
            }
            1 if !delivered.is_empty() => {
                repeated = true;
                let again = if in_order { delivered.len() - 1 } else { usize::from(*step) % delivered.len() };
                // A repeated refusal without an id cannot be told from another one.
                if delivered[again] != "refuse - -" {
                    handle(&mut *session, &mut exchange, &delivered[again].clone());
                }
            }
            2 => handle(&mut *session, &mut exchange, "ack 999 trade:zzz"),
            3 if DIALECT != TOPIC_LIST => handle(&mut *session, &mut exchange, "refuse 999 trade:zzz"),
            _ => {
                let answer = exchange.answers.remove(at);
                handle(&mut *session, &mut exchange, &answer);
                delivered.push(answer);
            }
        }
    }
    // The rest is answered completely, if nothing was lost.
    while !lost && !exchange.answers.is_empty() {
        let answer = exchange.answers.remove(0);
        handle(&mut *session, &mut exchange, &answer);
    }
    for _ in 0..20 {
        now = now + Duration::from_secs(11);
        let mut out = Outbox::default();
        if session.on_timer(now, &mut out).is_err() {
            outcome.is_renewed = true;
            break;
        }
        outcome.record(&out);
        exchange.receive(out.frames);
        while !lost && !exchange.answers.is_empty() {
            let (mut out, answer) = (Outbox::default(), exchange.answers.remove(0));
            session.on_frame(Frame::Text(&answer), now, &mut out).unwrap();
            outcome.record(&out);
            exchange.receive(out.frames);
        }
    }
    for subscription in &all {
        let topic = subscription.topic().to_string();
        let is_refused = exchange.refused.contains(&subscription.instrument.native);
        let (was_acknowledged, was_rejected) =
            (outcome.acknowledged.contains(&topic), outcome.rejected.contains(&topic));
        assert!(was_acknowledged || was_rejected || outcome.is_renewed, "{topic} is lost");
        assert!(!was_acknowledged || !is_refused, "{topic} was refused");
        // A list that is lost and another that is repeated cannot be told from one that lacks a topic, and a refusal
        // without an id after a lost answer cannot be told from that of an earlier request.
        if DIALECT != TOPIC_LIST || !(lost && (repeated || refuses_loudly)) {
            assert!(!was_rejected || is_refused, "{topic} was accepted");
        }
        if !lost {
            assert!(was_acknowledged != was_rejected, "{topic} needs no new connection");
        }
    }
}

proptest! {
    #[test]
    fn every_subscription_ends_acknowledged_rejected_or_renewed(
        markets in 1_usize..6,
        refused in prop::collection::vec(0_usize..6, 0..3),
        refuses_loudly: bool,
        script in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        run::<BY_REQUEST>(markets, &refused, true, &script);
        run::<WELCOME>(markets, &refused, true, &script);
        run::<BY_TOPIC>(markets, &refused, true, &script);
        run::<TOPIC_LIST>(markets, &refused, refuses_loudly, &script);
        // A repeated answer without an id cannot be told from the next one, so that all answers have ids here.
        run::<IN_ORDER>(markets, &refused, true, &script);
    }
}

fn open<const DIALECT: u8>(subscriptions: &[Subscription]) -> (Box<dyn FeedSession>, Vec<String>) {
    let mut session = Session::<TestCodec<DIALECT>>::open(subscriptions.to_vec());
    let mut out = Outbox::default();
    session.on_open(NOW, &mut out);
    (session, out.frames)
}

fn receive(session: &mut dyn FeedSession, text: &str) -> Outbox {
    let mut out = Outbox::default();
    session.on_frame(Frame::Text(text), NOW, &mut out).unwrap_or_else(|error| panic!("{text}: {error}"));
    out
}

#[test]
fn list_that_answers_two_requests_acknowledges_each_subscription_once() {
    let topics = "stats:a stats:b book:a book:b";
    let (mut session, sent) = open::<TOPIC_LIST>(&[&subscriptions(1)[..1], &subscriptions(2)[3..4]].concat());
    assert_eq!(sent.len(), 3, "{sent:?}");
    let out = receive(&mut *session, &format!("list heartbeats:heartbeats {topics}"));
    assert_eq!(acknowledged(&out), ["ticker:binance:A/USDT", "ticker:binance:B/USDT"]);
}

#[test]
fn acknowledges_subscription_with_its_last_topic() {
    let (mut session, sent) = open::<BY_TOPIC>(&subscriptions(1)[..1]);
    assert_eq!(sent, ["subscribe 1 stats:a", "subscribe 2 book:a"]);
    assert!(receive(&mut *session, "ack 1 stats:a").notices.is_empty());
    assert_eq!(acknowledged(&receive(&mut *session, "ack - book:a")), ["ticker:binance:A/USDT"]);
}

#[test]
fn answer_without_id_is_for_oldest_request_of_its_channel() {
    let two = subscriptions(2);
    let (mut session, sent) = open::<IN_ORDER>(&two);
    assert_eq!(sent.len(), 2);
    assert_eq!(acknowledged(&receive(&mut *session, "ack - -")).len(), 3);
    assert_eq!(acknowledged(&receive(&mut *session, "ack - candle:")).len(), 3);
}

#[test]
fn refusal_may_concern_subscription_that_was_removed_meanwhile() {
    let two = subscriptions(2);
    let (mut session, sent) = open::<WELCOME>(&[]);
    assert!(sent.is_empty());
    receive(&mut *session, "welcome");
    let mut out = Outbox::default();
    session.update_subscriptions(&[two[1].clone(), two[4].clone()], &[], NOW, &mut out);
    session.update_subscriptions(&[], &two[4..5], NOW, &mut out);
    assert_eq!(out.frames, ["subscribe 2 trade:a,trade:b", "unsubscribe 3 trade:b"]);
    let out = receive(&mut *session, "refuse 2 -");
    assert_eq!((rejected(&out).len(), out.frames), (0, vec!["subscribe 4 trade:a".to_owned()]));
    assert_eq!(rejected(&receive(&mut *session, "refuse 4 -")), ["trades:binance:A/USDT"]);
}

#[test]
fn repeated_list_acknowledges_and_rejects_nothing() {
    let (mut session, sent) = open::<TOPIC_LIST>(&subscriptions(1));
    assert_eq!(sent[0], "subscribe 1 heartbeats:");
    for _ in 0..4 {
        assert!(receive(&mut *session, "list heartbeats:heartbeats").notices.is_empty());
    }
    let list = "list heartbeats:heartbeats stats:a book:a";
    assert_eq!(acknowledged(&receive(&mut *session, list)), ["ticker:binance:A/USDT"]);
    assert!(receive(&mut *session, list).notices.is_empty());
    assert_eq!(acknowledged(&receive(&mut *session, &format!("{list} trade:a"))), ["trades:binance:A/USDT"]);
}

#[test]
fn topic_that_is_silently_left_out_is_requested_again_and_then_rejected() {
    let (mut session, _) = open::<TOPIC_LIST>(&subscriptions(1)[1..2]);
    receive(&mut *session, "list heartbeats:heartbeats");
    receive(&mut *session, "list heartbeats:heartbeats");
    let mut out = Outbox::default();
    assert_eq!(session.on_timer(NOW + Duration::from_secs(12), &mut out), Ok(()));
    assert_eq!(rejected(&out), ["trades:binance:A/USDT"]);
}

#[test]
fn subscribes_after_welcome() {
    let all = subscriptions(2);
    let (mut session, sent) = open::<WELCOME>(&all[1..2]);
    assert!(sent.is_empty());
    let mut out = Outbox::default();
    session.update_subscriptions(&all[4..5], &all[1..2], NOW, &mut out);
    assert!(out.frames.is_empty());
    assert_eq!(receive(&mut *session, "welcome").frames, ["subscribe 2 trade:b"]);
    let (session, _) = &mut open::<WELCOME>(&all);
    assert!(session.on_timer(NOW + Duration::from_secs(11), &mut Outbox::default()).is_err(), "no welcome in time");
}

#[test]
fn told_ping_interval_overrides_the_rules() {
    let (mut session, _) = open::<BY_REQUEST>(&[]);
    session.set_ping_interval(Duration::from_secs(7));
    let mut pings = |seconds: u64| {
        let mut out = Outbox::default();
        session.on_timer(NOW + Duration::from_secs(seconds), &mut out).unwrap();
        out.frames
    };
    assert_eq!((pings(6).len(), pings(7), pings(13).len()), (0, vec!["ping 1".to_owned()], 0));
    assert_eq!(receive(&mut *session, "ping").frames, ["pong"]);
}

#[test]
fn invalid_trade_is_skipped_and_reported() {
    let (mut session, _) = open::<BY_REQUEST>(&subscriptions(1));
    for price in ["7.9e27", "-1", "x"] {
        let mut out = Outbox::default();
        let error = session.on_frame(Frame::Text(&format!("trade a {price}")), NOW, &mut out).unwrap_err();
        assert_eq!((error.recovery(), out.events.len()), (Recovery::SkipFrame, 0));
        assert_eq!(out.notices, [Notice::TradeSkipped(Some("A/USDT".parse().unwrap()))], "{price}");
    }
    assert_eq!(receive(&mut *session, "trade a 12.5").events.len(), 1);
    assert_eq!(receive(&mut *session, "trade b 12.5").events.len(), 0, "not subscribed");
}

#[test]
fn plans_fill_connections_by_topics() {
    let many: Vec<_> = (0..60).flat_map(|_| subscriptions(1)).collect();
    let plans = Session::<TestCodec<BY_REQUEST>>::plans("/", &many);
    let seen: BTreeMap<_, _> =
        plans.iter().enumerate().map(|(at, plan)| (at, (plan.subscriptions.len(), plan.spare_capacity))).collect();
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [(75, 0), (75, 0), (30, 30)]);
}
