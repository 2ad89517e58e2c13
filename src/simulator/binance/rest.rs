//! Binance's REST API.
//! <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::limits::Admission;
use crate::simulator::listing_view::ListingView;
use crate::simulator::market::Market;
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::stats::increment;
use crate::simulator::trades::{FIRST_MINUTE, MINUTE};
use std::fmt::Write;

use super::format::{amount, day_change, ohlc, price, quote_fields, turnover};

pub(super) const REST_PREFIX: &str = "/api/v3/";
/// Request weight allowed per IP address and minute.
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>, `exchangeInfo.rateLimits`
const WEIGHT_PER_MINUTE: u32 = 6_000;
/// Default number of rows of a candle page.
const DEFAULT_ROWS: usize = 500;
/// Maximum number of rows of a candle page.
const MAX_ROWS: usize = 1_000;

/// An error of Binance: HTTP status, code, message.
/// <https://developers.binance.com/docs/binance-spot-api-docs/errors>
type ApiError = (u16, i32, String);

/// Handles a GET request.
pub(super) fn handle(
    shared: &Shared,
    path: &str,
    query: &Query,
    RequestContext { client, received_at, data_until }: RequestContext,
) -> RestResponse {
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    let counters = &shared.counters[ExchangeId::BINANCE];
    let admission =
        shared.limits.admit_weight(client, ExchangeId::BINANCE, (weight(path, query), WEIGHT_PER_MINUTE), received_at);
    let (mut response, used) = match admission {
        Admission::Allowed { used } => {
            let view = if path == "exchangeInfo" {
                ListingView::now(shared, ExchangeId::BINANCE, received_at)
            } else {
                ListingView::default()
            };
            (respond(&shared.market, view, path, query, data_until), Some(used))
        }
        Admission::OverLimit { used, .. } => {
            increment(&counters.limit_violations);
            let message = format!(
                "Too much request weight used; current limit is {WEIGHT_PER_MINUTE} request weight per 1 MINUTE. Please use \
                 WebSocket Streams for live updates to avoid polling the API."
            );
            (error_response((429, -1003, message)), Some(used))
        }
        Admission::Banned { until, is_new, .. } => {
            increment(&counters.limit_violations);
            if is_new {
                increment(&counters.bans);
            }
            let message = format!(
                "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams for live updates \
                 to avoid bans."
            );
            (error_response((418, -1003, message)), None)
        }
    };
    if let Some(used) = used {
        response.headers.push(("x-mbx-used-weight", used.to_string()));
        response.headers.push(("x-mbx-used-weight-1m", used.to_string()));
    }
    if let Admission::OverLimit { retry_after, .. } | Admission::Banned { retry_after, .. } = admission {
        response.headers.push(("retry-after", retry_after.to_string()));
    }
    response
}

/// The documented weight of a request.
fn weight(path: &str, query: &Query) -> u32 {
    let has_symbol = query.get("symbol").is_some();
    let symbols = query.get("symbols").map(|list| list.split(',').count());
    match (path, symbols) {
        ("exchangeInfo", _) => 20,
        ("ticker/24hr", Some(21..=100)) => 40,
        ("ticker/24hr", Some(101..)) => 80,
        ("ticker/24hr", None) if !has_symbol => 80,
        ("ticker/bookTicker" | "ticker/price", _) if !has_symbol => 4,
        ("klines" | "ticker/24hr" | "ticker/bookTicker" | "ticker/price", _) => 2,
        _ => 1,
    }
}

fn respond(market: &Market, view: ListingView, path: &str, query: &Query, now: i64) -> RestResponse {
    let body = match path {
        "ping" => Ok("{}".to_owned()),
        "time" => Ok(format!("{{\"serverTime\":{now}}}")),
        "exchangeInfo" => exchange_info(market, view, query, now),
        "klines" => klines(market, query, now),
        "ticker/24hr" => map_listings(market, query, |listing| ticker_24h(market, listing, now)),
        "ticker/bookTicker" => map_listings(market, query, |listing| book_ticker(market, listing, now)),
        "ticker/price" => map_listings(market, query, |listing| {
            let last = market.last_trade(listing, now)?;
            Some(format!("{{\"symbol\":\"{}\",\"price\":\"{}\"}}", listing.native, price(listing, last.price)))
        }),
        _ => Err((404, -1000, "This path is not simulated.".to_owned())),
    };
    body.map_or_else(error_response, |body| RestResponse::new(200, body))
}

fn error_response((status, code, message): ApiError) -> RestResponse {
    RestResponse::new(status, serde_json::json!({ "code": code, "msg": message }).to_string())
}

