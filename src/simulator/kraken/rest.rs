//! Kraken's REST interface. Errors come with HTTP 200.
//! <https://docs.kraken.com/api-reference/market-data/get-ohlc-data>

use serde_json::{Map, Value, json};
use std::collections::HashMap;

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::door::{Arrival, Query, Reply};
use crate::simulator::listed::View;
use crate::simulator::market::{Day, Market};
use crate::simulator::stats::count;
use crate::simulator::tape::{Bar, LISTED_MINUTE, MINUTE};

use super::{INTERVALS, altname, bar, code, stream_name, wsname};

pub const REST_PREFIX: &str = "/0/public/";
/// "Returns up to 720 of the most recent entries."
const MAX_ROWS: usize = 720;
/// How far back rows are looked for, in rows: a market is rarely quieter.
const MAX_LOOK: i64 = 3_600;
const MINUTES_A_DAY: i64 = 1_440;

/// Answers a GET.
pub fn answer(shared: &Shared, path: &str, query: &Query, Arrival { from, at, shown }: Arrival) -> Reply {
    let method = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    // "Rate limited by IP address and currency pair for calls to Trades and OHLC, and by IP address only" for the rest.
    let scope = if method == "OHLC" { query.get("pair").unwrap_or("") } else { "" };
    let view = if method == "AssetPairs" { View::now(shared, ExchangeId::Kraken, at) } else { View::default() };
    let result = if shared.limits.kraken(from, scope, at) {
        respond(&shared.market, view, method, query, shown)
    } else {
        count(&shared.counters[ExchangeId::Kraken as usize].limit_violations);
        Err("EGeneral:Too many requests")
    };
    let body = match result {
        Ok(result) => json!({ "error": [], "result": result }),
        Err(error) => json!({ "error": [error] }),
    };
    Reply::new(200, body.to_string())
}

fn respond(market: &Market, view: View, method: &str, query: &Query, now: i64) -> Result<Value, &'static str> {
    match method {
        "Time" => {
            let rfc1123 = Timestamp::from_millis(now).utc().format("%a, %d %b %y %H:%M:%S +0000").to_string();
            Ok(json!({ "unixtime": now / 1_000, "rfc1123": rfc1123 }))
        }
        "SystemStatus" => {
            let whole = Timestamp::from_millis(now / 1_000 * 1_000).utc();
            Ok(json!({ "status": "online", "timestamp": whole.format("%Y-%m-%dT%H:%M:%SZ").to_string() }))
        }
        "AssetPairs" if query.get("pair").is_none() => pairs(market, view),
        "AssetPairs" => each(market, query, |listing| Some(pair(listing, listing.halted))),
        "Ticker" => each(market, query, |listing| day(market, listing, now)),
        "OHLC" => candles(market, query, now),
        _ => Err("EGeneral:Unknown method"),
    }
}

/// A market by any of its names, and the key under which it is answered.
fn listed<'a>(market: &'a Market, name: &str) -> Result<(&'a Listing, String), &'static str> {
    let listing = market.named(ExchangeId::Kraken, name).ok_or("EQuery:Unknown asset pair")?;
    // Who asks by the new name is answered by it.
    let key = if stream_name(listing) == name { name } else { listing.native };
    Ok((listing, key.to_owned()))
}

fn each(market: &Market, query: &Query, write: impl Fn(&Listing) -> Option<Value>) -> Result<Value, &'static str> {
    let chosen: Vec<(&Listing, String)> = match query.get("pair") {
        Some(names) => names.split(',').take(100).map(|name| listed(market, name)).collect::<Result<_, _>>()?,
        None => market.listings(ExchangeId::Kraken).map(|listing| (listing, listing.native.to_owned())).collect(),
    };
    let members = chosen.into_iter().filter_map(|(listing, key)| Some((key, write(listing)?)));
    Ok(Value::Object(members.collect::<Map<_, _>>()))
}

