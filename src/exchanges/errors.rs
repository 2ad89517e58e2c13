//! Classifies error responses, in the same way for all exchanges. Pure.
//!
//! Only an error body in the exchange's documented form is a statement about a symbol or a request. Everything else
//! (the page of a CDN, a proxy or a firewall; a status without such a body) concerns the path to the exchange and may
//! be different later or at another origin.

use super::response::{RestError, RestErrorKind, RestResponse};

/// Phrases in the bodies of region blocks: the geographic restriction of Amazon `CloudFront`, Cloudflare's error 1009,
/// and the message of an exchange.
/// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/georestrictions.html>,
/// <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1009/>,
/// <https://github.com/eprbell/dali-rp2/pull/237>
const REGION_BLOCK_PHRASES: [&str; 3] =
    ["block access from your country", "country or region your ip address is in", "restricted location"];

/// How much of a body is searched for [`REGION_BLOCK_PHRASES`], in bytes.
const MAX_SEARCHED_BYTES: usize = 16 << 10;

/// Maximum length of a body excerpt in an error message, in characters.
const EXCERPT_CHARS: usize = 120;

/// Whether a body states that this region is blocked.
#[must_use]
pub fn is_region_block(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SEARCHED_BYTES)]).to_lowercase();
    REGION_BLOCK_PHRASES.iter().any(|phrase| text.contains(phrase))
}

/// Classifies a response with an error status, from the status and the exchange's own error, if its body has one.
///
/// Status 403, 418, 429, 451 and 5xx determine the kind, and the API error adds its message and time. For any other
/// status the API error determines the kind.
pub(super) fn classify(response: &RestResponse<'_>, api_error: Option<RestError>) -> RestError {
    use RestErrorKind::{Banned, RateLimited, RegionBlocked, Unavailable};
    let status_kind = match response.status {
        // "A WAF (Web Application Firewall) rule has been violated. This can indicate a rate limit violation or a
        // security block": <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/http-return-codes>.
        403 if is_region_block(response.body) => Some(RegionBlocked),
        403 | 418 => Some(Banned),
        429 => Some(RateLimited),
        451 => Some(RegionBlocked),
        408 | 425 | 500.. => Some(Unavailable),
        _ => None,
    };
    match (status_kind, api_error) {
        (Some(kind), Some(error)) => {
            // A 403 and a 5xx have several meanings; the other statuses have one.
            let is_ambiguous = response.status == 403 || kind == Unavailable;
            let is_specific = matches!(error.kind, RateLimited | Banned | RegionBlocked | Unavailable);
            let kind = if is_specific && is_ambiguous { error.kind } else { kind };
            RestError { kind, ..error }
        }
        (None, Some(error)) => error,
        (kind, None) => RestError::new(kind.unwrap_or(Unavailable), message(response)),
    }
}

fn message(response: &RestResponse<'_>) -> String {
    let start = &response.body[..response.body.len().min(4 * EXCERPT_CHARS)];
    let excerpt: String = String::from_utf8_lossy(start).chars().take(EXCERPT_CHARS).collect();
    format!("status {} without an API error: `{excerpt}`", response.status)
}
