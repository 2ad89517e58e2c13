//! Kraken's REST API. Errors have HTTP status 200.
//! <https://docs.kraken.com/api-reference/market-data/get-ohlc-data>

use serde_json::{Map, Value, json};
use std::collections::HashMap;

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::listing_view::ListingView;
use crate::simulator::market::{DayStatistics, Market};
use crate::simulator::rest::{Query, RequestContext, RestResponse};
use crate::simulator::shared::Shared;
use crate::simulator::stats::increment;
use crate::simulator::trades::{Bar, FIRST_MINUTE, MINUTE};

use super::format::{INTERVALS, altname, asset_name, bar, stream_name, wsname};

pub(super) const REST_PREFIX: &str = "/0/public/";
/// About one call per second is allowed, and short bursts. The maximum length of a burst is not documented.
/// <https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits->
const BURST: i64 = 15;
/// "Returns up to 720 of the most recent entries."
const MAX_ROWS: usize = 720;
/// How far back rows are searched, in intervals. Almost every market has 720 rows in this range.
const MAX_LOOKBACK: i64 = 3_600;
const MINUTES_PER_DAY: i64 = 1_440;

/// Handles a GET request.
pub(super) fn handle(
    shared: &Shared,
    path: &str,
    query: &Query,
    RequestContext { client, received_at, data_until }: RequestContext,
) -> RestResponse {
    let method = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    // "Rate limited by IP address and currency pair for calls to Trades and OHLC, and by IP address only" for all
    // other calls.
    let scope = if method == "OHLC" { query.get("pair").unwrap_or("") } else { "" };
    let view = if method == "AssetPairs" {
        ListingView::now(shared, ExchangeId::KRAKEN, received_at)
    } else {
        ListingView::default()
    };
    let result = if shared.limits.admit_from_bucket(client, ExchangeId::KRAKEN, scope, BURST, received_at) {
        respond(&shared.market, view, method, query, data_until)
    } else {
        increment(&shared.counters[ExchangeId::KRAKEN].limit_violations);
        Err("EGeneral:Too many requests")
    };
    let body = match result {
        Ok(result) => json!({ "error": [], "result": result }),
        Err(error) => json!({ "error": [error] }),
    };
    RestResponse::new(200, body.to_string())
}

fn respond(market: &Market, view: ListingView, method: &str, query: &Query, now: i64) -> Result<Value, &'static str> {
    match method {
        "Time" => {
            let rfc1123 = Timestamp::from_millis(now).utc().format("%a, %d %b %y %H:%M:%S +0000").to_string();
            Ok(json!({ "unixtime": now / 1_000, "rfc1123": rfc1123 }))
        }
        "SystemStatus" => {
            let whole = Timestamp::from_millis(now / 1_000 * 1_000).utc();
            Ok(json!({ "status": "online", "timestamp": whole.format("%Y-%m-%dT%H:%M:%SZ").to_string() }))
        }
        "AssetPairs" if query.get("pair").is_none() => asset_pairs(market, view),
        "AssetPairs" => map_listings(market, query, |listing| Some(asset_pair(listing, listing.halted))),
        "Ticker" => map_listings(market, query, |listing| ticker_24h(market, listing, now)),
        "OHLC" => candles(market, query, now),
        _ => Err("EGeneral:Unknown method"),
    }
}

/// A market by any of its names, and its key in the response.
fn find_listing<'a>(market: &'a Market, name: &str) -> Result<(&'a Listing, String), &'static str> {
    let listing = market.find_by_name(ExchangeId::KRAKEN, name).ok_or("EQuery:Unknown asset pair")?;
    // The response uses the new symbol only if the request does.
    let key = if stream_name(listing) == name { name } else { listing.native };
    Ok((listing, key.to_owned()))
}

fn map_listings(
    market: &Market,
    query: &Query,
    write: impl Fn(&Listing) -> Option<Value>,
) -> Result<Value, &'static str> {
    let listings: Vec<(&Listing, String)> = match query.get("pair") {
        Some(names) => names.split(',').take(100).map(|name| find_listing(market, name)).collect::<Result<_, _>>()?,
        None => market.listings(ExchangeId::KRAKEN).map(|listing| (listing, listing.native.to_owned())).collect(),
    };
    let members = listings.into_iter().filter_map(|(listing, key)| Some((key, write(listing)?)));
    Ok(Value::Object(members.collect::<Map<_, _>>()))
}

