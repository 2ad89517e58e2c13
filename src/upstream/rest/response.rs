//! A received response.

use std::time::Duration;

use bytes::Bytes;

use crate::model::Timestamp;

/// A response, shared by all callers of the same request.
#[derive(Clone, Debug)]
pub(super) struct FetchedResponse {
    pub status: u16,
    pub body: Bytes,
    /// When the request was sent and the response headers were received, by the clock's `elapsed`.
    pub sent: Duration,
    pub received: Duration,
    /// The `Date` header: the server's time, in whole seconds.
    pub date: Option<Timestamp>,
    /// The pause that its headers ask for, if it is a rejection.
    pub retry_after: Option<Duration>,
    /// Index of the origin that sent it.
    pub origin: usize,
}
