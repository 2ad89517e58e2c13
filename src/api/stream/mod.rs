//! The doors that stay open: live streams over WebSocket and as server-sent events.

mod asyncapi;
mod events;
mod feed;
mod find;
mod kept;
mod line;
mod message;
mod session;
mod status;
mod upgrade;

pub use asyncapi::{asyncapi_document, asyncapi_json};

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Route, get};
use poem_openapi::registry::{MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::types::Type;

use super::Doors;
use super::guard::{ALLOW, Guard, Offered};
use super::rest::{Exchange, PathSymbol, Symbol};

/// The longest list of topics or of their places, in characters.
const MAX_LIST_CHARS: usize = 4_096;

/// All of them. OpenAPI has no words for a socket, so the document tells of them in prose.
pub fn routes(doors: &Arc<Doors>) -> Route {
    let exchange = || parameter::<Exchange>("exchange", MetaParamIn::Query, false);
    // Stands in for a key where a browser cannot send one.
    let ticket = || parameter::<String>("ticket", MetaParamIn::Query, false);
    let subscribe = [parameter::<PathSymbol>("symbol", MetaParamIn::Path, true), exchange(), ticket()];
    let realtime = [exchange(), parameter::<Symbol>("symbol", MetaParamIn::Query, true), ticket()];
    let events = [
        long("topics", true),
        parameter::<String>("snapshot", MetaParamIn::Query, false),
        long("resume", false),
        ticket(),
    ];
    Route::new()
        .at("/v1/stream", socket(doors, "stream", &[ticket()], session::stream))
        .at("/v1/events", socket(doors, "events", &events, events::events))
        .at("/ws/subscribe/:param0", socket(doors, "wsSubscribe", &subscribe, kept::subscribe))
        .at("/ws/realtime", socket(doors, "wsRealtime", &realtime, kept::realtime))
}

fn socket(
    doors: &Arc<Doors>,
    operation: &'static str,
    takes: &[MetaOperationParam],
    handler: impl Endpoint + 'static,
) -> impl Endpoint + 'static {
    let guard = Arc::new(Guard::new(operation, takes, handler.data(Arc::clone(doors)), Arc::clone(&doors.gate)));
    get(Arc::clone(&guard)).head(guard).options(Offered(ALLOW))
}

/// A list of as many as there may be topics.
fn long(name: &str, required: bool) -> MetaOperationParam {
    let schema = MetaSchema { max_length: Some(MAX_LIST_CHARS), ..MetaSchema::new("string") };
    let schema = MetaSchemaRef::Inline(Box::new(schema));
    MetaOperationParam { schema, ..parameter::<String>(name, MetaParamIn::Query, required) }
}

fn parameter<T: Type>(name: &str, in_type: MetaParamIn, required: bool) -> MetaOperationParam {
    MetaOperationParam {
        name: name.to_owned(),
        schema: T::schema_ref(),
        in_type,
        description: None,
        required,
        deprecated: false,
        explode: true,
        style: None,
    }
}
