//! Contract suite for every backend of [`Cache`]. A new backend needs a function that creates it and lines at the end.

mod bus;
mod limits;
mod replicas;
mod requests;
mod shared;
mod upgrade;

use std::time::Duration;

use candlewick::cache::{Cache, RedisConfig, RequestReceiver, memory, redis};
use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Timestamp};
use futures_util::future::BoxFuture;

use crate::support::servers;

/// An empty cache and its clock.
struct Backend {
    cache: Cache,
    clock: Clock,
    /// Advances the clock and the backend's own time, if it has one.
    advance: fn(Clock, Duration) -> BoxFuture<'static, ()>,
    /// Registered receivers: they make this process the collector, where the backend distinguishes.
    receivers: Vec<Box<dyn RequestReceiver>>,
}

impl Backend {
    async fn advance(&self, time: Duration) {
        (self.advance)(self.clock.clone(), time).await;
    }
}

async fn memory_backend() -> Backend {
    let clock = Clock::manual(Timestamp::from_secs(1_763_672_400));
    Backend {
        cache: memory(clock.clone()),
        clock,
        advance: |clock, time| Box::pin(async move { clock.advance(time).await }),
        receivers: Vec::new(),
    }
}

/// One replica on a Redis server. Redis expires keys by its own time.
async fn replica(url: &str, prefix: &str, clock: &Clock) -> Cache {
    let config = RedisConfig { url: url.into(), prefix: prefix.to_owned(), egress: "here".to_owned() };
    redis(&config, clock.clone()).await.unwrap()
}

async fn redis_backend((url, prefix): (String, String)) -> Backend {
    let clock = Clock::scaled(10.0);
    Backend {
        cache: replica(&url, &prefix, &clock).await,
        clock,
        advance: |clock, time| Box::pin(async move { clock.sleep(time).await }),
        receivers: Vec::new(),
    }
}

async fn redis_server_backend() -> Backend {
    redis_backend(servers::redis().await).await
}

/// The collector of all exchanges: it reads its own values from memory.
async fn redis_collector_backend() -> Backend {
    let mut backend = redis_server_backend().await;
    for exchange in ExchangeId::all() {
        backend.receivers.push(backend.cache.requests.serve(exchange).await.unwrap());
    }
    backend
}

/// Two replicas on one Redis: one collects, the other serves the API.
struct Replicas {
    collector: Cache,
    api: Cache,
    clock: Clock,
    url: String,
    prefix: String,
}

async fn start_replicas((url, prefix): (String, String)) -> Replicas {
    let clock = Clock::scaled(10.0);
    let collector = replica(&url, &prefix, &clock).await;
    Replicas { collector, api: replica(&url, &prefix, &clock).await, clock, url, prefix }
}

/// Another replica on the same Redis.
async fn add_replica(replicas: &Replicas) -> Cache {
    replica(&replicas.url, &replicas.prefix, &replicas.clock).await
}

/// Deletes all data of the replicas from Redis, as after a data loss.
async fn delete_data(replicas: &Replicas) {
    servers::delete_keys(&replicas.url, &replicas.prefix).await;
}

async fn replicas_on_server() -> Replicas {
    start_replicas(servers::redis().await).await
}

async fn replicas_on_cluster() -> Replicas {
    start_replicas(servers::redis_cluster().await).await
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

macro_rules! value_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            shared:
                stream_tickers_are_ordered_by_version
                rest_ticker_does_not_replace_fresh_stream_ticker
                rest_tickers_are_ordered_by_token_and_receive_time
                tickers_are_cached_per_market
                markets_with_unusual_symbols_are_separate
                ticker_reads_are_atomic
                live_candles_are_ordered_by_version
                closed_candle_is_not_reopened
                only_newest_live_candles_are_retained
                live_candles_are_cached_per_series
                states_are_in_registry_order;
        }
    };
}

macro_rules! coordination_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            shared:
                lease_has_one_holder
                expired_lease_is_lost
                released_lease_can_be_acquired
                demand_expires_after_ttl;
            limits:
                usage_is_returned_and_capped;
            bus:
                events_are_received_in_order
                events_before_subscribe_are_not_received
                topics_are_separate
                slow_subscriber_receives_gap
                cancelled_wait_does_not_lose_gap
                dropped_subscriber_does_not_block_publish;
            requests:
                reply_reaches_caller
                identical_requests_are_sent_once
                request_past_time_budget_is_pending
                request_without_collector_is_offline
                dropped_receiver_fails_requests_as_offline
                dropped_request_fails
                cancelled_caller_does_not_cancel_request
                new_collector_takes_over
                errors_are_returned_to_caller;
        }
    };
}

macro_rules! replica_cases {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            replicas:
                tickers_reach_other_replica
                ticker_with_older_lease_token_is_ignored
                candles_reach_other_replica
                states_reach_other_replica
                events_reach_other_replica
                missing_sequence_numbers_are_a_gap
                lease_excludes_other_replicas
                lease_tokens_increase_after_redis_data_loss
                requests_reach_collector_on_other_replica
                request_without_remote_collector_is_offline
                demand_reaches_other_replica
                rate_limit_budgets_are_shared
                clear_removes_exchange_on_all_replicas;
            limits:
                usage_on_other_replica_counts;
            upgrade:
                values_of_previous_version_are_read
                lease_of_previous_version_is_respected;
        }
    };
}

value_cases!(memory_values, memory_backend);
coordination_cases!(memory, memory_backend);
value_cases!(redis_values, redis_collector_backend);
coordination_cases!(redis_server, redis_server_backend);
replica_cases!(redis_replicas, replicas_on_server);
replica_cases!(redis_cluster, replicas_on_cluster);
