//! The doors that answer once: one file a subject.

mod backfills;
mod candles;
mod document;
mod history;
mod hot;
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

use super::Doors;

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

/// All operations over the same doors.
pub fn api(doors: &Arc<Doors>) -> Api {
    let doors = || Arc::clone(doors);
    (
        ticker::TickerApi(doors()),
        history::HistoryApi::new(&doors()),
        reference::ReferenceApi(doors()),
        backfills::BackfillApi(doors()),
        tickets::TicketApi(doors()),
        service::ServiceApi(doors()),
        document::DocumentApi,
    )
}

/// The headings of the document.
#[derive(Tags)]
enum Tag {
    /// Tickers and candles.
    #[oai(rename = "Market data")]
    Market,
    /// What can be asked for, and what is known.
    Reference,
    /// Candles that are fetched because someone asked.
    Backfills,
    /// How the service is doing.
    Service,
    /// Aliases for clients of earlier services; same answers as the paths under `/v1`.
    #[oai(rename = "Kept paths")]
    Kept,
}
