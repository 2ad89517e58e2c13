//! Asks an exchange over REST, within its limits.
//!
//! A call goes through four gates: identical calls in flight share one request (`flight`); the breaker and the budget of
//! its scope let it go or hold it back (`super::meter`); origins are tried in order and what failed for the moment
//! is tried again (`fetch`); and the reply is read by the call's own pure function.

mod fetch;
mod flight;
mod headers;

use std::sync::Arc;

use bytes::Bytes;

use self::fetch::Fetcher;
use self::flight::Flights;
use super::tap::Tap;
use super::{UpstreamError, Urgency};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Reply, ReplyErrorKind, RestCall};
use crate::model::{BudgetState, Timestamp};

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
    received: Timestamp,
    /// What time it was there, in whole seconds.
    date: Option<Timestamp>,
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

    /// Asks, and reads the answer. What fails for the moment is tried a few times; a reply that says so with HTTP 200 is
    /// not.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call<T>(&self, call: &RestCall<T>) -> Result<T, UpstreamError> {
        self.call_with(call, Urgency::Live).await
    }

    /// The same, with this claim on the budget.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call_with<T>(&self, call: &RestCall<T>, urgency: Urgency) -> Result<T, UpstreamError> {
        let target = fetch::target(&call.path, &call.query);
        // Who is in a hurry does not join those who are not.
        let flight = self.flights.join((urgency, &target), || {
            let (fetcher, target) = (Arc::clone(&self.fetcher), target.clone());
            let (scope, weight) = (call.scope, call.weight);
            async move { fetcher.fetch(&target, scope, weight, urgency).await }
        });
        let fetched = flight.await?;
        let reply = Reply { status: fetched.status, body: &fetched.body };
        (call.parse)(&reply, fetched.received).map_err(|error| {
            let exchange = self.fetcher.exchange();
            if error.kind == ReplyErrorKind::RateLimited {
                let until = self.fetcher.open_breaker(call.scope, error.retry_after);
                return UpstreamError::HeldBack { exchange, until };
            }
            UpstreamError::Reply { exchange, error }
        })
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
