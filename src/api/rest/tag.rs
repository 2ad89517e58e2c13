//! The tags of the OpenAPI document.

use poem_openapi::Tags;

/// The tag of an operation.
#[derive(Tags)]
pub enum Tag {
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