fn find_listing<'a>(market: &'a Market, native: &str) -> Result<&'a Listing, ApiError> {
    market.find_by_name(ExchangeId::BINANCE, native).ok_or_else(|| (400, -1121, "Invalid symbol.".to_owned()))
}

fn missing_parameter(parameter: &str) -> ApiError {
    (400, -1102, format!("Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed."))
}

/// The listings selected by `symbol` or `symbols`, or all; and whether the response is a list.
fn requested_listings<'a>(market: &'a Market, query: &Query) -> Result<(Vec<&'a Listing>, bool), ApiError> {
    match (query.get("symbol"), query.get("symbols")) {
        (Some(_), Some(_)) => Err((400, -1128, "Combination of optional parameters invalid.".to_owned())),
        (Some(symbol), None) => Ok((vec![find_listing(market, symbol)?], false)),
        (None, Some(symbols)) => {
            let names: Vec<String> = serde_json::from_str(symbols)
                .map_err(|_| (400, -1100, "Illegal characters found in parameter 'symbols'.".to_owned()))?;
            Ok((names.iter().map(|name| find_listing(market, name)).collect::<Result<_, _>>()?, true))
        }
        (None, None) => Ok((market.listings(ExchangeId::BINANCE).collect(), true)),
    }
}

fn map_listings(
    market: &Market,
    query: &Query,
    write: impl Fn(&Listing) -> Option<String>,
) -> Result<String, ApiError> {
    let (listings, is_list) = requested_listings(market, query)?;
    let objects: Vec<String> = listings.into_iter().filter_map(write).collect();
    Ok(if is_list { format!("[{}]", objects.join(",")) } else { objects.concat() })
}

fn ticker_24h(market: &Market, listing: &Listing, now: i64) -> Option<String> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    let (change, percent, vwap) = day_change(listing, &day);
    let [open, high, low, close] = ohlc(listing, &day.bar);
    let [bid, bid_size, ask, ask_size] = quote_fields(listing, &book);
    Some(format!(
        "{{\"symbol\":\"{}\",\"priceChange\":\"{change}\",\"priceChangePercent\":\"{percent}\",\"weightedAvgPrice\":\"{vwap}\",\
         \"prevClosePrice\":\"{}\",\"lastPrice\":\"{close}\",\"lastQty\":\"{}\",\"bidPrice\":\"{bid}\",\"bidQty\":\"{bid_size}\",\
         \"askPrice\":\"{ask}\",\"askQty\":\"{ask_size}\",\"openPrice\":\"{open}\",\"highPrice\":\"{high}\",\"lowPrice\":\"{low}\",\
         \"volume\":\"{}\",\"quoteVolume\":\"{}\",\"openTime\":{},\"closeTime\":{now},\"firstId\":{},\"lastId\":{},\"count\":{}}}",
        listing.native,
        price(listing, day.previous_price),
        amount(listing, day.last_amount),
        amount(listing, day.bar.volume),
        turnover(listing, day.bar.turnover),
        day.start,
        day.bar.first_id,
        day.bar.last_id,
        day.bar.trades,
    ))
}

fn book_ticker(market: &Market, listing: &Listing, now: i64) -> Option<String> {
    let [bid, bid_size, ask, ask_size] = quote_fields(listing, &market.top_of_book(listing, now)?);
    Some(format!(
        "{{\"symbol\":\"{}\",\"bidPrice\":\"{bid}\",\"bidQty\":\"{bid_size}\",\"askPrice\":\"{ask}\",\"askQty\":\"{ask_size}\"}}",
        listing.native
    ))
}

fn exchange_info(market: &Market, view: ListingView, query: &Query, now: i64) -> Result<String, ApiError> {
    let symbols = match requested_listings(market, query)? {
        (_, true) if query.get("symbols").is_none() => {
            view.rows(market, ExchangeId::BINANCE, symbol_info, "status", &INVALID_ROWS).join(",")
        }
        (listings, _) => {
            listings.into_iter().map(|listing| symbol_info(listing, listing.halted)).collect::<Vec<_>>().join(",")
        }
    };
    Ok(format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{now},\"rateLimits\":[{{\"rateLimitType\":\"REQUEST_WEIGHT\",\
         \"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":{WEIGHT_PER_MINUTE}}}],\"exchangeFilters\":[],\"symbols\":[{symbols}]}}"
    ))
}

