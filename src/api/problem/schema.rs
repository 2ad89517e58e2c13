//! The JSON body of a problem, with its schema for the document.

use poem_openapi::Object;
use serde::Serialize;

use super::code::Code;

/// A problem (RFC 9457).
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Problem")]
pub struct ProblemSchema {
    /// `urn:candlewick:problem:` followed by the code.
    pub r#type: String,
    /// A short summary of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do about it.
    pub detail: String,
    /// The stable error code.
    pub code: Code,
    /// The invalid parameters, if the problem concerns parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<ParameterError>>,
}

/// An invalid parameter.
#[derive(Debug, Object, Serialize)]
pub struct ParameterError {
    /// The name as the client sent it.
    pub parameter: String,
    /// What is wrong, or what is valid.
    pub detail: String,
}
