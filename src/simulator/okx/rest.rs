//! OKX's REST API. Most errors have HTTP status 200.
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data>

use serde_json::json;

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::listing_view::ListingView;
use crate::simulator::market::Market;
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::trades::{FIRST_MINUTE, MINUTE};

use super::format::{Grid, format_decimal, row, ticker};

pub(super) const REST_PREFIX: &str = "/api/v5/";
/// Default number of rows of a candle page.
const DEFAULT_ROWS: usize = 100;
/// "The maximum is 300."
const MAX_ROWS: usize = 300;
/// "This endpoint can retrieve the latest 1,440 data entries."
const MAX_RECENT_ROWS: u32 = 1_440;
/// Window of all rate limits in milliseconds.
const RATE_WINDOW: i64 = 2_000;

/// An error of OKX: HTTP status, code, message. <https://www.okx.com/docs-v5/en/#error-code-rest-api>
type ApiError = (u16, u32, String);

/// Handles a GET request.
pub(super) fn handle(
    shared: &Shared,
    path: &str,
    query: &Query,
    RequestContext { client, received_at, data_until }: RequestContext,
) -> RestResponse {
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    // "Rate limit rule: IP + Instrument Type" for the listing, "IP" for other paths.
    let kind = if path == "public/instruments" { query.get("instType").unwrap_or("") } else { "" };
    let bucket = format!("{path} {kind}");
    if let Some(limit) = rate_limit(path)
        && shared.admit(client, ExchangeId::OKX, &bucket, (limit, RATE_WINDOW), received_at).is_err()
    {
        // OKX sends no `Retry-After`.
        return RestResponse::new(429, "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_owned());
    }
    let view = if path == "public/instruments" {
        ListingView::now(shared, ExchangeId::OKX, received_at)
    } else {
        ListingView::default()
    };
    match respond(&shared.market, view, path, query, data_until) {
        Ok(rows) => RestResponse::new(200, format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{rows}]}}")),
        Err((status, code, message)) => {
            RestResponse::new(status, json!({ "code": code.to_string(), "data": [], "msg": message }).to_string())
        }
    }
}

/// Requests per IP address and path in a window.
fn rate_limit(path: &str) -> Option<usize> {
    match path {
        "public/time" => Some(10),
        "public/instruments" | "market/ticker" | "market/tickers" | "market/history-candles" => Some(20),
        "market/candles" => Some(40),
        _ => None,
    }
}

/// The rows of a response, separated by commas.
fn respond(market: &Market, view: ListingView, path: &str, query: &Query, now: i64) -> Result<String, ApiError> {
    let ticker_row = |listing: &Listing| {
        Some(ticker(listing, &market.day_statistics(listing, now)?, &market.top_of_book(listing, now)?, now))
    };
    match path {
        "public/time" => Ok(format!("{{\"ts\":\"{now}\"}}")),
        "public/instruments" => {
            let listings = spot_listings(market, query)?;
            if listings.is_empty() || query.get("instId").is_some() {
                let rows = listings.iter().map(|listing| instrument(listing, listing.halted));
                return Ok(rows.collect::<Vec<_>>().join(","));
            }
            Ok(view.rows(market, ExchangeId::OKX, instrument, "state", &INVALID_ROWS).join(","))
        }
        "market/ticker" => Ok(ticker_row(find_listing(market, query)?).unwrap_or_default()),
        "market/tickers" => {
            Ok(spot_listings(market, query)?.into_iter().filter_map(ticker_row).collect::<Vec<_>>().join(","))
        }
        "market/candles" => candles(market, query, now, false),
        "market/history-candles" => candles(market, query, now, true),
        _ => Err((404, 404, "Not Found".to_owned())),
    }
}

fn invalid_parameter(parameter: &str) -> ApiError {
    (400, 51_000, format!("Parameter {parameter} error"))
}

fn missing_parameter(parameter: &str) -> ApiError {
    (400, 50_014, format!("Parameter {parameter} can not be empty."))
}

/// The market in `instId`.
fn find_listing<'a>(market: &'a Market, query: &Query) -> Result<&'a Listing, ApiError> {
    let native = query.get("instId").filter(|native| !native.is_empty()).ok_or_else(|| missing_parameter("instId"))?;
    let found = market.find_by_name(ExchangeId::OKX, native);
    found.ok_or_else(|| (200, 51_001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.".to_owned()))
}

/// The markets of the requested type. Only spot markets are simulated.
fn spot_listings<'a>(market: &'a Market, query: &Query) -> Result<Vec<&'a Listing>, ApiError> {
    match query.get("instType") {
        None | Some("") => Err(missing_parameter("instType")),
        Some("SPOT") => match query.get("instId") {
            Some(_) => Ok(vec![find_listing(market, query)?]),
            None => Ok(market.listings(ExchangeId::OKX).collect()),
        },
        Some("MARGIN" | "SWAP" | "FUTURES" | "OPTION") => Ok(Vec::new()),
        Some(_) => Err(invalid_parameter("instType")),
    }
}