fn symbol_info(listing: &Listing, halted: bool) -> String {
    serde_json::json!({
        "symbol": listing.native, "status": if halted { "BREAK" } else { "TRADING" },
        "baseAsset": listing.base, "baseAssetPrecision": 8,
        "quoteAsset": listing.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": true, "ocoAllowed": true, "isSpotTradingAllowed": true, "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": price(listing, 1), "maxPrice": "1000000.00000000", "tickSize": price(listing, 1)},
            {"filterType": "LOT_SIZE", "minQty": amount(listing, 1), "maxQty": "9000.00000000", "stepSize": amount(listing, 1)},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": true,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5},
        ],
        "permissions": [], "permissionSets": [["SPOT"]],
    })
    .to_string()
}

/// Invalid rows of a listing: an unknown filter and an empty step, no filters, a step of 31 digits, no status, no base
/// asset, not an object.
const INVALID_ROWS: [&str; 6] = [
    r#"{"symbol":"ODDAUSDT","status":"TRADING","baseAsset":"ODDA","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","tickSize":""},{"filterType":"NEW_FILTER","stepSize":{"a":1}},{"tickSize":null},7]}"#,
    r#"{"symbol":"ODDBUSDT","status":"TRADING","baseAsset":"ODDB","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":null}"#,
    r#"{"symbol":"ODDCUSDT","status":"TRADING","baseAsset":"ODDC","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","tickSize":"0.1234567890123456789012345678901"}]}"#,
    r#"{"symbol":"ODDDUSDT","status":null,"baseAsset":"ODDD","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[]}"#,
    r#"{"symbol":"ODDEUSDT","status":"TRADING","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[]}"#,
    "7",
];

