//! Errors of all stores.

/// Error of a store call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or overloaded; a later retry may succeed.
    #[error("the candle store does not answer: {0}")]
    Unavailable(String),
    /// A stored value is invalid.
    #[error("the candle store holds an invalid value: {0}")]
    Corrupt(String),
    /// The store cannot be opened; the text says what to do.
    #[error("{0}")]
    Open(String),
}
