//! What it means that a reply is not an answer: one classification for all exchanges. Pure.
//!
//! Only an error body in the exchange's own, documented form is the exchange's word about a symbol or a request. Everything
//! else (the page of a CDN, a proxy or a firewall, a status without such a body) says something about the way to the
//! exchange, and may be different later or at another origin.

use super::{Exchange, Reply, ReplyError, ReplyErrorKind};
use crate::model::Timestamp;

/// Reads an error body in the exchange's own form; `None` for any other body.
pub(super) type OwnError = fn(&Reply<'_>, Timestamp) -> Option<ReplyError>;

/// What a page says that is shown to a closed region: the geographic restriction of Amazon `CloudFront`, Cloudflare's error 1009,
/// and Binance's own sentence.
/// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/georestrictions.html>,
/// <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1009/>,
/// <https://github.com/eprbell/dali-rp2/pull/237>
const REGION_WORDS: [&str; 3] =
    ["block access from your country", "country or region your ip address is in", "restricted location"];

/// How much of a body is searched for [`REGION_WORDS`], in bytes.
const SEARCHED: usize = 16 << 10;

/// How much of a body is shown.
const SHOWN: usize = 120;

/// What a reply with an error status means.
#[must_use]
pub fn classify(exchange: &dyn Exchange, reply: &Reply<'_>, received: Timestamp) -> ReplyError {
    let own = exchange.refusal(reply, received);
    by_status(reply, own)
}

/// The same, for an adapter that reads its own errors.
pub(super) fn classify_with(own: OwnError, reply: &Reply<'_>, received: Timestamp) -> ReplyError {
    by_status(reply, own(reply, received))
}

/// Whether a body says that this region is closed.
#[must_use]
pub fn names_region(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(SEARCHED)]).to_lowercase();
    REGION_WORDS.iter().any(|words| text.contains(words))
}

/// Status 403, 418, 429, 451 and 5xx have a meaning of their own, and an own error adds its words and times; any other
/// status means what the exchange's own error says.
fn by_status(reply: &Reply<'_>, own: Option<ReplyError>) -> ReplyError {
    use ReplyErrorKind::{Banned, RateLimited, RegionClosed, Unavailable};
    let status = match reply.status {
        // Binance: "a WAF (Web Application Firewall) rule has been violated. This can indicate a rate limit violation or a
        // security block": <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/http-return-codes>.
        403 if names_region(reply.body) => Some(RegionClosed),
        403 | 418 => Some(Banned),
        429 => Some(RateLimited),
        451 => Some(RegionClosed),
        408 | 425 | 500.. => Some(Unavailable),
        _ => None,
    };
    match (status, own) {
        (Some(kind), Some(own)) => {
            // A 403 and a 5xx mean several things; the others one.
            let is_vague = reply.status == 403 || kind == Unavailable;
            let says_more = matches!(own.kind, RateLimited | Banned | RegionClosed | Unavailable);
            let kind = if says_more && is_vague { own.kind } else { kind };
            ReplyError { kind, ..own }
        }
        (None, Some(own)) => own,
        (kind, None) => ReplyError::new(kind.unwrap_or(Unavailable), shown(reply)),
    }
}

fn shown(reply: &Reply<'_>) -> String {
    let start = &reply.body[..reply.body.len().min(4 * SHOWN)];
    let excerpt: String = String::from_utf8_lossy(start).chars().take(SHOWN).collect();
    format!("status {} without an error of the exchange's own: `{excerpt}`", reply.status)
}

#[cfg(test)]
mod tests {
    use super::ReplyErrorKind::{Banned, RateLimited, Refused, RegionClosed, Unavailable, UnknownSymbol};
    use super::*;
    use crate::exchanges::exchange;
    use crate::model::ExchangeId;

    const WAF: &str = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>";
    const CLOUDFRONT: &str = "<HTML><H1>403 ERROR</H1>The request could not be satisfied. The Amazon CloudFront distribution is \
                              configured to block access from your country.</HTML>";

    fn kind(id: ExchangeId, status: u16, body: &str) -> ReplyErrorKind {
        classify(exchange(id), &Reply { status, body: body.as_bytes() }, Timestamp::EPOCH).kind
    }

    #[test]
    fn a_page_of_something_in_front_is_never_the_exchanges_word() {
        for id in ExchangeId::ALL {
            for status in [400, 401, 404, 405, 410, 422] {
                for body in
                    ["", "<html>404 Not Found</html>", "null", "{}", "[]", "{\"message\":\"no healthy upstream\"}"]
                {
                    assert_eq!(kind(id, status, body), Unavailable, "{id} {status} {body}");
                }
            }
            // Bybit documents what its 403 without those words means.
            let firewall = if id == ExchangeId::Bybit { RegionClosed } else { Banned };
            for (status, body, expected) in [
                (403, WAF, firewall),
                (403, "", firewall),
                (403, CLOUDFRONT, RegionClosed),
                (418, "", Banned),
                (429, "<html>error code: 1015</html>", RateLimited),
                (451, WAF, RegionClosed),
                (502, WAF, Unavailable),
                (520, "", Unavailable),
            ] {
                assert_eq!(kind(id, status, body), expected, "{id} {status} {body}");
            }
        }
    }

    #[test]
    fn an_own_error_is_the_exchanges_word() {
        use ExchangeId::{Binance, Bybit, Coinbase, Kraken, Okx};
        let eligibility =
            r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}"#;
        for (id, status, body, expected) in [
            (Binance, 400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, UnknownSymbol),
            (Binance, 400, r#"{"code":-1120,"msg":"Invalid interval."}"#, Refused),
            (Binance, 404, r#"{"code":404,"msg":"Not Found"}"#, Unavailable),
            (Binance, 418, r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1."}"#, Banned),
            (Binance, 451, eligibility, RegionClosed),
            (Binance, 403, eligibility, RegionClosed),
            (Kraken, 404, r#"{"error":["EQuery:Unknown asset pair"]}"#, UnknownSymbol),
            (Kraken, 503, r#"{"error":["EGeneral:Too many requests"]}"#, RateLimited),
            (Coinbase, 404, r#"{"error":"NOT_FOUND","message":"valid product_id is required"}"#, UnknownSymbol),
            (Okx, 400, r#"{"code":"51001","msg":"Instrument ID doesn't exist."}"#, UnknownSymbol),
            (Okx, 429, r#"{"msg":"Too Many Requests","code":"50011"}"#, RateLimited),
            (Bybit, 403, "403, access too frequent", Banned),
            (Bybit, 429, r#"{"retCode":10006,"retMsg":"Too many visits!"}"#, RateLimited),
            (Bybit, 400, r#"{"retCode":10001,"retMsg":"params error: symbol invalid"}"#, UnknownSymbol),
            (Bybit, 400, r#"{"retCode":10024,"retMsg":"Compliance rules triggered"}"#, RegionClosed),
        ] {
            assert_eq!(kind(id, status, body), expected, "{id} {status} {body}");
        }
    }
}
