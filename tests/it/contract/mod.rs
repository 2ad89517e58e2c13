mod cache;
mod store;
