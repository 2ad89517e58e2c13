//! Coinbase's REST API.
//! <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles>

use serde_json::{Value, json};

use crate::model::ExchangeId;
use crate::simulator::catalog::Listing;
use crate::simulator::listing_view::ListingView;
use crate::simulator::market::{DayStatistics, Market};
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::trades::{Bar, FIRST_MINUTE, MINUTE};

use super::format::{change_percent, format_decimal, format_time, trade_json};

pub(super) const REST_PREFIX: &str = "/api/v3/brokerage/";
/// Requests per IP address, and the window in milliseconds.
/// <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api#rate-limits>
const RATE_LIMIT: (usize, i64) = (10, 1_000);
/// "Number of candles requested should be less than 350". The documentation does not say how a partial candle counts;
/// the simulator counts it as one.
const TOO_MANY_ROWS: i64 = 350;
/// Maximum number of trades in a response.
const MAX_TRADES: usize = 1_000;
/// How far back trades are searched, in minutes.
const MAX_LOOKBACK: i64 = 600;

/// An error of Coinbase: HTTP status, name, message.
type ApiError = (u16, &'static str, String);

/// Handles a GET request.
pub(super) fn handle(
    shared: &Shared,
    path: &str,
    query: &Query,
    RequestContext { client, received_at, data_until }: RequestContext,
) -> RestResponse {
    if shared.admit(client, ExchangeId::COINBASE, "rest", RATE_LIMIT, received_at).is_err() {
        // Coinbase sends no `Retry-After`.
        return error_response(429, "RESOURCE_EXHAUSTED", "too many requests");
    }
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    if path == "market/products" && query.get("product_type").is_none_or(|kind| kind == "SPOT") {
        return products(&shared.market, ListingView::now(shared, ExchangeId::COINBASE, received_at), received_at);
    }
    match respond(&shared.market, path, query, data_until) {
        Ok(body) => RestResponse::new(200, body.to_string()),
        Err((status, error, message)) => error_response(status, error, &message),
    }
}

/// An error response in Coinbase's format.
pub(super) fn error_response(status: u16, error: &str, message: &str) -> RestResponse {
    RestResponse::new(status, json!({ "error": error, "error_details": message, "message": message }).to_string())
}

fn respond(market: &Market, path: &str, query: &Query, now: i64) -> Result<Value, ApiError> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["time"] => Ok(json!({
            "iso": format_time(now), "epochSeconds": (now / 1_000).to_string(), "epochMillis": now.to_string(),
        })),
        ["market", "products"] => {
            let is_spot = query.get("product_type").is_none_or(|kind| kind == "SPOT");
            let listings = market.listings(ExchangeId::COINBASE).filter(|_| is_spot);
            let products: Vec<_> =
                listings.filter_map(|listing| product(market, listing, listing.halted, now)).collect();
            Ok(json!({ "num_products": products.len(), "products": products }))
        }
        ["market", "products", id] => {
            let listing = find_listing(market, id)?;
            product(market, listing, listing.halted, now).ok_or_else(|| unknown_product(id))
        }
        ["market", "products", id, "ticker"] => last_trades(market, find_listing(market, id)?, query, now),
        ["market", "products", id, "candles"] => candles(market, find_listing(market, id)?, query, now),
        _ => Err((404, "NOT_FOUND", "no such path".to_owned())),
    }
}

fn unknown_product(id: &str) -> ApiError {
    (404, "NOT_FOUND", format!("valid product_id is required: {id}"))
}

fn find_listing<'a>(market: &'a Market, id: &str) -> Result<&'a Listing, ApiError> {
    market.find_by_name(ExchangeId::COINBASE, id).ok_or_else(|| unknown_product(id))
}

/// The listing of all spot markets.
fn products(market: &Market, view: ListingView, now: i64) -> RestResponse {
    let write = |listing: &Listing, halted: bool| {
        product(market, listing, halted, now).map(|product| product.to_string()).unwrap_or_default()
    };
    let rows = view.rows(market, ExchangeId::COINBASE, write, "status", &INVALID_ROWS);
    RestResponse::new(200, format!("{{\"num_products\":{},\"products\":[{}]}}", rows.len(), rows.join(",")))
}

