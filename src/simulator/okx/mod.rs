//! OKX's spot protocol, API version 5.
//! <https://www.okx.com/docs-v5/en/>, read in November 2026

mod catalog;
mod format;
mod rest;
mod simulated;
mod stream;

pub use simulated::Simulated;
