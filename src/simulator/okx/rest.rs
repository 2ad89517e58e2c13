//! OKX's REST interface. Most errors come with HTTP 200.
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data>

use serde_json::json;

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::door::{Arrival, Query, Reply};
use crate::simulator::listed::View;
use crate::simulator::market::Market;
use crate::simulator::tape::{LISTED_MINUTE, MINUTE};

use super::{Grid, plain, row, ticker};

pub const REST_PREFIX: &str = "/api/v5/";
/// Rows of a page of candles, unless `limit` says otherwise.
const ROWS: usize = 100;
/// "The maximum is 300."
const MAX_ROWS: usize = 300;
/// "This endpoint can retrieve the latest 1,440 data entries."
const NEWEST: u32 = 1_440;
/// All limits count over so long, in milliseconds.
const WINDOW: i64 = 2_000;

/// An error of OKX: HTTP status, code, message. <https://www.okx.com/docs-v5/en/#error-code-rest-api>
type Refusal = (u16, u32, String);

/// Answers a GET.
pub fn answer(shared: &Shared, path: &str, query: &Query, Arrival { from, at, shown }: Arrival) -> Reply {
    let path = path.strip_prefix(REST_PREFIX).unwrap_or(path);
    // "Rate limit rule: IP + Instrument Type" for the listing, "IP" for all else.
    let kind = if path == "public/instruments" { query.get("instType").unwrap_or("") } else { "" };
    let metered = format!("{path} {kind}");
    if let Some(limit) = limit(path)
        && shared.admit(from, ExchangeId::Okx, &metered, (limit, WINDOW), at).is_err()
    {
        // Without a word on how long to wait.
        return Reply::new(429, "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_owned());
    }
    let view = if path == "public/instruments" { View::now(shared, ExchangeId::Okx, at) } else { View::default() };
    match respond(&shared.market, view, path, query, shown) {
        Ok(rows) => Reply::new(200, format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{rows}]}}")),
        Err((status, code, message)) => {
            Reply::new(status, json!({ "code": code.to_string(), "data": [], "msg": message }).to_string())
        }
    }
}

/// How many requests of a path an address may make in two seconds.
fn limit(path: &str) -> Option<usize> {
    match path {
        "public/time" => Some(10),
        "public/instruments" | "market/ticker" | "market/tickers" | "market/history-candles" => Some(20),
        "market/candles" => Some(40),
        _ => None,
    }
}

/// The rows of an answer.
fn respond(market: &Market, view: View, path: &str, query: &Query, now: i64) -> Result<String, Refusal> {
    let tell = |listing: &Listing| Some(ticker(listing, &market.day(listing, now)?, &market.book(listing, now)?, now));
    match path {
        "public/time" => Ok(format!("{{\"ts\":\"{now}\"}}")),
        "public/instruments" => {
            let spot = spot(market, query)?;
            if spot.is_empty() || query.get("instId").is_some() {
                return Ok(spot.iter().map(|one| instrument(one, one.halted)).collect::<Vec<_>>().join(","));
            }
            Ok(view.rows(market, ExchangeId::Okx, instrument, "state", &ODD_INSTRUMENTS).join(","))
        }
        "market/ticker" => Ok(tell(listed(market, query)?).unwrap_or_default()),
        "market/tickers" => Ok(spot(market, query)?.into_iter().filter_map(tell).collect::<Vec<_>>().join(",")),
        "market/candles" => candles(market, query, now, false),
        "market/history-candles" => candles(market, query, now, true),
        _ => Err((404, 404, "Not Found".to_owned())),
    }
}

fn wrong(parameter: &str) -> Refusal {
    (400, 51_000, format!("Parameter {parameter} error"))
}

fn missing(parameter: &str) -> Refusal {
    (400, 50_014, format!("Parameter {parameter} can not be empty."))
}

/// The market that `instId` names.
fn listed<'a>(market: &'a Market, query: &Query) -> Result<&'a Listing, Refusal> {
    let native = query.get("instId").filter(|native| !native.is_empty()).ok_or_else(|| missing("instId"))?;
    let found = market.named(ExchangeId::Okx, native);
    found.ok_or_else(|| (200, 51_001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.".to_owned()))
}

/// All markets of the asked kind; there are only spot markets here.
fn spot<'a>(market: &'a Market, query: &Query) -> Result<Vec<&'a Listing>, Refusal> {
    match query.get("instType") {
        None | Some("") => Err(missing("instType")),
        Some("SPOT") => match query.get("instId") {
            Some(_) => Ok(vec![listed(market, query)?]),
            None => Ok(market.listings(ExchangeId::Okx).collect()),
        },
        Some("MARGIN" | "SWAP" | "FUTURES" | "OPTION") => Ok(Vec::new()),
        Some(_) => Err(wrong("instType")),
    }
}

/// Rows that a listing should not have.
const ODD_INSTRUMENTS: [&str; 4] = [
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
        "lever": "10", "listTime": (LISTED_MINUTE * MINUTE).to_string(), "lotSz": plain(listing.amount(1)),
        "maxLmtSz": "9999999999", "maxMktAmt": "1000000", "minSz": plain(listing.amount(listing.lot)),
        "openType": "", "optType": "", "quoteCcy": listing.quote, "ruleType": "normal", "settleCcy": "",
        "state": if halted { "suspend" } else { "live" }, "stk": "", "tickSz": plain(listing.price(1)),
        "tradeQuoteCcyList": [listing.quote], "uly": "", "upcChg": [],
    })
    .to_string()
}

