//! From an exchange's stream to the cache and the store: supervisor, candle closing, derivation, batch writer, repair.

mod claims;
mod closing;
