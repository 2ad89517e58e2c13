//! The interface of a simulated exchange.

use std::sync::Arc;

use crate::model::ExchangeId;

use super::catalog::Catalog;
use super::rest::{Query, RequestContext, RestResponse};
use super::shared::Shared;
use super::socket::StreamProtocol;

/// A simulated exchange: its markets and its native protocols.
pub trait SimulatedExchange: Sync {
    /// The id of the exchange.
    fn id(&self) -> ExchangeId;

    /// Its markets.
    fn catalog(&self) -> &'static Catalog;

    /// Prefix of its REST paths. If the prefixes of two exchanges match a path, the longer one counts.
    fn rest_prefix(&self) -> &'static str;

    /// What a REST path returns, for the faults that change it.
    fn content(&self, path: &str) -> Content;

    /// Handles a GET request.
    fn handle(&self, shared: &Shared, path: &str, query: &Query, context: RequestContext) -> RestResponse;

    /// The exchange's side of a new WebSocket connection. `None` if it has no such path.
    fn connect(&self, shared: Arc<Shared>, path: &str, query: &Query) -> Option<Box<dyn StreamProtocol>>;

    /// Body of the error response of a scripted fault.
    fn error_body(&self, status: u16) -> &'static str;

    /// Header of a scripted rate limit: requests are allowed again five seconds after `now`, in Unix milliseconds.
    fn retry_header(&self, now: i64) -> (&'static str, String) {
        let _ = now;
        ("retry-after", "5".to_owned())
    }
}

/// What a REST path returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Candles,
    /// The ticker of a market.
    Ticker,
    Other,
}