/// Invalid rows of a listing.
const INVALID_ROWS: [&str; 4] = [
    r#"{"instType":"SPOT","instId":"ODDA-USDT","baseCcy":"ODDA","quoteCcy":"USDT","state":"live","tickSz":"0.1234567890123456789012345678901","lotSz":""}"#,
    r#"{"instType":"SPOT","instId":"ODDB-USDT","baseCcy":"ODDB","quoteCcy":"USDT","state":null,"tickSz":"0.1","lotSz":"1"}"#,
    r#"{"instType":"SPOT","instId":"ODDC-USDT","quoteCcy":"USDT","state":"live","tickSz":"0.1","lotSz":"1"}"#,
    "[]",
];

fn instrument(listing: &Listing, halted: bool) -> String {
    json!({
        "alias": "", "auctionEndTime": "", "baseCcy": listing.base, "category": "1", "contTdSwTime": "",
        "ctMult": "", "ctType": "", "ctVal": "", "ctValCcy": "", "expTime": "", "futureSettlement": false,
        "instFamily": "", "instId": listing.native, "instIdCode": 1_000_000 + listing.index, "instType": "SPOT",
        "lever": "10", "listTime": (FIRST_MINUTE * MINUTE).to_string(), "lotSz": format_decimal(listing.amount(1)),
        "maxLmtSz": "9999999999", "maxMktAmt": "1000000", "minSz": format_decimal(listing.amount(listing.typical_amount)),
        "openType": "", "optType": "", "quoteCcy": listing.quote, "ruleType": "normal", "settleCcy": "",
        "state": if halted { "suspend" } else { "live" }, "stk": "", "tickSz": format_decimal(listing.price(1)),
        "tradeQuoteCcyList": [listing.quote], "uly": "", "upcChg": [],
    })
    .to_string()
}

