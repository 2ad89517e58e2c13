//! Bybit's REST interface. Errors come with HTTP 200.
//! <https://bybit-exchange.github.io/docs/v5/market/kline>

use serde_json::json;

use crate::model::{ExchangeId, TimeRange, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::door::{Arrival, Query, Reply};
use crate::simulator::listed::View;
use crate::simulator::market::Market;
use crate::simulator::tape::{LISTED_MINUTE, MINUTE};

use super::{interval, plain, statistics};

pub const REST_PREFIX: &str = "/v5/market/";
/// "600 requests within a 5-second window per IP": <https://bybit-exchange.github.io/docs/v5/rate-limit>
const ALLOWED: (usize, i64) = (600, 5_000);
/// Rows of a page where no limit is named, and the most.
const ROWS: usize = 200;
const MAX_ROWS: usize = 1_000;

/// An error of Bybit: code and message. <https://bybit-exchange.github.io/docs/v5/error>
type Refusal = (u32, String);

/// Answers a GET.
pub fn answer(shared: &Shared, path: &str, query: &Query, Arrival { from, at, shown }: Arrival) -> Reply {
    if shared.admit(from, ExchangeId::Bybit, "rest", ALLOWED, at).is_err() {
        return Reply::new(403, "403, access too frequent".to_owned());
    }
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    let view = if path == "instruments-info" { View::now(shared, ExchangeId::Bybit, at) } else { View::default() };
    let (code, message, result) = match respond(&shared.market, view, path, query, shown) {
        Ok(result) => (0, "OK".to_owned(), result),
        Err((code, message)) => (code, message, "{}".to_owned()),
    };
    let message = json!(message);
    Reply::new(
        200,
        format!("{{\"retCode\":{code},\"retMsg\":{message},\"result\":{result},\"retExtInfo\":{{}},\"time\":{at}}}"),
    )
}

fn respond(market: &Market, view: View, path: &str, query: &Query, now: i64) -> Result<String, Refusal> {
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
            let rows = view.rows(market, ExchangeId::Bybit, instrument, "status", &ODD_INSTRUMENTS);
            return Ok(format!("{{\"category\":\"spot\",\"list\":[{}]}}", rows.join(",")));
        }
        "instruments-info" => {
            chosen(market, query)?.into_iter().map(|one| instrument(one, one.halted)).collect::<Vec<_>>()
        }
        "tickers" => chosen(market, query)?.into_iter().filter_map(|listing| ticker(market, listing, now)).collect(),
        "kline" => {
            let listing = chosen(market, query)?;
            let [listing] = listing[..] else { return Err((10_001, "params error: symbol invalid".to_owned())) };
            let rows = candles(market, listing, query, now)?.join(",");
            return Ok(format!("{{\"category\":\"spot\",\"symbol\":\"{}\",\"list\":[{rows}]}}", listing.native));
        }
        _ => return Err((10_404, "path not found".to_owned())),
    };
    Ok(format!("{{\"category\":\"spot\",\"list\":[{}]}}", list.join(",")))
}

/// The market that is named, or all.
fn chosen<'a>(market: &'a Market, query: &Query) -> Result<Vec<&'a Listing>, Refusal> {
    let Some(name) = query.get("symbol") else { return Ok(market.listings(ExchangeId::Bybit).collect()) };
    let found = market.named(ExchangeId::Bybit, name).ok_or((10_001, "params error: symbol invalid".to_owned()))?;
    Ok(vec![found])
}

/// Rows that a listing should not have.
const ODD_INSTRUMENTS: [&str; 4] = [
    r#"{"symbol":"ODDAUSDT","baseCoin":"ODDA","quoteCoin":"USDT","status":"Trading","lotSizeFilter":null,"priceFilter":{"tickSize":"0.1234567890123456789012345678901"}}"#,
    r#"{"symbol":"ODDBUSDT","baseCoin":null,"quoteCoin":"USDT","status":"Trading"}"#,
    r#"{"symbol":"ODDCUSDT","quoteCoin":"USDT","status":"Trading","priceFilter":[]}"#,
    "null",
];

fn instrument(listing: &Listing, halted: bool) -> String {
    let step = plain(listing.amount(1));
    json!({
        "symbol": listing.native, "baseCoin": listing.base, "quoteCoin": listing.quote,
        "innovation": "0", "status": if halted { "PreLaunch" } else { "Trading" }, "marginTrading": "utaOnly", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": step, "quotePrecision": "0.00000001", "minOrderQty": step, "maxOrderQty": "1000",
            "minOrderAmt": "5", "maxOrderAmt": "2000000",
        },
        "priceFilter": { "tickSize": plain(listing.price(1)) },
        "riskParameters": { "priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02" },
    })
    .to_string()
}

fn ticker(market: &Market, listing: &Listing, now: i64) -> Option<String> {
    let (day, book) = (market.day(listing, now)?, market.book(listing, now)?);
    let [bid, ask] = [book.bid, book.ask].map(|ticks| plain(listing.price(ticks)));
    let [bid_size, ask_size] = [book.bid_size, book.ask_size].map(|steps| plain(listing.amount(steps)));
    Some(format!(
        "{{{},\"bid1Price\":\"{bid}\",\"bid1Size\":\"{bid_size}\",\"ask1Price\":\"{ask}\",\"ask1Size\":\"{ask_size}\"}}",
        statistics(listing, &day)
    ))
}

