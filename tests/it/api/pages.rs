//! Pagination: the pages of any size and direction together equal one large page.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Listing time of the market in these tests, in milliseconds.
const LISTED: i64 = 1_600_000_020_000;

/// Open time of a minute, counted from the listing.
fn minute(minute: i64) -> Timestamp {
    Timestamp::from_millis(LISTED + minute * 60_000)
}

fn minutes(start: i64, end: i64) -> TimeRange {
    TimeRange::new(minute(start), minute(end))
}

fn eth() -> Series {
    Series { exchange: ExchangeId::BINANCE, symbol: "ETH/USDT".parse().unwrap(), interval: Interval::M1 }
}

/// A candle whose price differs from minute to minute.
fn priced_candle(at: Timestamp) -> Candle {
    let price = Decimal::from(1_000 + at.millis() / 60_000 % 1_000);
    Candle { open: price, high: price, low: price, close: price, ..candle(at) }
}

impl TestService {
    async fn write_claim(&self, range: TimeRange, state: CoverageState) {
        let has_candles = !matches!(state, CoverageState::Empty | CoverageState::Unavailable);
        let candles = Interval::M1.open_times(range).filter(|_| has_candles).map(priced_candle).collect();
        let claims = vec![CoveredRange { range, state }];
        self.store.write(&[SeriesWrite { series: eth(), candles, claims }]).await.unwrap();
    }

