//! Bybit's REST API. Errors have HTTP status 200.
//! <https://bybit-exchange.github.io/docs/v5/market/kline>

use serde_json::json;

use crate::model::{ExchangeId, TimeRange, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::listing_view::ListingView;
use crate::simulator::market::Market;
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::trades::{FIRST_MINUTE, MINUTE};

use super::format::{format_decimal, parse_interval, ticker_fields};

pub(super) const REST_PREFIX: &str = "/v5/market/";
/// "600 requests within a 5-second window per IP": <https://bybit-exchange.github.io/docs/v5/rate-limit>
const RATE_LIMIT: (usize, i64) = (600, 5_000);
/// Default and maximum number of rows of a page.
const DEFAULT_ROWS: usize = 200;
const MAX_ROWS: usize = 1_000;

/// An error of Bybit: code and message. <https://bybit-exchange.github.io/docs/v5/error>
type ApiError = (u32, String);

/// Handles a GET request.
pub(super) fn handle(
    shared: &Shared,
    path: &str,
    query: &Query,
    RequestContext { client, received_at, data_until }: RequestContext,
) -> RestResponse {
    if shared.admit(client, ExchangeId::BYBIT, "rest", RATE_LIMIT, received_at).is_err() {
        return RestResponse::new(403, "403, access too frequent".to_owned());
    }
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    let view = if path == "instruments-info" {
        ListingView::now(shared, ExchangeId::BYBIT, received_at)
    } else {
        ListingView::default()
    };
    let (code, message, result) = match respond(&shared.market, view, path, query, data_until) {
        Ok(result) => (0, "OK".to_owned(), result),
        Err((code, message)) => (code, message, "{}".to_owned()),
    };
    let message = json!(message);
    let body = format!(
        "{{\"retCode\":{code},\"retMsg\":{message},\"result\":{result},\"retExtInfo\":{{}},\"time\":{received_at}}}"
    );
    RestResponse::new(200, body)
}

fn respond(market: &Market, view: ListingView, path: &str, query: &Query, now: i64) -> Result<String, ApiError> {
    if path == "time" {
        let seconds = now / 1_000;
        return Ok(format!("{{\"timeSecond\":\"{seconds}\",\"timeNano\":\"{}\"}}", now * 1_000_000));
    }
    match query.get("category") {
        Some("spot") => {}
        Some("linear" | "inverse" | "option") => return Ok("{\"category\":\"linear\",\"list\":[]}".to_owned()),
        _ => return Err((10_001, "params error: category invalid".to_owned())),
    }
    let list = match path {
        "instruments-info" if query.get("symbol").is_none() => {
            let rows = view.rows(market, ExchangeId::BYBIT, instrument, "status", &INVALID_ROWS);
            return Ok(format!("{{\"category\":\"spot\",\"list\":[{}]}}", rows.join(",")));
        }
        "instruments-info" => {
            let listings = requested_listings(market, query)?;
            listings.into_iter().map(|listing| instrument(listing, listing.halted)).collect::<Vec<_>>()
        }
        "tickers" => {
            requested_listings(market, query)?.into_iter().filter_map(|listing| ticker(market, listing, now)).collect()
        }
        "kline" => {
            let listing = requested_listings(market, query)?;
            let [listing] = listing[..] else { return Err((10_001, "params error: symbol invalid".to_owned())) };
            let rows = candles(market, listing, query, now)?.join(",");
            return Ok(format!("{{\"category\":\"spot\",\"symbol\":\"{}\",\"list\":[{rows}]}}", listing.native));
        }
        _ => return Err((10_404, "path not found".to_owned())),
    };
    Ok(format!("{{\"category\":\"spot\",\"list\":[{}]}}", list.join(",")))
}

/// The market in `symbol`, or all markets.
fn requested_listings<'a>(market: &'a Market, query: &Query) -> Result<Vec<&'a Listing>, ApiError> {
    let Some(name) = query.get("symbol") else { return Ok(market.listings(ExchangeId::BYBIT).collect()) };
    let found =
        market.find_by_name(ExchangeId::BYBIT, name).ok_or((10_001, "params error: symbol invalid".to_owned()))?;
    Ok(vec![found])
}

/// Invalid rows of a listing.
const INVALID_ROWS: [&str; 4] = [
    r#"{"symbol":"ODDAUSDT","baseCoin":"ODDA","quoteCoin":"USDT","status":"Trading","lotSizeFilter":null,"priceFilter":{"tickSize":"0.1234567890123456789012345678901"}}"#,
    r#"{"symbol":"ODDBUSDT","baseCoin":null,"quoteCoin":"USDT","status":"Trading"}"#,
    r#"{"symbol":"ODDCUSDT","quoteCoin":"USDT","status":"Trading","priceFilter":[]}"#,
    "null",
];

fn instrument(listing: &Listing, halted: bool) -> String {
    let step = format_decimal(listing.amount(1));
    json!({
        "symbol": listing.native, "baseCoin": listing.base, "quoteCoin": listing.quote,
        "innovation": "0", "status": if halted { "PreLaunch" } else { "Trading" }, "marginTrading": "utaOnly", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": step, "quotePrecision": "0.00000001", "minOrderQty": step, "maxOrderQty": "1000",
            "minOrderAmt": "5", "maxOrderAmt": "2000000",
        },
        "priceFilter": { "tickSize": format_decimal(listing.price(1)) },
        "riskParameters": { "priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02" },
    })
    .to_string()
}

fn ticker(market: &Market, listing: &Listing, now: i64) -> Option<String> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    let [bid, ask] = [book.bid, book.ask].map(|ticks| format_decimal(listing.price(ticks)));
    let [bid_size, ask_size] = [book.bid_size, book.ask_size].map(|steps| format_decimal(listing.amount(steps)));
    Some(format!(
        "{{{},\"bid1Price\":\"{bid}\",\"bid1Size\":\"{bid_size}\",\"ask1Price\":\"{ask}\",\"ask1Size\":\"{ask_size}\"}}",
        ticker_fields(listing, &day)
    ))
}

