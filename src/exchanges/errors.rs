//! Classifies error responses, in the same way for all exchanges. Pure.
//!
//! Only an error body in the exchange's documented form is a statement about a symbol or a request. Everything else
//! (the page of a CDN, a proxy or a firewall; a status without such a body) concerns the path to the exchange and may
//! be different later or at another origin.

use super::{Exchange, RestError, RestErrorKind, RestResponse};
use crate::model::Timestamp;

/// Parses an error body in the exchange's documented form; `None` for any other body.
pub(super) type ApiErrorParser = fn(&RestResponse<'_>, Timestamp) -> Option<RestError>;

/// Phrases in the bodies of region blocks: the geographic restriction of Amazon `CloudFront`, Cloudflare's error 1009,
/// and Binance's own message.
/// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/georestrictions.html>,
/// <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1009/>,
/// <https://github.com/eprbell/dali-rp2/pull/237>
const REGION_BLOCK_PHRASES: [&str; 3] =
    ["block access from your country", "country or region your ip address is in", "restricted location"];

/// How much of a body is searched for [`REGION_BLOCK_PHRASES`], in bytes.
const MAX_SEARCHED_BYTES: usize = 16 << 10;

/// Maximum length of a body excerpt in an error message, in characters.
const EXCERPT_CHARS: usize = 120;

/// Classifies a response with an error status.
#[must_use]
pub fn classify_response(exchange: &dyn Exchange, response: &RestResponse<'_>, received: Timestamp) -> RestError {
    classify(response, exchange.api_error(response, received))
}

/// Like [`classify_response`], for an adapter that passes its own error parser.
pub(super) fn classify_with(parse: ApiErrorParser, response: &RestResponse<'_>, received: Timestamp) -> RestError {
    classify(response, parse(response, received))
}

/// Whether a body states that this region is blocked.
#[must_use]
pub fn is_region_block(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SEARCHED_BYTES)]).to_lowercase();
    REGION_BLOCK_PHRASES.iter().any(|phrase| text.contains(phrase))
}

/// Status 403, 418, 429, 451 and 5xx determine the kind, and the API error adds its message and time. For any other
/// status the API error determines the kind.
fn classify(response: &RestResponse<'_>, api_error: Option<RestError>) -> RestError {
    use RestErrorKind::{Banned, RateLimited, RegionBlocked, Unavailable};
    let status_kind = match response.status {
        // Binance: "a WAF (Web Application Firewall) rule has been violated. This can indicate a rate limit violation
        // or a security block": <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/http-return-codes>.
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

#[cfg(test)]
mod tests {
    use super::RestErrorKind::{Banned, RateLimited, RegionBlocked, Rejected, Unavailable, UnknownSymbol};
    use super::*;
    use crate::exchanges::exchange;
    use crate::model::ExchangeId;

    const WAF: &str = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>";
    const CLOUDFRONT: &str = "<HTML><H1>403 ERROR</H1>The request could not be satisfied. The Amazon CloudFront distribution is \
                              configured to block access from your country.</HTML>";

    fn kind(id: ExchangeId, status: u16, body: &str) -> RestErrorKind {
        classify_response(exchange(id), &RestResponse { status, body: body.as_bytes() }, Timestamp::EPOCH).kind
    }

    #[test]
    fn status_determines_kind_without_api_error() {
        for id in ExchangeId::ALL {
            for status in [400, 401, 404, 405, 410, 422] {
                for body in
                    ["", "<html>404 Not Found</html>", "null", "{}", "[]", "{\"message\":\"no healthy upstream\"}"]
                {
                    assert_eq!(kind(id, status, body), Unavailable, "{id} {status} {body}");
                }
            }
            // Bybit documents that a 403 without those phrases is a region block.
            let firewall = if id == ExchangeId::Bybit { RegionBlocked } else { Banned };
            for (status, body, expected) in [
                (403, WAF, firewall),
                (403, "", firewall),
                (403, CLOUDFRONT, RegionBlocked),
                (418, "", Banned),
                (429, "<html>error code: 1015</html>", RateLimited),
                (451, WAF, RegionBlocked),
                (502, WAF, Unavailable),
                (520, "", Unavailable),
            ] {
                assert_eq!(kind(id, status, body), expected, "{id} {status} {body}");
            }
        }
    }

    #[test]
    fn api_error_determines_kind_unless_status_is_unambiguous() {
        use ExchangeId::{Binance, Bybit, Coinbase, Kraken, Okx};
        let eligibility =
            r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}"#;
        for (id, status, body, expected) in [
            (Binance, 400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, UnknownSymbol),
            (Binance, 400, r#"{"code":-1120,"msg":"Invalid interval."}"#, Rejected),
            (Binance, 404, r#"{"code":404,"msg":"Not Found"}"#, Unavailable),
            (Binance, 418, r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1."}"#, Banned),
            (Binance, 451, eligibility, RegionBlocked),
            (Binance, 403, eligibility, RegionBlocked),
            (Kraken, 404, r#"{"error":["EQuery:Unknown asset pair"]}"#, UnknownSymbol),
            (Kraken, 503, r#"{"error":["EGeneral:Too many requests"]}"#, RateLimited),
            (Coinbase, 404, r#"{"error":"NOT_FOUND","message":"valid product_id is required"}"#, UnknownSymbol),
            (Okx, 400, r#"{"code":"51001","msg":"Instrument ID doesn't exist."}"#, UnknownSymbol),
            (Okx, 429, r#"{"msg":"Too Many Requests","code":"50011"}"#, RateLimited),
            (Bybit, 403, "403, access too frequent", Banned),
            (Bybit, 429, r#"{"retCode":10006,"retMsg":"Too many visits!"}"#, RateLimited),
            (Bybit, 400, r#"{"retCode":10001,"retMsg":"params error: symbol invalid"}"#, UnknownSymbol),
            (Bybit, 400, r#"{"retCode":10024,"retMsg":"Compliance rules triggered"}"#, RegionBlocked),
        ] {
            assert_eq!(kind(id, status, body), expected, "{id} {status} {body}");
        }
    }
}