/// A candle page: with `startTime` the first candles from there on, otherwise the last ones until `endTime`.
fn klines(market: &Market, query: &Query, now: i64) -> Result<String, ApiError> {
    let listing = find_listing(market, query.get("symbol").ok_or_else(|| missing_parameter("symbol"))?)?;
    let interval: Interval = query
        .get("interval")
        .ok_or_else(|| missing_parameter("interval"))?
        .parse()
        .map_err(|_| (400, -1120, "Invalid interval.".to_owned()))?;
    let number = |name: &str| match query.get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => Err((
            400,
            -1100,
            format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."),
        )),
    };
    let limit = match number("limit")?.map(usize::try_from) {
        None => DEFAULT_ROWS,
        Some(Ok(limit @ 1..)) => limit.min(MAX_ROWS),
        Some(_) => return Err((400, -1130, "Data sent for parameter 'limit' is not valid.".to_owned())),
    };
    let (start, end) = (number("startTime")?, number("endTime")?.unwrap_or(now).min(now));
    // A page contains the candles that open in `[startTime, endTime]`.
    let end = Timestamp::from_millis(end.saturating_add(1));
    let first_open = interval.floor(Timestamp::from_millis(FIRST_MINUTE * MINUTE));
    let start = start.map_or_else(
        || interval.back(interval.ceil(end), u32::try_from(limit).unwrap_or(u32::MAX)),
        Timestamp::from_millis,
    );
    let open_times = interval.open_times(TimeRange::new(start.max(first_open), end)).take(limit);
    let mut body = String::from("[");
    for open in open_times {
        let span = interval.span(open);
        let Some(bar) = market.bar_or_flat(listing, span, now) else { continue };
        let [o, h, l, c] = ohlc(listing, &bar);
        // Writing to a string cannot fail.
        let _ = write!(
            body,
            "{}[{},\"{o}\",\"{h}\",\"{l}\",\"{c}\",\"{}\",{},\"{}\",{},\"{}\",\"{}\",\"0\"]",
            if body.len() > 1 { "," } else { "" },
            open.millis(),
            amount(listing, bar.volume),
            span.end().millis() - 1,
            turnover(listing, bar.turnover),
            bar.trades,
            amount(listing, bar.taker_buy_volume),
            turnover(listing, bar.taker_buy_turnover),
        );
    }
    body.push(']');
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// 2025-11-20T21:00:30.123Z
    const NOW: i64 = 1_763_672_430_123;
    const OPEN: i64 = 1_763_672_400_000;

    fn request(path: &str, query: &[(&str, &str)]) -> (u16, Value) {
        let response = respond(&Market::new(1), ListingView::default(), path, &Query::from_pairs(query), NOW);
        (response.status, serde_json::from_str(&response.body).unwrap())
    }

    fn open_times(query: &[(&str, &str)]) -> Vec<i64> {
        let query: Vec<_> = [("symbol", "BTCEUR"), ("interval", "1m")].iter().chain(query).copied().collect();
        let (status, rows) = request("klines", &query);
        assert_eq!(status, 200, "{rows}");
        rows.as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect()
    }

    #[test]
    fn candle_pages_follow_documented_rules() {
        let newest = open_times(&[]);
        assert_eq!((newest.len(), *newest.last().unwrap()), (500, OPEN), "the open candle is last");
        assert_eq!(open_times(&[("limit", "5000")]).len(), 1_000);
        let (from, to) = ((OPEN - 600_000).to_string(), (OPEN - 300_000).to_string());
        let page = open_times(&[("startTime", &from), ("endTime", &to)]);
        assert_eq!((page[0], page.len()), (OPEN - 600_000, 6), "both ends are inclusive");
        assert_eq!(open_times(&[("startTime", &from), ("limit", "2")]), [OPEN - 600_000, OPEN - 540_000]);
        assert_eq!(open_times(&[("endTime", &to), ("limit", "2")]), [OPEN - 360_000, OPEN - 300_000]);
        assert_eq!(open_times(&[("startTime", "0"), ("limit", "1")]), [1_502_928_000_000], "the first minute");
        assert!(open_times(&[("endTime", "1502900000000")]).is_empty());
        assert!(open_times(&[("startTime", "1999999999999")]).is_empty());
    }

    #[test]
    fn candle_row_has_documented_members() {
        let (_, rows) = request("klines", &[("symbol", "BTCUSDT"), ("interval", "1m"), ("limit", "2")]);
        let row = rows[0].as_array().unwrap();
        assert_eq!((row.len(), &row[6], &row[11]), (12, &Value::from(OPEN - 1), &Value::from("0")));
        for column in [1, 2, 3, 4, 5, 7, 9, 10] {
            let digits = row[column].as_str().unwrap().split_once('.').unwrap().1;
            assert_eq!(digits.len(), 8, "{row:?}");
        }
    }

    #[test]
    fn minute_without_trades_is_flat() {
        let (_, rows) = request("klines", &[("symbol", "ETHBTC"), ("interval", "1m"), ("limit", "1000")]);
        let rows = rows.as_array().unwrap();
        let flat = rows.iter().position(|row| row[8] == 0).unwrap();
        assert_eq!(rows[flat][5], "0.00000000");
        assert_eq!([&rows[flat][1], &rows[flat][4]], [&rows[flat - 1][4]; 2]);
    }

    #[test]
    fn returns_binance_error_codes() {
        for (query, code) in [
            (&[("symbol", "NOSUCH"), ("interval", "1m")][..], -1121),
            (&[("symbol", "BTCUSDT"), ("interval", "7m")], -1120),
            (&[("symbol", "BTCUSDT")], -1102),
            (&[("interval", "1m")], -1102),
            (&[("symbol", "BTCUSDT"), ("interval", "1m"), ("limit", "x")], -1100),
            (&[("symbol", "BTCUSDT"), ("interval", "1m"), ("limit", "0")], -1130),
            (&[("symbol", "BTCUSDT"), ("interval", "1m"), ("startTime", "-5")], -1100),
        ] {
            let (status, body) = request("klines", query);
            assert_eq!((status, body["code"].as_i64()), (400, Some(code)), "{body}");
        }
        assert_eq!(request("nothing", &[]).0, 404);
    }

    #[test]
    fn ticker_and_listing_have_documented_members() {
        let (_, ticker) = request("ticker/24hr", &[("symbol", "BTCUSDT")]);
        assert_eq!(ticker.as_object().unwrap().len(), 21);
        assert_eq!(ticker["openTime"], OPEN - 86_400_000);
        let (_, two) = request("ticker/bookTicker", &[("symbols", "[\"BTCUSDT\",\"ETHBTC\"]")]);
        assert_eq!(two.as_array().unwrap().len(), 2);
        let (_, info) = request("exchangeInfo", &[]);
        assert_eq!(info["symbols"].as_array().unwrap().len(), 40);
        assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.01000000");
    }

    #[test]
    fn weights_are_as_documented() {
        let weigh = |path, query: &[(&str, &str)]| weight(path, &Query::from_pairs(query));
        assert_eq!(weigh("klines", &[("symbol", "X")]), 2);
        assert_eq!(weigh("exchangeInfo", &[]), 20);
        assert_eq!((weigh("ticker/24hr", &[]), weigh("ticker/24hr", &[("symbol", "X")])), (80, 2));
        assert_eq!((weigh("ticker/bookTicker", &[]), weigh("ping", &[])), (4, 1));
    }
}