/// The newest rows of those that open from `start` to `end`, both inclusive, newest first. With `start` alone the first ones
/// from there on, beginning with the one that holds it: so seen by <https://github.com/bybit-exchange/pybit/issues/186>
/// and <https://github.com/ccxt/ccxt/issues/26736>.
fn candles(market: &Market, listing: &Listing, query: &Query, now: i64) -> Result<Vec<String>, Refusal> {
    let wrong = |name: &str| (10_001, format!("params error: {name} invalid"));
    let interval = query.get("interval").and_then(interval).ok_or_else(|| wrong("Interval"))?;
    let number = |name: &'static str| match query.get(name).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => Err(wrong(name)),
    };
    let limit = match number("limit")? {
        None => ROWS,
        Some(limit) => {
            usize::try_from(limit).ok().filter(|limit| (1..=MAX_ROWS).contains(limit)).ok_or_else(|| wrong("limit"))?
        }
    };
    let listed = interval.floor(Timestamp::from_millis(LISTED_MINUTE * MINUTE));
    let asked = (number("start")?.map(Timestamp::from_millis), number("end")?.map(Timestamp::from_millis));
    let now_at = Timestamp::from_millis(now);
    let (start, end) = match asked {
        (Some(start), None) => {
            let start = interval.floor(start).max(listed);
            let first = interval.opens(TimeRange::new(start, now_at)).take(limit).last();
            (start, first.unwrap_or(now_at))
        }
        (start, end) => {
            let start = start.map_or(listed, |start| interval.ceil(start)).max(listed);
            (start, end.unwrap_or(now_at).min(now_at))
        }
    };
    let (mut open, mut rows) = (interval.floor(end), Vec::new());
    while open >= start && rows.len() < limit {
        let Some(bar) = market.bar_or_flat(listing, interval.span(open), now) else { break };
        let [first, high, low, close] =
            [bar.open, bar.high, bar.low, bar.close].map(|ticks| plain(listing.price(ticks)));
        rows.push(format!(
            "[\"{}\",\"{first}\",\"{high}\",\"{low}\",\"{close}\",\"{}\",\"{}\"]",
            open.millis(),
            plain(listing.amount(bar.volume)),
            plain(listing.turnover(bar.turnover)),
        ));
        open = interval.back(open, 1);
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

    fn ask(path: &str, query: &[(&str, &str)]) -> Result<Value, Refusal> {
        let query: Vec<_> = [("category", "spot")].iter().chain(query).copied().collect();
        let result = respond(&Market::new(1), View::default(), path, &Query::of(&query), NOW)?;
        Ok(serde_json::from_str(&result).unwrap())
    }

    fn opens(query: &[(&str, &str)]) -> Vec<i64> {
        let query: Vec<_> = [("symbol", "BTCUSDT"), ("interval", "1")].iter().chain(query).copied().collect();
        let rows = ask("kline", &query).unwrap()["list"].clone();
        rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn pages_are_newest_first_with_both_ends() {
        let all = opens(&[]);
        assert_eq!((all.len(), all[0], all[199]), (200, OPEN, OPEN - 199 * MINUTE));
        let (start, end) = ((OPEN - 2 * MINUTE).to_string(), (OPEN - MINUTE).to_string());
        assert_eq!(opens(&[("start", &start), ("end", &end)]), [OPEN - MINUTE, OPEN - 2 * MINUTE]);
        assert_eq!(opens(&[("start", "0"), ("end", &end), ("limit", "1")]), [OPEN - MINUTE], "the newest come");
        assert!(opens(&[("end", "1502900000000")]).is_empty());
        let start = (OPEN - 5 * MINUTE - 1).to_string();
        assert_eq!(
            opens(&[("start", &start), ("limit", "2")]),
            [OPEN - 5 * MINUTE, OPEN - 6 * MINUTE],
            "the first ones"
        );
        assert_eq!(opens(&[("start", "9999"), ("limit", "1")]), [LISTED_MINUTE * MINUTE]);
    }

    #[test]
    fn errors_are_bybits_own() {
        for query in [
            &[("symbol", "NOUSDT"), ("interval", "1")][..],
            &[("interval", "1")],
            &[("symbol", "BTCUSDT"), ("interval", "1m")],
            &[("symbol", "BTCUSDT"), ("interval", "1"), ("limit", "1001")],
            &[("symbol", "BTCUSDT"), ("interval", "1"), ("start", "x")],
            &[("category", ""), ("symbol", "BTCUSDT")],
        ] {
            assert_eq!(ask("kline", query).unwrap_err().0, 10_001, "{query:?}");
        }
        assert_eq!(ask("nothing", &[]).unwrap_err().0, 10_404);
    }

    #[test]
    fn the_ticker_and_the_listing_have_the_documented_members() {
        let listed = ask("instruments-info", &[]).unwrap();
        assert_eq!(listed["list"].as_array().unwrap().len(), 40);
        assert_eq!(listed["list"][0]["priceFilter"]["tickSize"], "0.01");
        let ticker = ask("tickers", &[("symbol", "BTCUSDT")]).unwrap()["list"][0].clone();
        assert_eq!(ticker.as_object().unwrap().len(), 13);
        assert!(ticker["bid1Price"].is_string() && ticker["price24hPcnt"].as_str().unwrap().len() < 9);
    }
}
