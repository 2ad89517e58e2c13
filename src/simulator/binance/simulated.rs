//! The simulated exchange: delegates to the other files of this folder.

use std::sync::Arc;

use super::catalog::CATALOG;
use super::rest::{self, REST_PREFIX};
use super::stream::Feed;
use crate::model::ExchangeId;
use crate::simulator::catalog::Catalog;
use crate::simulator::exchange::{Content, SimulatedExchange};
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::socket::StreamProtocol;

/// The simulated exchange.
#[derive(Debug)]
pub struct Simulated;

impl SimulatedExchange for Simulated {
    fn id(&self) -> ExchangeId {
        ExchangeId::BINANCE
    }

    fn catalog(&self) -> &'static Catalog {
        &CATALOG
    }

    fn rest_prefix(&self) -> &'static str {
        REST_PREFIX
    }

    fn content(&self, path: &str) -> Content {
        match path.strip_prefix(REST_PREFIX) {
            Some("klines") => Content::Candles,
            Some("ticker/24hr") => Content::Ticker,
            _ => Content::Other,
        }
    }

    fn handle(&self, shared: &Shared, path: &str, query: &Query, context: RequestContext) -> RestResponse {
        rest::handle(shared, path, query, context)
    }

    fn connect(&self, shared: Arc<Shared>, path: &str, query: &Query) -> Option<Box<dyn StreamProtocol>> {
        let feed = match path {
            "/stream" => Feed::new(shared, true, query.get("streams").unwrap_or("")),
            "/ws" => Feed::new(shared, false, ""),
            // Names of streams have an `@`.
            _ => Feed::new(shared, false, path.strip_prefix("/ws/").filter(|streams| streams.contains('@'))?),
        };
        Some(Box::new(feed))
    }

    fn error_body(&self, status: u16) -> &'static str {
        match status {
            451 => "{\"code\":0,\"msg\":\"Service unavailable from a restricted location; this is a scripted fault.\"}",
            418 | 429 => "{\"code\":-1003,\"msg\":\"Too many requests; this is a scripted fault.\"}",
            _ => "{\"code\":-1000,\"msg\":\"An unknown error occurred while processing the request.\"}",
        }
    }
}
