//! OKX spot, version 5.
//!
//! Documentation: <https://www.okx.com/docs-v5/en/>, as of 2026-11.

mod adapter;
mod profile;
mod rest;
mod split;
mod stream;
mod symbols;
#[cfg(test)]
mod tests;
mod wire;

pub use adapter::Adapter;