    /// Follows `next_cursor` from `path` and returns `member` of each page.
    async fn all_pages(&self, path: &str, member: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.json(&format!("{path}{cursor}")).await;
            all.push(page[member].take());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// Joins the rows of pages in ascending order.
fn join_rows(mut pages: Vec<Value>, backward: bool) -> Vec<Value> {
    if backward {
        pages.reverse();
    }
    pages.iter().flat_map(|page| page.as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn flat_fill_is_independent_of_page_size() {
    const END: i64 = 150;
    let service = TestService::start().await;
    service.write_claim(TimeRange::new(Timestamp::EPOCH, minute(0)), CoverageState::Empty).await;
    let mut random = StdRng::seed_from_u64(23);
    let (mut expected, mut price, mut at) = (Vec::new(), None, 0);
    while at < END {
        let end = END.min(at + random.random_range(1..6));
        let state = match random.random_range(0..8) {
            0 => None,
            1 => Some(CoverageState::Unavailable),
            2..5 => Some(CoverageState::Empty),
            _ => Some(CoverageState::Fetched),
        };
        if let Some(state) = state {
            service.write_claim(minutes(at, end), state).await;
        }
        for at in (at..end).map(minute) {
            match state {
                Some(CoverageState::Fetched) => {
                    price = Some(priced_candle(at).close);
                    expected.push((at.millis(), price, false));
                }
                Some(CoverageState::Empty) => expected.extend(price.is_some().then_some((at.millis(), price, true))),
                _ => price = None,
            }
        }
        at = end;
    }
    let summarize = |rows: &[Value]| -> Vec<(i64, Option<Decimal>, bool)> {
        let row = |row: &Value| {
            let close = row["close"].as_i64().map(Decimal::from);
            (row["timestamp"].as_i64().unwrap(), close, row.get("filled") == Some(&true.into()))
        };
        rows.iter().map(row).collect()
    };
    assert!(expected.iter().filter(|(.., filled)| *filled).count() > 10 && expected.iter().any(|(.., filled)| !filled));
    let end = minute(END).millis();
    for limit in [1, 2, 3, 7, 1_000] {
        let base = format!("/v1/history?symbol=ETH/USDT&fill=flat&limit={limit}&end={end}");
        for (path, backward) in
            [(format!("{base}&start=0"), false), (format!("{base}&start={LISTED}"), false), (base, true)]
        {
            let pages = service.all_pages(&path, "candles").await;
            assert!(pages.iter().all(|page| page.as_array().unwrap().len() <= limit), "{path}");
            assert_eq!(summarize(&join_rows(pages, backward)), expected, "{path}");
        }
    }
    // Start at each minute, also within a period without trades.
    for start in 0..END {
        let path = format!("/history/ETH-USDT?fill=flat&start={}&end={end}&limit=4", minute(start).millis());
        let rows = join_rows(service.all_pages(&path, "candles").await, false);
        let from = expected.partition_point(|(at, ..)| *at < minute(start).millis());
        assert_eq!(summarize(&rows), expected[from..], "{path}");
    }
    let path = format!("/market/history?symbol=ETH/USDT&fill=flat&start={LISTED}&end={end}&format=csv");
    let text = service.get(&path).await.text().await.unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    assert!(header.ends_with(",revision,filled"), "{header}");
    let rows: Vec<(i64, bool)> =
        rows.lines().map(|line| (line.split(',').next().unwrap().parse().unwrap(), line.ends_with(",true"))).collect();
    assert_eq!(rows, expected.iter().map(|(at, _, filled)| (*at, *filled)).collect::<Vec<_>>());
    let rows = service.json(&format!("{path}&format=array").replace("&format=csv", "")).await;
    assert_eq!(rows.as_array().unwrap().len(), expected.len());
    service.shut_down().await;
}

#[tokio::test]
async fn coverage_is_paginated() {
    let service = TestService::start().await;
    let path = "/v1/coverage?symbol=ETH/USDT";
    let empty = service.json(path).await;
    assert_eq!((&empty["complete"], &empty["next_cursor"]), (&false.into(), &Value::Null));
    assert_eq!(empty["ranges"], serde_json::json!([]));

    let mut expected = Vec::new();
    for run in 0..25 {
        let states = [
            CoverageState::Unavailable,
            CoverageState::Empty,
            CoverageState::Derived,
            CoverageState::Observed,
            CoverageState::Fetched,
        ];
        let state = states[usize::try_from(run).unwrap() % states.len()];
        let range = minutes(run * 7, run * 7 + 7 - i64::from(run % 3 == 0));
        service.write_claim(range, state).await;
        let (start, end) = (range.start().millis(), range.end().millis());
        expected.push(serde_json::json!({"start": start, "end": end, "state": state.as_str()}));
    }
    let end = minute(25 * 7).millis();
    for limit in [1, 2, 7, 24, 25, 26, 5_000] {
        for start in [format!("&start={LISTED}"), "&start=0".to_owned(), String::new()] {
            let pages = service.all_pages(&format!("{path}{start}&end={end}&limit={limit}"), "ranges").await;
            assert!(pages.iter().all(|page| page.as_array().unwrap().len() <= limit));
            assert_eq!(pages.len(), 25_usize.div_ceil(limit), "{start} {limit}");
            assert_eq!(join_rows(pages, false), expected, "{start} {limit}");
        }
    }
    // `complete` covers only the time of the page.
    let one = service.json(&format!("{path}&start={}&limit=1", minute(8).millis())).await;
    assert_eq!((&one["complete"], &one["ranges"][0]["start"]), (&true.into(), &minute(8).millis().into()));
    let cursor = format!("f{}", minute(6).millis());
    assert_eq!(
        service.json(&format!("{path}&cursor={cursor}&limit=1")).await["complete"],
        false,
        "one minute is unknown"
    );
    assert_eq!(service.json(&format!("{path}&start=0&limit=1")).await["complete"], false);
    let first = service.json(&format!("{path}&start={}&limit=2", minute(7).millis())).await;
    assert_eq!(
        (&first["complete"], &first["next_cursor"]),
        (&true.into(), &format!("f{}", minute(21).millis()).into())
    );
    for invalid in ["limit=0", "limit=5001", "cursor=x", "cursor=b17"] {
        expect_problem(service.get(&format!("{path}&{invalid}")).await, 400, "invalid_parameter").await;
    }
    service.shut_down().await;
}

/// A service on a manual clock, one hour after the listing, with a stored candle for each minute.
async fn service_after_one_hour() -> TestService {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let service = TestService::with_clock(Clock::manual(minute(60)), store, ApiConfig::default()).await;
    service.write_claim(TimeRange::new(Timestamp::EPOCH, minute(0)), CoverageState::Empty).await;
    service.write_claim(minutes(0, 60), CoverageState::Observed).await;
    service
}

impl TestService {
    /// Caches the currently open candle.
    async fn put_open_candle(&self, seq: u64) {
        let open = Candle { closed: false, ..priced_candle(Interval::M1.floor(self.clock.now())) };
        self.cache.candles.put(&eth(), open, Version { token: 1, seq }).await.unwrap();
    }
}

#[tokio::test]
async fn candle_added_between_pages_is_returned_once() {
    let from_listing = format!("&start={LISTED}");
    for (start, fill, limit) in
        [("", "none", 7), ("", "flat", 7), (&*from_listing, "none", 7), (&*from_listing, "flat", 2)]
    {
        let service = service_after_one_hour().await;
        service.put_open_candle(1).await;
        let path = format!("/v1/history?symbol=ETH/USDT&limit={limit}&fill={fill}{start}");
        let (mut pages, mut cursor, mut now) = (Vec::new(), String::new(), 60);
        loop {
            let mut page = service.json(&format!("{path}{cursor}")).await;
            assert_eq!(page["complete"], true, "{path}");
            pages.push(page["candles"].take());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // A minute later this candle is closed and the next one is open.
            service.clock.advance(Duration::from_mins(1)).await;
            service.write_claim(minutes(now, now + 1), CoverageState::Observed).await;
            now += 1;
            service.put_open_candle(pages.len() as u64 + 1).await;
        }
        let backward = start.is_empty();
        let rows = join_rows(pages, backward);
        let times: Vec<i64> = rows.iter().map(|row| row["timestamp"].as_i64().unwrap()).collect();
        // Backward pages end where the first page did; forward pages also include what was added meanwhile.
        let expected = minutes(0, if backward { 61 } else { now + 1 });
        assert_eq!(times, Interval::M1.open_times(expected).map(Timestamp::millis).collect::<Vec<_>>(), "{path}");
        assert!(
            rows.split_last().is_some_and(|(last, rest)| {
                last["closed"] == false && rest.iter().all(|row| row["closed"] == true)
            })
        );
    }
}

#[tokio::test]
async fn etag_changes_with_content() {
    let service = service_after_one_hour().await;
    let caching_headers = async |path: &str, known_etag: &str| {
        let request =
            service.client.get(format!("http://{}{path}", service.address)).header("If-None-Match", known_etag);
        let response = request.send().await.unwrap();
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        (response.status().as_u16(), header("etag"), header("cache-control"))
    };
    service.put_open_candle(1).await;
    let (end, series) = (minute(60).millis(), "/v1/history?symbol=ETH/USDT");
    for fill in ["", "&fill=flat"] {
        for format in ["", "&format=csv", "&format=array", "&format=ndjson"] {
            let newest = format!("{series}{fill}{format}&limit=50");
            let (status, etag, cache_control) = caching_headers(&newest, "\"none\"").await;
            assert_eq!((status, &*cache_control), (200, "no-cache"), "{newest}");
            assert_eq!(caching_headers(&newest, &etag).await, (304, etag.clone(), cache_control), "{newest}");
            let price = priced_candle(minute(60)).close + Decimal::ONE;
            let open = Candle { closed: false, close: price, high: price, ..priced_candle(minute(60)) };
            let changed = Candle { volume: open.volume + Decimal::from(fill.len() + format.len() + 1), ..open };
            let seq = 2 + (fill.len() * 100 + format.len()) as u64;
            service.cache.candles.put(&eth(), changed, Version { token: 1, seq }).await.unwrap();
            // Pages are cached for this time.
            service.clock.advance(Duration::from_millis(100)).await;
            let (status, new_etag, _) = caching_headers(&newest, &etag).await;
            assert!(status == 200 && new_etag != etag, "{newest}: the open candle changed");
            let past = format!("{series}{fill}{format}&limit=50&end={end}");
            let (status, etag, cache_control) = caching_headers(&past, &new_etag).await;
            assert_eq!((status, &*cache_control), (200, "public, max-age=60"), "{past}");
            assert_eq!(caching_headers(&past, &etag).await.0, 304, "{past}");
        }
    }
    // An incomplete page is not cacheable, however old it is. Its ETag changes when the gap is filled.
    service.write_claim(minutes(61, 62), CoverageState::Observed).await;
    service.clock.advance(Duration::from_mins(3)).await;
    let incomplete = format!("{series}&start={}&end={}", minute(59).millis(), minute(62).millis());
    let (_, etag, cache_control) = caching_headers(&incomplete, "\"none\"").await;
    assert_eq!((cache_control.as_str(), &service.json(&incomplete).await["complete"]), ("no-cache", &false.into()));
    service.write_claim(minutes(60, 61), CoverageState::Fetched).await;
    let (status, new_etag, cache_control) = caching_headers(&incomplete, &etag).await;
    assert!(status == 200 && new_etag != etag);
    assert_eq!(cache_control, "public, max-age=60");
}

#[tokio::test]
async fn ranges_without_candles_have_correct_completeness() {
    let service = service_after_one_hour().await;
    let get_page = async |range: &str| {
        let response = service.get(&format!("/v1/history?symbol=ETH/USDT&{range}")).await;
        let cache_control = response.headers()["cache-control"].to_str().unwrap().to_owned();
        (cache_control, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let (far, farther) = (minute(1_000).millis(), minute(2_000).millis());
    // A range in the future is complete, but must not be cached.
    for fill in ["none", "flat"] {
        for range in [format!("start={far}"), format!("start={far}&end={farther}")] {
            let (cache_control, page) = get_page(&format!("{range}&fill={fill}")).await;
            assert_eq!((&page["complete"], &page["candles"]), (&true.into(), &serde_json::json!([])), "{range}");
            assert_eq!((&page["next_cursor"], &*cache_control), (&Value::Null, "no-cache"), "{range}");
        }
    }
    // The time before the listing is complete, and flat fill adds nothing there.
    let before = format!("start=0&end={LISTED}&fill=flat");
    let (cache_control, page) = get_page(&before).await;
    assert_eq!((&page["complete"], &page["candles"]), (&true.into(), &serde_json::json!([])));
    assert_eq!((&page["next_cursor"], &*cache_control), (&Value::Null, "public, max-age=60"));
    for range in ["start=0&limit=3", "start=1970-01-01T00:00:30Z&limit=3&fill=flat"] {
        let (_, page) = get_page(range).await;
        assert_eq!((&page["complete"], &page["candles"][0]["timestamp"]), (&true.into(), &LISTED.into()), "{range}");
    }
    // After the last trade: ten empty minutes, then unavailable ones.
    service.clock.advance(Duration::from_mins(40)).await;
    service.write_claim(minutes(60, 70), CoverageState::Empty).await;
    service.write_claim(minutes(70, 100), CoverageState::Unavailable).await;
    let (_, page) = get_page(&format!("start={}&fill=flat", minute(58).millis())).await;
    let flat = page["candles"].as_array().unwrap().iter().filter(|row| row["filled"] == true).count();
    assert_eq!((page["candles"].as_array().unwrap().len(), flat, &page["complete"]), (12, 10, &false.into()));
    let (start, end) = (minute(70).millis(), minute(100).millis());
    assert_eq!(page["gaps"], serde_json::json!([{"start": start, "end": end, "reason": "unavailable"}]));
}
