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
mod tag;
#[cfg(test)]
mod tests;
mod ticker;
mod tickets;

use std::sync::{Arc, LazyLock};

pub use document::Documents;
pub use parameters::{Exchange, PathSymbol, Symbol};

use super::state::AppState;

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

/// Creates all operations over the same state. `documents` are served as they are.
pub fn api(state: &Arc<AppState>, documents: &'static LazyLock<Documents>) -> Api {
    let state = || Arc::clone(state);
    (
        ticker::TickerApi(state()),
        history::HistoryApi::new(&state()),
        reference::ReferenceApi(state()),
        backfills::BackfillApi(state()),
        tickets::TicketApi(state()),
        service::ServiceApi(state()),
        document::DocumentApi(documents),
    )
}