/// A page of candles, newest first: those that open before `after` and after `before`. The history has whole ones only.
fn candles(market: &Market, query: &Query, now: i64, history: bool) -> Result<String, Refusal> {
    let listing = listed(market, query)?;
    let grid = Grid::named(query.get("bar").unwrap_or("1m")).ok_or_else(|| wrong("bar"))?;
    let number = |name: &str| match query.get(name).filter(|text| !text.is_empty()).map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(value)) if value >= 0 => Ok(Some(value)),
        Some(_) => Err(wrong(name)),
    };
    let rows = match number("limit")?.map(usize::try_from) {
        None => ROWS,
        Some(Ok(rows @ 1..)) => rows.min(MAX_ROWS),
        Some(_) => return Err(wrong("limit")),
    };
    let (after, before) = (number("after")?.unwrap_or(i64::MAX), number("before")?.unwrap_or(-1));
    let current = grid.span(now).start().millis();
    let reach = if history {
        0
    } else {
        let there = Timestamp::from_millis(current + grid.ahead);
        grid.interval.back(there, NEWEST - 1).millis() - grid.ahead
    };
    let listing_opens = grid.span(LISTED_MINUTE * MINUTE).start().millis();
    let oldest = reach.max(listing_opens).max(before.saturating_add(1));
    let newest = if history { current - 1 } else { current };
    let mut open = grid.span(newest.min(after.saturating_sub(1)).max(0)).start().millis();
    let mut page = Vec::new();
    while open >= oldest && page.len() < rows {
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

    fn ask(path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Refusal> {
        let rows = respond(&Market::new(1), View::default(), path, &Query::of(query), NOW)?;
        Ok(serde_json::from_str(&format!("[{rows}]")).unwrap())
    }

    fn opens(path: &str, query: &[(&str, &str)]) -> Vec<i64> {
        let query: Vec<_> = [("instId", "SOL-USDC")].iter().chain(query).copied().collect();
        ask(path, &query).unwrap().iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn pages_of_candles_are_newest_first_between_two_times_that_are_not_part() {
        let newest = opens("market/candles", &[]);
        assert_eq!((newest.len(), newest[0], newest[99]), (100, OPEN, OPEN - 99 * MINUTE));
        assert_eq!(opens("market/candles", &[("limit", "5000")]).len(), 300);
        let (from, to) = ((OPEN - 3 * MINUTE).to_string(), OPEN.to_string());
        let between = opens("market/candles", &[("before", &from), ("after", &to)]);
        assert_eq!(between, [OPEN - MINUTE, OPEN - 2 * MINUTE]);
        let cut = opens("market/candles", &[("before", "0"), ("after", &to), ("limit", "1")]);
        assert_eq!(cut, [OPEN - MINUTE], "what is cut is the older end");
        assert_eq!(opens("market/history-candles", &[("limit", "2")]), [OPEN - MINUTE, OPEN - 2 * MINUTE]);
    }

    #[test]
    fn the_newest_reach_back_1440_rows_and_the_history_to_the_listing() {
        let oldest = OPEN - 1_439 * MINUTE;
        let after = (oldest + MINUTE).to_string();
        assert_eq!(opens("market/candles", &[("after", &after)]), [oldest]);
        let older = opens("market/history-candles", &[("after", &after), ("limit", "3")]);
        assert_eq!(older, [oldest, oldest - MINUTE, oldest - 2 * MINUTE]);
        let listed = LISTED_MINUTE * MINUTE;
        let after = (listed + MINUTE + 1).to_string();
        assert_eq!(opens("market/history-candles", &[("after", &after)]), [listed + MINUTE, listed]);
        assert!(opens("market/history-candles", &[("after", "1502900000000")]).is_empty());
        assert_eq!(opens("market/candles", &[("bar", "1Mutc"), ("limit", "300")]).len(), 100, "all there ever were");
    }

    #[test]
    fn a_row_has_nine_texts_and_says_whether_it_is_closed() {
        let rows = ask("market/candles", &[("instId", "BTC-USDT"), ("limit", "2")]).unwrap();
        let row = |at: usize| rows[at].as_array().unwrap();
        assert!(row(0).len() == 9 && row(0).iter().all(Value::is_string), "{rows:?}");
        assert_eq!((&row(0)[8], &row(1)[8], &row(1)[6]), (&json!("0"), &json!("1"), &row(1)[7]));
    }

    #[test]
    fn errors_are_okxs_own() {
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
            let (got, number, message) = ask(path, query).unwrap_err();
            assert_eq!((got, number), (status, code), "{path} {query:?}: {message}");
        }
    }

    #[test]
    fn the_ticker_and_the_listing_have_the_documented_members() {
        let ticker = &ask("market/ticker", &[("instId", "BTC-USDT")]).unwrap()[0];
        assert_eq!((ticker.as_object().unwrap().len(), &ticker["instType"]), (16, &json!("SPOT")));
        assert_eq!(ticker["ts"], NOW.to_string());
        let spot = ask("public/instruments", &[("instType", "SPOT")]).unwrap();
        assert!(spot.len() >= 40);
        assert_eq!(
            (&spot[0]["instId"], &spot[0]["tickSz"], &spot[0]["lotSz"]),
            (&json!("BTC-USDT"), &json!("0.1"), &json!("0.00000001"))
        );
        assert!(ask("public/instruments", &[("instType", "SWAP")]).unwrap().is_empty());
        assert_eq!(ask("market/tickers", &[("instType", "SPOT")]).unwrap().len(), spot.len());
        assert_eq!(ask("public/time", &[]).unwrap()[0]["ts"], NOW.to_string());
    }
}
