//! REST endpoints: one module per subject.

mod backfills;
mod candles;
mod document;
mod history;
mod page_cache;
mod parameters;
mod payload;
mod reference;
mod schema;
mod service;
#[cfg(test)]
mod tests;
mod ticker;
mod tickets;

use std::sync::Arc;

use poem_openapi::Tags;

use super::AppState;

pub use parameters::{Exchange, PathSymbol, Symbol};
pub use schema::Problem as ProblemSchema;

/// All operations, in the order of the document.
pub type Api = (
    ticker::TickerApi,
    history::HistoryApi,
    reference::ReferenceApi,
    backfills::BackfillApi,
    tickets::TicketApi,
    service::ServiceApi,
    document::DocumentApi,
);

/// Creates all operations over the same state.
pub fn api(state: &Arc<AppState>) -> Api {
    let state = || Arc::clone(state);
    (
        ticker::TickerApi(state()),
        history::HistoryApi::new(&state()),
        reference::ReferenceApi(state()),
        backfills::BackfillApi(state()),
        tickets::TicketApi(state()),
        service::ServiceApi(state()),
        document::DocumentApi,
    )
}

/// The tags of the OpenAPI document.
#[derive(Tags)]
enum Tag {
    /// Tickers and candles.
    #[oai(rename = "Market data")]
    Market,
    /// Exchanges, instruments, and the coverage of stored candles.
    Reference,
    /// Candles that are fetched on request, in the background.
    Backfills,
    /// State of the service, metrics, tickets and API documents.
    Service,
    /// Legacy paths for existing clients, with the same responses as the paths under `/v1`.
    #[oai(rename = "Legacy paths")]
    Legacy,
}
