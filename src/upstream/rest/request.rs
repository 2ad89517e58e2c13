//! A request as it is sent.

use super::target;
use crate::exchanges::{Method, RestCall};

/// A request, without the parser of its response.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: Method,
    /// Path and query, percent-encoded.
    pub target: String,
    pub body: Option<String>,
    pub scope: &'static str,
    pub weight: u32,
}

impl HttpRequest {
    pub fn new<T>(call: &RestCall<T>) -> Self {
        let target = target::target(&call.path, &call.query);
        Self { method: call.method, target, body: call.body.clone(), scope: call.scope, weight: call.weight }
    }
}
