//! Requests and responses of the simulated REST APIs.

use std::net::IpAddr;

/// Query parameters.
pub struct Query(pub Vec<(String, String)>);

impl Query {
    #[cfg(test)]
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Source and time of a REST request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    pub client: IpAddr,
    /// Arrival time in Unix milliseconds. Rate limits use it, so that processing delays do not count.
    pub received_at: i64,
    /// Newest data in the response, in Unix milliseconds: earlier than `received_at` while REST lags.
    pub data_until: i64,
}

/// Response of a simulated REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestResponse {
    pub status: u16,
    pub body: String,
    pub headers: Vec<(&'static str, String)>,
}

impl RestResponse {
    pub const fn new(status: u16, body: String) -> Self {
        Self { status, body, headers: Vec::new() }
    }
}
