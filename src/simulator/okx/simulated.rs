//! The simulated exchange: delegates to the other files of this folder.

use std::sync::Arc;

use super::catalog::CATALOG;
use super::rest::{self, REST_PREFIX};
use super::stream::{Feed, StreamPath};
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
        ExchangeId::OKX
    }

    fn catalog(&self) -> &'static Catalog {
        &CATALOG
    }

    fn rest_prefix(&self) -> &'static str {
        REST_PREFIX
    }

    fn content(&self, path: &str) -> Content {
        match path.strip_prefix(REST_PREFIX) {
            Some("market/candles" | "market/history-candles") => Content::Candles,
            Some("market/ticker") => Content::Ticker,
            _ => Content::Other,
        }
    }

    fn handle(&self, shared: &Shared, path: &str, query: &Query, context: RequestContext) -> RestResponse {
        rest::handle(shared, path, query, context)
    }

    fn connect(&self, shared: Arc<Shared>, path: &str, _query: &Query) -> Option<Box<dyn StreamProtocol>> {
        let stream_path = match path {
            "/ws/v5/public" => StreamPath::Public,
            "/ws/v5/business" => StreamPath::Business,
            _ => return None,
        };
        Some(Box::new(Feed::new(shared, stream_path)))
    }

    fn error_body(&self, status: u16) -> &'static str {
        match status {
            451 => "",
            418 | 429 => "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}",
            _ => "{\"code\":\"50026\",\"data\":[],\"msg\":\"System error. Try again later\"}",
        }
    }
}
