//! The doors: REST, and live streams.
