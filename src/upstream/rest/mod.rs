//! Asks an exchange over REST, within its limits.
//!
//! A call goes through four gates: identical calls in flight share one request (`flight`); the breaker and the budget of
//! its scope let it go or hold it back (`super::meter`); origins are tried in order and what failed for the moment
//! is tried again (`fetch`); and the reply is read by the call's own pure function.

mod fetch;
mod flight;
mod headers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::fetch::Fetcher;
use self::flight::Flights;
use super::tap::Tap;
use super::{Backoff, ExchangeClock, UpstreamError, Urgency};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Parse, Reply, ReplyError, ReplyErrorKind, RestCall};
use crate::model::{BudgetState, Timestamp};

/// How often a reply that came damaged is asked for.
const TRIES: u32 = 3;

/// A body of so many bytes is large: it takes more than a millisecond to read.
const LARGE: usize = 256 * 1024;

/// One exchange's REST interface, shared by all who ask it.
pub struct RestClient {
    fetcher: Arc<Fetcher>,
    flights: Flights,
}

/// What an exchange answered, as all who asked share it.
#[derive(Clone, Debug)]
struct Fetched {
    status: u16,
    body: Bytes,
    /// When the request was sent and its reply was here, by the clock's `elapsed`.
    asked: Duration,
    received: Duration,
    /// What time it was there, in whole seconds.
    date: Option<Timestamp>,
    /// How long its headers say to stay away, should it be a refusal.
    named: Option<Duration>,
    /// Which origin gave it, by their order.
    origin: usize,
}

impl RestClient {
    /// A client that tries `origins` (`https://api.example.com`, no path) in order.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`] for an origin that is none, and where TLS cannot be set up.
    pub fn new(exchange: &'static dyn Exchange, origins: &[String], clock: Clock) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, None, None)
    }

    /// The same, inside of limits that others behind the same address use, too.
    ///
    /// # Errors
    /// As for [`RestClient::new`].
    pub fn sharing(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        budgets: Arc<dyn Budgets>,
    ) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, None, Some(budgets))
    }

    /// The same; what is answered is handed on.
    ///
    /// # Errors
    /// As for [`RestClient::new`].
    pub fn tapped(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        tap: Tap,
    ) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, Some(tap), None)
    }

    fn build(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        tap: Option<Tap>,
        budgets: Option<Arc<dyn Budgets>>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let fetcher = Arc::new(Fetcher::new(exchange, origins, clock, tap, budgets)?);
        Ok(Arc::new(Self { fetcher, flights: Flights::default() }))
    }

    /// Asks, and reads the answer. What fails for the moment is tried a few times, and so is a reply that came damaged; one that
    /// says with HTTP 200 that the exchange is busy is not.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call<T: Send + 'static>(&self, call: &RestCall<T>) -> Result<T, UpstreamError> {
        self.call_with(call, Urgency::Live).await
    }

    /// The same, with this claim on the budget.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call_with<T: Send + 'static>(&self, call: &RestCall<T>, urgency: Urgency) -> Result<T, UpstreamError> {
        let target = fetch::target(&call.path, &call.query);
        let exchange = self.fetcher.exchange();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut tries = 1;
        loop {
            let fetched = self.fetched(call, &target, urgency).await?;
            let error = match parse(call, &fetched, self.exchange_clock().now()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Some(error) = self.fetcher.refused(call.scope, &fetched, &error) {
                return Err(error);
            }
            // Each time one origin less is open.
            if error.kind == ReplyErrorKind::RegionClosed {
                continue;
            }
            let is_damaged = error.kind == ReplyErrorKind::Malformed && !is_json(&fetched.body);
            let error = UpstreamError::Reply { exchange, error };
            if !is_damaged || tries == TRIES {
                return Err(error);
            }
            self.fetcher.avoid(fetched.origin);
            self.fetcher.pause(&mut backoff, &target, &error).await;
            tries += 1;
        }
    }

    /// What is answered to `target`, in a request that may be shared.
    async fn fetched<T>(&self, call: &RestCall<T>, target: &str, urgency: Urgency) -> Result<Fetched, UpstreamError> {
        // Who is in a hurry does not join those who are not.
        let flight = self.flights.join((urgency, target), || {
            let (fetcher, target) = (Arc::clone(&self.fetcher), target.to_owned());
            let (scope, weight) = (call.scope, call.weight);
            async move { fetcher.fetch(&target, scope, weight, urgency).await }
        });
        flight.await
    }

    /// The exchange's own time, as far as its answers say it.
    #[must_use]
    pub fn exchange_clock(&self) -> &ExchangeClock {
        self.fetcher.exchange_clock()
    }

    /// Asks the exchange what time it is there, for [`RestClient::exchange_clock`]: by its own call, else by the `Date`
    /// header of a probe.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn measure_clock(&self) -> Result<(), UpstreamError> {
        let Some(call) = self.fetcher.server_time() else { return self.probe().await.map(drop) };
        let target = fetch::target(&call.path, &call.query);
        let fetched = self.fetched(&call, &target, Urgency::Live).await?;
        let clock = self.exchange_clock();
        let told = parse(&call, &fetched, clock.now())
            .await
            .map_err(|error| UpstreamError::Reply { exchange: self.fetcher.exchange(), error })?;
        clock.answered(fetched.asked, fetched.received, told.at, told.resolution);
        Ok(())
    }

    /// Whether the exchange is there: its cheapest path, once an origin, with little patience. Gives the time that it was
    /// there, in whole seconds, if the answer says so.
    ///
    /// # Errors
    /// [`UpstreamError`]: why the last origin tried was not there.
    pub async fn probe(&self) -> Result<Option<Timestamp>, UpstreamError> {
        self.fetcher.probe().await
    }

    /// Begins the next calls with another of the exchange's origins, where there are several.
    pub fn prefer_next_origin(&self) {
        self.fetcher.prefer_next_origin();
    }

    /// How much of each of the exchange's limits is used.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetState> {
        self.fetcher.budgets()
    }
}

/// Reads a reply: a large one, such as a listing of thousands of markets, on a thread that no socket waits for.
async fn parse<T: Send + 'static>(call: &RestCall<T>, fetched: &Fetched, now: Timestamp) -> Result<T, ReplyError> {
    let read =
        move |parse: &Parse<T>, fetched: &Fetched| parse(&Reply { status: fetched.status, body: &fetched.body }, now);
    if fetched.body.len() < LARGE {
        return read(&call.parse, fetched);
    }
    let (parse, fetched) = (Arc::clone(&call.parse), fetched.clone());
    let reading = tokio::task::spawn_blocking(move || read(&parse, &fetched)).await;
    reading.unwrap_or_else(|error| Err(ReplyError::new(ReplyErrorKind::Malformed, error.to_string())))
}

/// Whether a body came whole: all interfaces answer in JSON. A page of a proxy, and half a reply, is none.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}