/// The whole listing.
fn pairs(market: &Market, view: View) -> Result<Value, &'static str> {
    let write = |listing: &Listing, halted: bool| pair(listing, halted).to_string();
    let rows = view.rows(market, ExchangeId::Kraken, write, "status", &ODD_PAIRS);
    let rows = rows.iter().map(|row| serde_json::from_str(row).map_err(|_| "EGeneral:Internal error"));
    let rows = rows.collect::<Result<Vec<Value>, _>>()?;
    let names: HashMap<String, &str> =
        market.listings(ExchangeId::Kraken).map(|listing| (altname(listing), listing.native)).collect();
    let key = |row: &Value| {
        let altname = row["altname"].as_str().unwrap_or("ODD");
        names.get(altname).copied().unwrap_or(altname).to_owned()
    };
    Ok(Value::Object(rows.into_iter().map(|row| (key(&row), row)).collect()))
}

/// Rows that a listing should not have.
const ODD_PAIRS: [&str; 4] = [
    r#"{"altname":"ODDAUSD","wsname":"ODDA/USD","pair_decimals":2,"lot_decimals":8,"tick_size":"0.1234567890123456789012345678901","status":"online"}"#,
    r#"{"altname":"ODDBUSD","wsname":"ODDB","pair_decimals":2,"lot_decimals":8,"status":"online"}"#,
    r#"{"altname":"ODDCUSD","wsname":"ODDC/USD","pair_decimals":"two","status":7}"#,
    "7",
];

fn pair(listing: &Listing, halted: bool) -> Value {
    json!({
        "altname": altname(listing), "wsname": wsname(listing),
        "aclass_base": "currency", "base": code(listing.base),
        "aclass_quote": "currency", "quote": code(listing.quote),
        "lot": "unit", "cost_decimals": 5, "pair_decimals": listing.price_scale, "lot_decimals": listing.amount_scale,
        "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
        "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": listing.amount(listing.lot).to_string(), "costmin": "0.5",
        "tick_size": listing.price(1).to_string(), "status": if halted { "maintenance" } else { "online" },
    })
}

/// Pairs of values are of today (UTC) and of the last 24 hours.
fn day(market: &Market, listing: &Listing, now: i64) -> Option<Value> {
    let (day, book) = (market.day(listing, now)?, market.book(listing, now)?);
    let (first, today) = bar(market, listing, MINUTES_A_DAY, now, now);
    let today = today.or_else(|| market.last_trade(listing, first * MINUTE).map(|last| Bar::flat(last.price)))?;
    let side = |price: i64, size: i64| {
        let size = listing.amount(size);
        json!([listing.price(price).to_string(), size.trunc().to_string(), size.round_dp(3).to_string()])
    };
    let both = |value: &dyn Fn(&Bar) -> Value| json!([value(&today), value(&day.bar)]);
    Some(json!({
        "a": side(book.ask, book.ask_size), "b": side(book.bid, book.bid_size),
        "c": last(listing, &day),
        "v": both(&|bar| json!(listing.amount(bar.volume).to_string())),
        "p": both(&|bar| json!(Market::mean(listing, bar, 5).to_string())),
        "t": both(&|bar| json!(bar.trades)),
        "l": both(&|bar| json!(listing.price(bar.low).to_string())),
        "h": both(&|bar| json!(listing.price(bar.high).to_string())),
        "o": listing.price(today.open).to_string(),
    }))
}

fn last(listing: &Listing, day: &Day) -> Value {
    json!([listing.price(day.bar.close).to_string(), listing.amount(day.last_amount).to_string()])
}

