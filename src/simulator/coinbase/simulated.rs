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
        ExchangeId::COINBASE
    }

    fn catalog(&self) -> &'static Catalog {
        &CATALOG
    }

    fn rest_prefix(&self) -> &'static str {
        REST_PREFIX
    }

    fn content(&self, path: &str) -> Content {
        if path.ends_with("/candles") {
            Content::Candles
        } else if path.ends_with("/ticker") {
            Content::Ticker
        } else {
            Content::Other
        }
    }

    fn handle(&self, shared: &Shared, path: &str, query: &Query, context: RequestContext) -> RestResponse {
        rest::handle(shared, path, query, context)
    }

    fn connect(&self, shared: Arc<Shared>, path: &str, _query: &Query) -> Option<Box<dyn StreamProtocol>> {
        (path == "/").then(|| Box::new(Feed::new(shared)) as Box<dyn StreamProtocol>)
    }

    fn error_body(&self, status: u16) -> &'static str {
        match status {
            451 => "",
            418 | 429 => {
                "{\"error\":\"RESOURCE_EXHAUSTED\",\"message\":\"too many requests; this is a scripted fault\"}"
            }
            _ => "{\"error\":\"INTERNAL\",\"message\":\"internal server error\"}",
        }
    }
}