/// A candle page, newest first: candles that open before `after` and after `before`. `history` has closed candles only.
fn candles(market: &Market, query: &Query, now: i64, history: bool) -> Result<String, ApiError> {
    let listing = find_listing(market, query)?;
    let grid = Grid::parse(query.get("bar").unwrap_or("1m")).ok_or_else(|| invalid_parameter("bar"))?;
    let number = |name: &str| match query.get(name).filter(|text| !text.is_empty()).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => Err(invalid_parameter(name)),
    };
    let limit = match number("limit")?.map(usize::try_from) {
        None => DEFAULT_ROWS,
        Some(Ok(limit @ 1..)) => limit.min(MAX_ROWS),
        Some(_) => return Err(invalid_parameter("limit")),
    };
    let (after, before) = (number("after")?.unwrap_or(i64::MAX), number("before")?.unwrap_or(-1));
    let current = grid.span(now).start().millis();
    let oldest_offered = if history {
        0
    } else {
        let local = Timestamp::from_millis(current + grid.utc_offset);
        grid.interval.back(local, MAX_RECENT_ROWS - 1).millis() - grid.utc_offset
    };
    let first_open = grid.span(FIRST_MINUTE * MINUTE).start().millis();
    let oldest = oldest_offered.max(first_open).max(before.saturating_add(1));
    let newest = if history { current - 1 } else { current };
    let mut open = grid.span(newest.min(after.saturating_sub(1)).max(0)).start().millis();
    let mut page = Vec::new();
    while open >= oldest && page.len() < limit {
        let span = grid.span(open);
        let Some(bar) = market.bar_or_flat(listing, span, now) else { break };
        page.push(row(listing, span, &bar, now));
        open = grid.span(open - 1).start().millis();
    }
    Ok(page.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// 2025-11-20T21:00:30.123Z
    const NOW: i64 = 1_763_672_430_123;
    const OPEN: i64 = 1_763_672_400_000;

    fn request(path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ApiError> {
        let rows = respond(&Market::new(1), ListingView::default(), path, &Query::from_pairs(query), NOW)?;
        Ok(serde_json::from_str(&format!("[{rows}]")).unwrap())
    }

    fn open_times(path: &str, query: &[(&str, &str)]) -> Vec<i64> {
        let query: Vec<_> = [("instId", "SOL-USDC")].iter().chain(query).copied().collect();
        request(path, &query).unwrap().iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn candle_pages_are_newest_first_with_exclusive_ends() {
        let newest = open_times("market/candles", &[]);
        assert_eq!((newest.len(), newest[0], newest[99]), (100, OPEN, OPEN - 99 * MINUTE));
        assert_eq!(open_times("market/candles", &[("limit", "5000")]).len(), 300);
        let (from, to) = ((OPEN - 3 * MINUTE).to_string(), OPEN.to_string());
        let between = open_times("market/candles", &[("before", &from), ("after", &to)]);
        assert_eq!(between, [OPEN - MINUTE, OPEN - 2 * MINUTE]);
        let page = open_times("market/candles", &[("before", "0"), ("after", &to), ("limit", "1")]);
        assert_eq!(page, [OPEN - MINUTE], "the limit drops the oldest rows");
        assert_eq!(open_times("market/history-candles", &[("limit", "2")]), [OPEN - MINUTE, OPEN - 2 * MINUTE]);
    }

    #[test]
    fn recent_candles_have_1440_rows_and_history_starts_at_first_minute() {
        let oldest = OPEN - 1_439 * MINUTE;
        let after = (oldest + MINUTE).to_string();
        assert_eq!(open_times("market/candles", &[("after", &after)]), [oldest]);
        let older = open_times("market/history-candles", &[("after", &after), ("limit", "3")]);
        assert_eq!(older, [oldest, oldest - MINUTE, oldest - 2 * MINUTE]);
        let first_open = FIRST_MINUTE * MINUTE;
        let after = (first_open + MINUTE + 1).to_string();
        assert_eq!(open_times("market/history-candles", &[("after", &after)]), [first_open + MINUTE, first_open]);
        assert!(open_times("market/history-candles", &[("after", "1502900000000")]).is_empty());
        assert_eq!(open_times("market/candles", &[("bar", "1Mutc"), ("limit", "300")]).len(), 100, "all months");
    }

    #[test]
    fn candle_row_has_nine_strings_and_confirm_flag() {
        let rows = request("market/candles", &[("instId", "BTC-USDT"), ("limit", "2")]).unwrap();
        let row = |index: usize| rows[index].as_array().unwrap();
        assert!(row(0).len() == 9 && row(0).iter().all(Value::is_string), "{rows:?}");
        assert_eq!((&row(0)[8], &row(1)[8], &row(1)[6]), (&json!("0"), &json!("1"), &row(1)[7]));
    }

    #[test]
    fn returns_okx_error_codes() {
        for (path, query, status, code) in [
            ("market/candles", &[("instId", "NO-USDT")][..], 200, 51_001),
            ("market/ticker", &[("instId", "BTC-USDT-SWAP")], 200, 51_001),
            ("market/ticker", &[], 400, 50_014),
            ("market/candles", &[("instId", "BTC-USDT"), ("bar", "1h")], 400, 51_000),
            ("market/candles", &[("instId", "BTC-USDT"), ("limit", "0")], 400, 51_000),
            ("market/candles", &[("instId", "BTC-USDT"), ("after", "x")], 400, 51_000),
            ("public/instruments", &[], 400, 50_014),
            ("public/instruments", &[("instType", "BONDS")], 400, 51_000),
            ("nothing", &[], 404, 404),
        ] {
            let (actual_status, actual_code, message) = request(path, query).unwrap_err();
            assert_eq!((actual_status, actual_code), (status, code), "{path} {query:?}: {message}");
        }
    }

    #[test]
    fn ticker_and_listing_have_documented_members() {
        let ticker = &request("market/ticker", &[("instId", "BTC-USDT")]).unwrap()[0];
        assert_eq!((ticker.as_object().unwrap().len(), &ticker["instType"]), (16, &json!("SPOT")));
        assert_eq!(ticker["ts"], NOW.to_string());
        let spot = request("public/instruments", &[("instType", "SPOT")]).unwrap();
        assert!(spot.len() >= 40);
        assert_eq!(
            (&spot[0]["instId"], &spot[0]["tickSz"], &spot[0]["lotSz"]),
            (&json!("BTC-USDT"), &json!("0.1"), &json!("0.00000001"))
        );
        assert!(request("public/instruments", &[("instType", "SWAP")]).unwrap().is_empty());
        assert_eq!(request("market/tickers", &[("instType", "SPOT")]).unwrap().len(), spot.len());
        assert_eq!(request("public/time", &[]).unwrap()[0]["ts"], NOW.to_string());
    }
}