/// Invalid rows of a listing; the last one is a futures contract.
const INVALID_ROWS: [&str; 5] = [
    r#"{"product_id":"ODDA-USD","base_currency_id":"ODDA","quote_currency_id":"USD","status":"online","product_type":"SPOT","price_increment":"0.1234567890123456789012345678901","base_increment":""}"#,
    r#"{"product_id":"ODDB-USD","base_currency_id":"ODD B","quote_currency_id":"USD","status":"online","product_type":"SPOT"}"#,
    r#"{"product_id":null,"base_currency_id":"ODDC","quote_currency_id":"USD","status":"online","product_type":"SPOT"}"#,
    "false",
    r#"{"product_id":"BIT-26APR24-CDE","base_currency_id":"","quote_currency_id":"USD","status":"","product_type":"FUTURE"}"#,
];

fn product(market: &Market, listing: &Listing, halted: bool, now: i64) -> Option<Value> {
    // Day statistics of thousands of markets are too expensive to compute, so generated markets have constant ones.
    let day = match listing.generated {
        Some(_) => {
            let price = listing.base_price;
            DayStatistics { start: 0, previous_price: price, bar: Bar::flat(price), last_amount: 1 }
        }
        None => market.day_statistics(listing, now)?,
    };
    let alias = listing.alias_of.and_then(|index| market.listing(index)).map_or("", |original| original.native);
    let [price, high, low] =
        [day.bar.close, day.bar.high, day.bar.low].map(|ticks| format_decimal(listing.price(ticks)));
    let step = format_decimal(listing.price(1));
    Some(json!({
        "product_id": listing.native, "price": price, "price_percentage_change_24h": change_percent(&day),
        "volume_24h": format_decimal(listing.amount(day.bar.volume)), "volume_percentage_change_24h": "0",
        "base_increment": format_decimal(listing.amount(1)), "quote_increment": step, "quote_min_size": "1",
        "quote_max_size": "10000000", "base_min_size": format_decimal(listing.amount(1)), "base_max_size": "100000",
        "base_name": listing.base, "quote_name": listing.quote, "watched": false,
        "is_disabled": false, "new": false, "status": "online", "cancel_only": false, "limit_only": false,
        "post_only": false, "trading_disabled": halted, "auction_mode": false, "product_type": "SPOT",
        "quote_currency_id": listing.quote, "base_currency_id": listing.base,
        "fcm_trading_session_details": null, "mid_market_price": "", "alias": alias, "alias_to": [],
        "base_display_symbol": listing.base, "quote_display_symbol": listing.quote,
        "view_only": false, "price_increment": step, "display_name": listing.native, "product_venue": "CBE",
        "approximate_quote_24h_volume": format_decimal(listing.turnover(day.bar.turnover).round_dp(2)),
        "new_at": "2023-01-01T00:00:00Z", "high_24h": high, "low_24h": low,
    }))
}

/// The last trades, newest first.
fn last_trades(market: &Market, listing: &Listing, query: &Query, now: i64) -> Result<Value, ApiError> {
    let invalid = || (400, "INVALID_ARGUMENT", "limit must be a number from 1 to 1000".to_owned());
    let limit: usize = query.get("limit").map_or(Ok(100), str::parse).map_err(|_| invalid())?;
    if !(1..=MAX_TRADES).contains(&limit) {
        return Err(invalid());
    }
    let (mut trades, mut minute) = (Vec::new(), now / MINUTE);
    while trades.len() < limit && now / MINUTE - minute < MAX_LOOKBACK {
        trades.extend(market.trades(listing, minute, now).iter().rev().map(|one| trade_json(listing, one)));
        minute -= 1;
    }
    trades.truncate(limit);
    let trades: Vec<Value> = trades.iter().filter_map(|one| serde_json::from_str(one).ok()).collect();
    let book = market.top_of_book(listing, now).ok_or_else(|| unknown_product(listing.native))?;
    let (bid, ask) = (format_decimal(listing.price(book.bid)), format_decimal(listing.price(book.ask)));
    Ok(json!({ "trades": trades, "best_bid": bid, "best_ask": ask }))
}

