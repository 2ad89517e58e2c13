//! What every backend of [`Cache`] must do. A backend is a function that makes an empty one, and one line below.

mod bus;
mod limits;
mod replicas;
mod requests;
mod shared;

use std::time::Duration;

use candlewick::cache::{Cache, Questions, RedisConfig, memory, redis};
use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Timestamp};
use futures_util::future::BoxFuture;

use crate::support::servers;

/// An empty cache, and how time passes for it.
struct Backend {
    cache: Cache,
    clock: Clock,
    /// Lets time pass by the clock and by the backend's own, if it has one.
    pass: fn(Clock, Duration) -> BoxFuture<'static, ()>,
    /// Where a backend tells apart who collects: the sign that this process does.
    desks: Vec<Box<dyn Questions>>,
}

impl Backend {
    async fn pass(&self, time: Duration) {
        (self.pass)(self.clock.clone(), time).await;
    }
}

async fn in_memory() -> Backend {
    let clock = Clock::manual(Timestamp::from_secs(1_763_672_400));
    Backend {
        cache: memory(clock.clone()),
        clock,
        pass: |clock, time| Box::pin(async move { clock.advance(time).await }),
        desks: Vec::new(),
    }
}

/// One replica on a server; Redis counts time for it, so that it passes by itself, sixty times as fast as outside.
async fn replica(url: &str, prefix: &str, clock: &Clock) -> Cache {
    let config = RedisConfig { url: url.into(), prefix: prefix.to_owned(), egress: "here".to_owned() };
    redis(&config, clock.clone()).await.unwrap()
}

async fn on_redis((url, prefix): (String, String)) -> Backend {
    let clock = Clock::scaled(10.0);
    Backend {
        cache: replica(&url, &prefix, &clock).await,
        clock,
        pass: |clock, time| Box::pin(async move { clock.sleep(time).await }),
        desks: Vec::new(),
    }
}

async fn on_one_redis() -> Backend {
    on_redis(servers::redis().await).await
}

/// The collector of all exchanges: what it knows it need not ask for.
async fn collecting() -> Backend {
    let mut backend = on_one_redis().await;
    for exchange in ExchangeId::ALL {
        backend.desks.push(backend.cache.requests.serve(exchange).await.unwrap());
    }
    backend
}

/// Two replicas on one server: one collects, the other serves.
struct Replicas {
    collector: Cache,
    server: Cache,
    clock: Clock,
    url: String,
    prefix: String,
}

async fn two((url, prefix): (String, String)) -> Replicas {
    let clock = Clock::scaled(10.0);
    let collector = replica(&url, &prefix, &clock).await;
    Replicas { collector, server: replica(&url, &prefix, &clock).await, clock, url, prefix }
}

/// One more beside them.
async fn replica_of(two: &Replicas) -> Cache {
    replica(&two.url, &two.prefix, &two.clock).await
}

/// Redis has lost all that they told.
async fn forget(two: &Replicas) {
    servers::forget(&two.url, &two.prefix).await;
}

async fn two_on_redis() -> Replicas {
    two(servers::redis().await).await
}

async fn two_on_a_cluster() -> Replicas {
    two(servers::redis_cluster().await).await
}

macro_rules! cases {
    ($name:ident, $backend:ident, $($file:ident: $($case:ident)*;)*) => {
        mod $name {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$file::$case(super::$backend().await).await;
                }
            )*)*
        }
    };
}

macro_rules! keeps_values {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            shared:
                tickers_of_a_stream_follow_their_position
                a_rest_ticker_never_replaces_a_live_streams
                rest_tickers_replace_each_other_in_time
                tickers_are_kept_by_market
                markets_with_odd_names_are_kept_apart
                a_ticker_is_read_whole_while_it_changes
                live_candles_follow_their_position
                a_closed_candle_is_not_opened_again
                the_newest_live_candles_are_kept
                live_candles_are_kept_by_series
                states_come_in_registry_order;
        }
    };
}

macro_rules! shares_state {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            shared:
                a_lease_has_one_holder
                a_lease_that_ran_out_is_lost
                a_lease_given_back_can_be_taken
                demand_ends_with_its_time;
            limits:
                what_is_used_is_told_and_bounded;
            bus:
                events_come_in_their_order
                events_before_subscribing_do_not_come
                topics_do_not_mix
                a_slow_listener_learns_that_it_missed_some
                a_gap_is_not_lost_with_a_cancelled_wait
                who_left_is_not_waited_for;
            requests:
                an_answer_reaches_who_asked
                identical_questions_are_asked_once
                who_waits_too_long_learns_that_it_is_pending
                nobody_serves
                a_collector_that_goes_leaves_nobody_waiting
                a_question_that_is_dropped_has_failed
                an_asker_that_leaves_does_not_stop_the_collector
                a_new_collector_takes_over
                errors_are_answers;
        }
    };
}

macro_rules! joins_replicas {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            replicas:
                tickers_reach_the_other_replica
                an_old_collector_changes_nothing
                candles_reach_the_other_replica
                states_reach_the_other_replica
                events_reach_the_other_replica
                missing_numbers_are_a_gap
                a_lease_is_held_against_others
                tokens_grow_though_redis_forgets
                questions_reach_the_collector
                nobody_serves_elsewhere
                demand_is_heard_elsewhere
                budgets_are_shared
                an_exchange_that_changed_its_source_is_forgotten;
            limits:
                what_is_used_elsewhere_counts;
        }
    };
}

keeps_values!(memory_values, in_memory);
shares_state!(memory, in_memory);
keeps_values!(redis_values, collecting);
shares_state!(redis_server, on_one_redis);
joins_replicas!(redis_replicas, two_on_redis);
joins_replicas!(redis_cluster, two_on_a_cluster);
