//! What every backend of [`Cache`] must do. A backend is a function that makes an empty one, and one line below.

mod bus;
mod requests;
mod shared;

use std::time::Duration;

use candlewick::cache::{Cache, memory};
use candlewick::clock::Clock;
use candlewick::model::Timestamp;
use futures_util::future::BoxFuture;

/// An empty cache, and how time passes for it.
struct Backend {
    cache: Cache,
    clock: Clock,
    /// Lets time pass by the clock and by the backend's own, if it has one.
    pass: fn(Clock, Duration) -> BoxFuture<'static, ()>,
}

impl Backend {
    async fn pass(&self, time: Duration) {
        (self.pass)(self.clock.clone(), time).await;
    }
}

fn in_memory() -> Backend {
    let clock = Clock::manual(Timestamp::from_secs(1_763_672_400));
    Backend {
        cache: memory(clock.clone()),
        clock,
        pass: |clock, time| Box::pin(async move { clock.advance(time).await }),
    }
}

macro_rules! cases {
    ($backend:ident, $($file:ident: $($case:ident)*;)*) => {
        mod $backend {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$file::$case(super::$backend()).await;
                }
            )*)*
        }
    };
}

macro_rules! shares_state {
    ($backend:ident) => {
        cases! { $backend,
            shared:
                tickers_of_a_stream_follow_their_position
                a_rest_ticker_never_replaces_a_live_streams
                rest_tickers_replace_each_other_in_time
                tickers_are_kept_by_market
                a_ticker_is_read_whole_while_it_changes
                live_candles_follow_their_position
                a_closed_candle_is_not_opened_again
                the_newest_live_candles_are_kept
                live_candles_are_kept_by_series
                states_come_in_registry_order
                a_lease_has_one_holder
                a_lease_that_ran_out_is_lost
                a_lease_given_back_can_be_taken
                demand_ends_with_its_time;
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

shares_state!(in_memory);