/// Length of an interval in minutes.
fn minutes(granularity: &str) -> Option<i64> {
    Some(match granularity {
        "ONE_MINUTE" => 1,
        "FIVE_MINUTE" => 5,
        "FIFTEEN_MINUTE" => 15,
        "THIRTY_MINUTE" => 30,
        "ONE_HOUR" => 60,
        "TWO_HOUR" => 120,
        "FOUR_HOUR" => 240,
        "SIX_HOUR" => 360,
        "ONE_DAY" => 1_440,
        _ => return None,
    })
}

/// Candles that open from `start` to `end`, both inclusive, newest first. Intervals without a trade have no candle.
fn candles(market: &Market, listing: &Listing, query: &Query, now: i64) -> Result<Value, ApiError> {
    let invalid = |message: &str| (400, "INVALID_ARGUMENT", message.to_owned());
    let number = |name: &str| {
        let value = query.get(name).and_then(|text| text.parse::<i64>().ok()).filter(|value| *value >= 0);
        value.ok_or_else(|| invalid(&format!("{name} is required")))
    };
    let length = query.get("granularity").and_then(minutes).ok_or_else(|| invalid("granularity is invalid"))?;
    let (start, end) = (number("start")?, number("end")?);
    if (end - start + length * 60 - 1).div_euclid(length * 60) >= TOO_MANY_ROWS {
        return Err(invalid("start and end argument is invalid - number of candles requested should be less than 350"));
    }
    let first = (start + length * 60 - 1).div_euclid(length * 60) * length;
    let last = (end / 60).min(now / MINUTE).div_euclid(length) * length;
    let mut rows = Vec::new();
    let mut open_minute = last;
    while open_minute >= first && open_minute + length > FIRST_MINUTE {
        if let Some(bar) = market.bar(listing, open_minute, open_minute + length, now) {
            let [low, high, open, close] =
                [bar.low, bar.high, bar.open, bar.close].map(|ticks| format_decimal(listing.price(ticks)));
            rows.push(json!({
                "start": (open_minute * 60).to_string(), "low": low, "high": high, "open": open, "close": close,
                "volume": format_decimal(listing.amount(bar.volume)),
            }));
        }
        open_minute -= length;
    }
    Ok(json!({ "candles": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-11-20T21:00:30.123Z
    const NOW: i64 = 1_763_672_430_123;

    fn request(path: &str, query: &[(&str, &str)]) -> Result<Value, ApiError> {
        respond(&Market::new(1), path, &Query::from_pairs(query), NOW)
    }

    fn open_times(body: &Value) -> Vec<i64> {
        let rows = body["candles"].as_array().unwrap();
        rows.iter().map(|row| row["start"].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn candles_are_newest_first_with_inclusive_ends() {
        let current = NOW / 60_000 * 60;
        let (start, end) = ((current - 120).to_string(), current.to_string());
        let query = [("start", start.as_str()), ("end", end.as_str()), ("granularity", "ONE_MINUTE")];
        let body = request("market/products/BTC-USD/candles", &query).unwrap();
        assert_eq!(open_times(&body), [current, current - 60, current - 120]);
        for (name, value) in [("granularity", "1m"), ("start", "x"), ("end", "")] {
            let query = query.map(|pair| if pair.0 == name { (name, value) } else { pair });
            assert_eq!(request("market/products/BTC-USD/candles", &query).unwrap_err().0, 400, "{name}");
        }
        let since = |start: i64| {
            let start = start.to_string();
            let query = [("start", start.as_str()), ("end", end.as_str()), ("granularity", "ONE_MINUTE")];
            request("market/products/BTC-USD/candles", &query)
        };
        assert!(since(current - 349 * 60).is_ok());
        assert!(since(current - 349 * 60 - 1).unwrap_err().2.contains("less than 350"));
    }

    #[test]
    fn listing_and_ticker_have_documented_members() {
        let listing = request("market/products", &[("product_type", "SPOT")]).unwrap();
        assert_eq!(listing["products"].as_array().unwrap().len(), 40);
        let product = request("market/products/BTC-USD", &[]).unwrap();
        assert_eq!(listing["products"][0], product);
        let ticker = request("market/products/BTC-USD/ticker", &[("limit", "1")]).unwrap();
        assert_eq!(ticker["trades"].as_array().unwrap().len(), 1);
        assert_eq!(ticker["trades"][0]["price"], product["price"]);
        assert_eq!(request("market/products/NO-USD", &[]).unwrap_err().0, 404);
    }
}