/// The listing of all markets.
fn asset_pairs(market: &Market, view: ListingView) -> Result<Value, &'static str> {
    let write = |listing: &Listing, halted: bool| asset_pair(listing, halted).to_string();
    let rows = view.rows(market, ExchangeId::KRAKEN, write, "status", &INVALID_ROWS);
    let rows = rows.iter().map(|row| serde_json::from_str(row).map_err(|_| "EGeneral:Internal error"));
    let rows = rows.collect::<Result<Vec<Value>, _>>()?;
    let names: HashMap<String, &str> =
        market.listings(ExchangeId::KRAKEN).map(|listing| (altname(listing), listing.native)).collect();
    let key = |row: &Value| {
        let altname = row["altname"].as_str().unwrap_or("ODD");
        names.get(altname).copied().unwrap_or(altname).to_owned()
    };
    Ok(Value::Object(rows.into_iter().map(|row| (key(&row), row)).collect()))
}

/// Invalid rows of a listing.
const INVALID_ROWS: [&str; 4] = [
    r#"{"altname":"ODDAUSD","wsname":"ODDA/USD","pair_decimals":2,"lot_decimals":8,"tick_size":"0.1234567890123456789012345678901","status":"online"}"#,
    r#"{"altname":"ODDBUSD","wsname":"ODDB","pair_decimals":2,"lot_decimals":8,"status":"online"}"#,
    r#"{"altname":"ODDCUSD","wsname":"ODDC/USD","pair_decimals":"two","status":7}"#,
    "7",
];

fn asset_pair(listing: &Listing, halted: bool) -> Value {
    json!({
        "altname": altname(listing), "wsname": wsname(listing),
        "aclass_base": "currency", "base": asset_name(listing.base),
        "aclass_quote": "currency", "quote": asset_name(listing.quote),
        "lot": "unit", "cost_decimals": 5, "pair_decimals": listing.price_scale, "lot_decimals": listing.amount_scale,
        "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
        "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": listing.amount(listing.typical_amount).to_string(), "costmin": "0.5",
        "tick_size": listing.price(1).to_string(), "status": if halted { "maintenance" } else { "online" },
    })
}

/// A ticker. Pairs of values are those of the current UTC day and of the last 24 hours.
fn ticker_24h(market: &Market, listing: &Listing, now: i64) -> Option<Value> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    let (first, today) = bar(market, listing, MINUTES_PER_DAY, now, now);
    let today = today.or_else(|| market.last_trade(listing, first * MINUTE).map(|last| Bar::flat(last.price)))?;
    let side = |price: i64, size: i64| {
        let size = listing.amount(size);
        json!([listing.price(price).to_string(), size.trunc().to_string(), size.round_dp(3).to_string()])
    };
    let both = |value: &dyn Fn(&Bar) -> Value| json!([value(&today), value(&day.bar)]);
    Some(json!({
        "a": side(book.ask, book.ask_size), "b": side(book.bid, book.bid_size),
        "c": last_trade_fields(listing, &day),
        "v": both(&|bar| json!(listing.amount(bar.volume).to_string())),
        "p": both(&|bar| json!(Market::vwap(listing, bar, 5).to_string())),
        "t": both(&|bar| json!(bar.trades)),
        "l": both(&|bar| json!(listing.price(bar.low).to_string())),
        "h": both(&|bar| json!(listing.price(bar.high).to_string())),
        "o": listing.price(today.open).to_string(),
    }))
}

fn last_trade_fields(listing: &Listing, day: &DayStatistics) -> Value {
    json!([listing.price(day.bar.close).to_string(), listing.amount(day.last_amount).to_string()])
}