/// The newest rows that open from `start` to `end`, both inclusive, newest first. With `start` alone, the first rows
/// from the candle that contains `start`, as observed in <https://github.com/bybit-exchange/pybit/issues/186> and
/// <https://github.com/ccxt/ccxt/issues/26736>.
fn candles(market: &Market, listing: &Listing, query: &Query, now: i64) -> Result<Vec<String>, ApiError> {
    let invalid = |name: &str| (10_001, format!("params error: {name} invalid"));
    let interval = query.get("interval").and_then(parse_interval).ok_or_else(|| invalid("Interval"))?;
    let number = |name: &'static str| match query.get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => Err(invalid(name)),
    };
    let limit = match number("limit")? {
        None => DEFAULT_ROWS,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MAX_ROWS).contains(limit))
            .ok_or_else(|| invalid("limit"))?,
    };
    let first_open = interval.floor(Timestamp::from_millis(FIRST_MINUTE * MINUTE));
    let requested = (number("start")?.map(Timestamp::from_millis), number("end")?.map(Timestamp::from_millis));
    let now_at = Timestamp::from_millis(now);
    let (start, end) = match requested {
        (Some(start), None) => {
            let start = interval.floor(start).max(first_open);
            let last = interval.open_times(TimeRange::new(start, now_at)).take(limit).last();
            (start, last.unwrap_or(now_at))
        }
        (start, end) => {
            let start = start.map_or(first_open, |start| interval.ceil(start)).max(first_open);
            (start, end.unwrap_or(now_at).min(now_at))
        }
    };
    let (mut open_time, mut rows) = (interval.floor(end), Vec::new());
    while open_time >= start && rows.len() < limit {
        let Some(bar) = market.bar_or_flat(listing, interval.span(open_time), now) else { break };
        let [open, high, low, close] =
            [bar.open, bar.high, bar.low, bar.close].map(|ticks| format_decimal(listing.price(ticks)));
        rows.push(format!(
            "[\"{}\",\"{open}\",\"{high}\",\"{low}\",\"{close}\",\"{}\",\"{}\"]",
            open_time.millis(),
            format_decimal(listing.amount(bar.volume)),
            format_decimal(listing.turnover(bar.turnover)),
        ));
        open_time = interval.back(open_time, 1);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// 2025-11-20T21:00:30.123Z
    const NOW: i64 = 1_763_672_430_123;
    const OPEN: i64 = 1_763_672_400_000;

    fn request(path: &str, query: &[(&str, &str)]) -> Result<Value, ApiError> {
        let query: Vec<_> = [("category", "spot")].iter().chain(query).copied().collect();
        let result = respond(&Market::new(1), ListingView::default(), path, &Query::from_pairs(&query), NOW)?;
        Ok(serde_json::from_str(&result).unwrap())
    }

    fn open_times(query: &[(&str, &str)]) -> Vec<i64> {
        let query: Vec<_> = [("symbol", "BTCUSDT"), ("interval", "1")].iter().chain(query).copied().collect();
        let rows = request("kline", &query).unwrap()["list"].clone();
        rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn candle_pages_are_newest_first_with_inclusive_ends() {
        let all = open_times(&[]);
        assert_eq!((all.len(), all[0], all[199]), (200, OPEN, OPEN - 199 * MINUTE));
        let (start, end) = ((OPEN - 2 * MINUTE).to_string(), (OPEN - MINUTE).to_string());
        assert_eq!(open_times(&[("start", &start), ("end", &end)]), [OPEN - MINUTE, OPEN - 2 * MINUTE]);
        assert_eq!(open_times(&[("start", "0"), ("end", &end), ("limit", "1")]), [OPEN - MINUTE], "the newest row");
        assert!(open_times(&[("end", "1502900000000")]).is_empty());
        let start = (OPEN - 5 * MINUTE - 1).to_string();
        assert_eq!(
            open_times(&[("start", &start), ("limit", "2")]),
            [OPEN - 5 * MINUTE, OPEN - 6 * MINUTE],
            "the first rows"
        );
        assert_eq!(open_times(&[("start", "9999"), ("limit", "1")]), [FIRST_MINUTE * MINUTE]);
    }

    #[test]
    fn returns_bybit_error_codes() {
        for query in [
            &[("symbol", "NOUSDT"), ("interval", "1")][..],
            &[("interval", "1")],
            &[("symbol", "BTCUSDT"), ("interval", "1m")],
            &[("symbol", "BTCUSDT"), ("interval", "1"), ("limit", "1001")],
            &[("symbol", "BTCUSDT"), ("interval", "1"), ("start", "x")],
            &[("category", ""), ("symbol", "BTCUSDT")],
        ] {
            assert_eq!(request("kline", query).unwrap_err().0, 10_001, "{query:?}");
        }
        assert_eq!(request("nothing", &[]).unwrap_err().0, 10_404);
    }

    #[test]
    fn ticker_and_listing_have_documented_members() {
        let listing = request("instruments-info", &[]).unwrap();
        assert_eq!(listing["list"].as_array().unwrap().len(), 40);
        assert_eq!(listing["list"][0]["priceFilter"]["tickSize"], "0.01");
        let ticker = request("tickers", &[("symbol", "BTCUSDT")]).unwrap()["list"][0].clone();
        assert_eq!(ticker.as_object().unwrap().len(), 13);
        assert!(ticker["bid1Price"].is_string() && ticker["price24hPcnt"].as_str().unwrap().len() < 9);
    }
}
