//! Live streams over WebSocket and as server-sent events.

mod asyncapi;
mod client_feed;
mod client_socket;
mod events;
mod frame_sink;
mod legacy;
mod message;
mod resolve;
mod session;
mod status;
mod upgrade;

pub use asyncapi::{asyncapi_document, asyncapi_json};

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Route, get};
use poem_openapi::registry::{MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::types::Type;

use super::headers::ALLOW;
use super::operation::{AllowedMethods, OperationMiddleware};
use super::rest::{Exchange, PathSymbol, Symbol};
use super::state::AppState;

/// Maximum length of a list of topics or sequence ids, in characters.
const MAX_LIST_CHARS: usize = 4_096;

/// The routes of all streams. OpenAPI cannot describe streams, so they are not in the OpenAPI document.
pub fn routes(state: &Arc<AppState>) -> Route {
    let exchange = || parameter::<Exchange>("exchange", MetaParamIn::Query, false);
    // Replaces a key where a browser cannot send one.
    let ticket = || parameter::<String>("ticket", MetaParamIn::Query, false);
    let subscribe = [parameter::<PathSymbol>("symbol", MetaParamIn::Path, true), exchange(), ticket()];
    let realtime = [exchange(), parameter::<Symbol>("symbol", MetaParamIn::Query, true), ticket()];
    let events = [
        list_parameter("topics", true),
        parameter::<String>("snapshot", MetaParamIn::Query, false),
        list_parameter("resume", false),
        ticket(),
    ];
    Route::new()
        .at("/v1/stream", socket(state, "stream", &[ticket()], session::stream))
        .at("/v1/events", socket(state, "events", &events, events::events))
        .at("/ws/subscribe/:param0", socket(state, "wsSubscribe", &subscribe, legacy::subscribe))
        .at("/ws/realtime", socket(state, "wsRealtime", &realtime, legacy::realtime))
}

fn socket(
    state: &Arc<AppState>,
    operation: &'static str,
    parameters: &[MetaOperationParam],
    handler: impl Endpoint + 'static,
) -> impl Endpoint + 'static {
    let handler = handler.data(Arc::clone(state));
    let endpoint = Arc::new(OperationMiddleware::new(operation, parameters, handler, Arc::clone(&state.authorizer)));
    get(Arc::clone(&endpoint)).head(endpoint).options(AllowedMethods(ALLOW))
}

/// A parameter that lists one value per topic.
fn list_parameter(name: &str, required: bool) -> MetaOperationParam {
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