/// Rows `[time, open, high, low, close, vwap, volume, count]`, ascending, without intervals without trades. The open
/// candle is always included. `last` is the time of the row before it, to be used as the next `since`.
fn candles(market: &Market, query: &Query, now: i64) -> Result<Value, &'static str> {
    let (listing, key) = find_listing(market, query.get("pair").ok_or("EGeneral:Invalid arguments")?)?;
    let interval = query.get("interval").map_or(Ok(1), str::parse).ok();
    let interval = interval.filter(|interval| INTERVALS.contains(interval));
    let interval = interval.ok_or("EGeneral:Invalid arguments:interval")?;
    let since: i64 = query.get("since").map_or(Ok(0), str::parse).map_err(|_| "EGeneral:Invalid arguments:since")?;

    let (current, open_bar) = bar(market, listing, interval, now, now);
    let open_bar = open_bar.or_else(|| market.last_trade(listing, now).map(|last| Bar::flat(last.price)));
    let mut rows: Vec<(i64, Bar)> = open_bar.map(|bar| (current, bar)).into_iter().collect();
    for back in 1..MAX_LOOKBACK {
        let first = current - back * interval;
        if rows.len() == MAX_ROWS || first + interval <= FIRST_MINUTE || first * 60 <= since {
            break;
        }
        rows.extend(bar(market, listing, interval, first * MINUTE, now).1.map(|bar| (first, bar)));
    }
    rows.reverse();
    let committed = rows.iter().rev().nth(1).or(rows.last()).map_or(0, |(first, _)| first * 60);
    let rows = rows.iter().map(|(first, bar)| {
        let price = |ticks| listing.price(ticks).to_string();
        let vwap = if bar.trades == 0 {
            "0.0".to_owned()
        } else {
            Market::vwap(listing, bar, listing.price_scale).to_string()
        };
        json!([
            first * 60,
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            vwap,
            listing.amount(bar.volume).to_string(),
            bar.trades
        ])
    });
    Ok(json!({ key: rows.collect::<Vec<_>>(), "last": committed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-11-20T21:00:30.123Z
    const NOW: i64 = 1_763_672_430_123;

    fn request(method: &str, query: &[(&str, &str)]) -> Result<Value, &'static str> {
        respond(&Market::new(1), ListingView::default(), method, &Query::from_pairs(query), NOW)
    }

    fn rows(result: &Value, key: &str) -> Vec<Vec<Value>> {
        result[key].as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    #[test]
    fn candles_have_720_rows_and_end_with_open_candle() {
        let result = request("OHLC", &[("pair", "SOLUSDT")]).unwrap();
        let all = rows(&result, "SOLUSDT");
        assert_eq!((all.len(), all[0].len()), (720, 8));
        let times: Vec<i64> = all.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!(*times.last().unwrap(), NOW / 60_000 * 60);
        assert_eq!(result["last"], times[718]);
        assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 60), "minutes without trades are missing");
        assert!(all[..719].iter().all(|row| row[7].as_i64().unwrap() > 0));

        let since = times[700].to_string();
        let newer = rows(&request("OHLC", &[("pair", "SOLUSDT"), ("since", &since)]).unwrap(), "SOLUSDT");
        assert_eq!(newer, all[701..], "`since` is exclusive");
        let none = rows(&request("OHLC", &[("pair", "SOLUSDT"), ("since", "9999999999")]).unwrap(), "SOLUSDT");
        assert_eq!(none, all[719..], "the open candle is always included");
        let days = rows(&request("OHLC", &[("pair", "XBTUSD"), ("interval", "1440")]).unwrap(), "XXBTZUSD");
        assert_eq!(days.len(), 720);
        assert!(days.iter().all(|row| row[0].as_i64().unwrap() % 86_400 == 0));
    }

    #[test]
    fn pair_is_found_by_all_names() {
        for (name, key) in [
            ("XXBTZUSD", "XXBTZUSD"),
            ("XBTUSD", "XXBTZUSD"),
            ("XBT/USD", "XXBTZUSD"),
            ("BTC/USD", "BTC/USD"),
            ("XDGUSD", "XDGUSD"),
        ] {
            let result = request("Ticker", &[("pair", name)]).unwrap();
            assert_eq!(result.as_object().unwrap().keys().collect::<Vec<_>>(), [key]);
        }
        let asset_pairs = request("AssetPairs", &[]).unwrap();
        assert_eq!(asset_pairs.as_object().unwrap().len(), 40);
        let pair = &asset_pairs["XXBTZUSD"];
        assert_eq!((&pair["wsname"], &pair["base"]), (&json!("XBT/USD"), &json!("XXBT")));
        assert_eq!(asset_pairs["XXBTZUSD"]["tick_size"], "0.1");
    }

    #[test]
    fn ticker_has_documented_members() {
        let result = request("Ticker", &[("pair", "XBTUSD,ETHUSDT")]).unwrap();
        let ticker = result["XXBTZUSD"].as_object().unwrap();
        assert_eq!(ticker.keys().map(String::as_str).collect::<String>(), "abchloptv");
        assert!(ticker["t"][0].as_i64() < ticker["t"][1].as_i64(), "today and the last 24 hours");
        assert!(ticker["o"].is_string());
    }

    #[test]
    fn returns_kraken_errors() {
        assert_eq!(request("OHLC", &[("pair", "NOSUCH")]).unwrap_err(), "EQuery:Unknown asset pair");
        assert_eq!(
            request("OHLC", &[("pair", "XBTUSD"), ("interval", "3")]).unwrap_err(),
            "EGeneral:Invalid arguments:interval"
        );
        assert_eq!(request("OHLC", &[]).unwrap_err(), "EGeneral:Invalid arguments");
        assert_eq!(request("Nothing", &[]).unwrap_err(), "EGeneral:Unknown method");
    }
}
