//! The contracts of the seams: one suite a trait, run on every backend.

mod cache;
mod store;