/// Rows `[time, open, high, low, close, vwap, volume, count]`, ascending; times without a trade are left out. The row of
/// the current time is always there, and `last` is the row before it, to be used as the next `since`.
fn candles(market: &Market, query: &Query, now: i64) -> Result<Value, &'static str> {
    let (listing, key) = listed(market, query.get("pair").ok_or("EGeneral:Invalid arguments")?)?;
    let interval = query.get("interval").map_or(Ok(1), str::parse).ok().filter(|one| INTERVALS.contains(one));
    let interval = interval.ok_or("EGeneral:Invalid arguments:interval")?;
    let since: i64 = query.get("since").map_or(Ok(0), str::parse).map_err(|_| "EGeneral:Invalid arguments:since")?;

    let (current, forming) = bar(market, listing, interval, now, now);
    let forming = forming.or_else(|| market.last_trade(listing, now).map(|last| Bar::flat(last.price)));
    let mut rows: Vec<(i64, Bar)> = forming.map(|bar| (current, bar)).into_iter().collect();
    for back in 1..MAX_LOOK {
        let first = current - back * interval;
        if rows.len() == MAX_ROWS || first + interval <= LISTED_MINUTE || first * 60 <= since {
            break;
        }
        rows.extend(bar(market, listing, interval, first * MINUTE, now).1.map(|bar| (first, bar)));
    }
    rows.reverse();
    let committed = rows.iter().rev().nth(1).or(rows.last()).map_or(0, |(first, _)| first * 60);
    let rows = rows.iter().map(|(first, bar)| {
        let price = |ticks| listing.price(ticks).to_string();
        let mean = if bar.trades == 0 {
            "0.0".to_owned()
        } else {
            Market::mean(listing, bar, listing.price_scale).to_string()
        };
        json!([
            first * 60,
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            mean,
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

    fn ask(method: &str, query: &[(&str, &str)]) -> Result<Value, &'static str> {
        respond(&Market::new(1), View::default(), method, &Query::of(query), NOW)
    }

    fn rows(answer: &Value, key: &str) -> Vec<Vec<Value>> {
        answer[key].as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    #[test]
    fn candles_reach_back_720_rows_and_end_with_the_forming_one() {
        let answer = ask("OHLC", &[("pair", "SOLUSDT")]).unwrap();
        let all = rows(&answer, "SOLUSDT");
        assert_eq!((all.len(), all[0].len()), (720, 8));
        let times: Vec<i64> = all.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!(*times.last().unwrap(), NOW / 60_000 * 60);
        assert_eq!(answer["last"], times[718]);
        assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 60), "quiet minutes are left out");
        assert!(all[..719].iter().all(|row| row[7].as_i64().unwrap() > 0));

        let since = times[700].to_string();
        let newer = rows(&ask("OHLC", &[("pair", "SOLUSDT"), ("since", &since)]).unwrap(), "SOLUSDT");
        assert_eq!(newer, all[701..], "`since` itself is left out");
        let none = rows(&ask("OHLC", &[("pair", "SOLUSDT"), ("since", "9999999999")]).unwrap(), "SOLUSDT");
        assert_eq!(none, all[719..], "the forming row is always there");
        let days = rows(&ask("OHLC", &[("pair", "XBTUSD"), ("interval", "1440")]).unwrap(), "XXBTZUSD");
        assert_eq!(days.len(), 720);
        assert!(days.iter().all(|row| row[0].as_i64().unwrap() % 86_400 == 0));
    }

    #[test]
    fn a_pair_answers_to_all_its_names() {
        for (name, key) in [
            ("XXBTZUSD", "XXBTZUSD"),
            ("XBTUSD", "XXBTZUSD"),
            ("XBT/USD", "XXBTZUSD"),
            ("BTC/USD", "BTC/USD"),
            ("XDGUSD", "XDGUSD"),
        ] {
            let answer = ask("Ticker", &[("pair", name)]).unwrap();
            assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), [key]);
        }
        let pairs = ask("AssetPairs", &[]).unwrap();
        assert_eq!(pairs.as_object().unwrap().len(), 40);
        assert_eq!((&pairs["XXBTZUSD"]["wsname"], &pairs["XXBTZUSD"]["base"]), (&json!("XBT/USD"), &json!("XXBT")));
        assert_eq!(pairs["XXBTZUSD"]["tick_size"], "0.1");
    }

    #[test]
    fn a_ticker_has_the_documented_members() {
        let answer = ask("Ticker", &[("pair", "XBTUSD,ETHUSDT")]).unwrap();
        let ticker = answer["XXBTZUSD"].as_object().unwrap();
        assert_eq!(ticker.keys().map(String::as_str).collect::<String>(), "abchloptv");
        assert!(ticker["t"][0].as_i64() < ticker["t"][1].as_i64(), "today and the last 24 hours");
        assert!(ticker["o"].is_string());
    }

    #[test]
    fn errors_are_krakens_own() {
        assert_eq!(ask("OHLC", &[("pair", "NOSUCH")]).unwrap_err(), "EQuery:Unknown asset pair");
        assert_eq!(
            ask("OHLC", &[("pair", "XBTUSD"), ("interval", "3")]).unwrap_err(),
            "EGeneral:Invalid arguments:interval"
        );
        assert_eq!(ask("OHLC", &[]).unwrap_err(), "EGeneral:Invalid arguments");
        assert_eq!(ask("Nothing", &[]).unwrap_err(), "EGeneral:Unknown method");
    }
}
