//! Pages: whatever way they go and however long they are, together they tell what one page would.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// When the market of these tests was listed.
const LISTED: i64 = 1_600_000_020_000;

/// A minute of that market, counted from its listing.
fn minute(minute: i64) -> Timestamp {
    Timestamp::from_millis(LISTED + minute * 60_000)
}

fn minutes(start: i64, end: i64) -> TimeRange {
    TimeRange::new(minute(start), minute(end))
}

fn eth() -> Series {
    Series { exchange: ExchangeId::Binance, symbol: "ETH/USDT".parse().unwrap(), interval: Interval::M1 }
}

/// A candle at a price of its own.
fn priced(at: Timestamp) -> Candle {
    let price = Decimal::from(1_000 + at.millis() / 60_000 % 1_000);
    Candle { open: price, high: price, low: price, close: price, ..candle(at) }
}

impl House {
    async fn claim(&self, range: TimeRange, state: Knowledge) {
        let traded = !matches!(state, Knowledge::Empty | Knowledge::Unavailable);
        let candles = Interval::M1.opens(range).filter(|_| traded).map(priced).collect();
        let claims = vec![CoveredRange { range, state }];
        self.store.write(&[SeriesWrite { series: eth(), candles, claims }]).await.unwrap();
    }

    /// The members of all pages from `path` on.
    async fn follow(&self, path: &str, member: &str) -> Vec<Value> {
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

/// All rows of pages that went forward, or backward.
fn joined(mut pages: Vec<Value>, backward: bool) -> Vec<Value> {
    if backward {
        pages.reverse();
    }
    pages.iter().flat_map(|page| page.as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn silence_is_filled_alike_on_pages_of_any_length() {
    const STEPS: i64 = 150;
    let house = House::open().await;
    house.claim(TimeRange::new(Timestamp::EPOCH, minute(0)), Knowledge::Empty).await;
    let mut random = StdRng::seed_from_u64(23);
    let (mut naive, mut price, mut at) = (Vec::new(), None, 0);
    while at < STEPS {
        let end = STEPS.min(at + random.random_range(1..6));
        let state = match random.random_range(0..8) {
            0 => None,
            1 => Some(Knowledge::Unavailable),
            2..5 => Some(Knowledge::Empty),
            _ => Some(Knowledge::Fetched),
        };
        if let Some(state) = state {
            house.claim(minutes(at, end), state).await;
        }
        for at in (at..end).map(minute) {
            match state {
                Some(Knowledge::Fetched) => {
                    price = Some(priced(at).close);
                    naive.push((at.millis(), price, false));
                }
                Some(Knowledge::Empty) => naive.extend(price.is_some().then_some((at.millis(), price, true))),
                _ => price = None,
            }
        }
        at = end;
    }
    let told = |rows: &[Value]| -> Vec<(i64, Option<Decimal>, bool)> {
        let row = |row: &Value| {
            let close = row["close"].as_i64().map(Decimal::from);
            (row["timestamp"].as_i64().unwrap(), close, row.get("filled") == Some(&true.into()))
        };
        rows.iter().map(row).collect()
    };
    assert!(naive.iter().filter(|(.., flat)| *flat).count() > 10 && naive.iter().any(|(.., flat)| !flat));
    let end = minute(STEPS).millis();
    for limit in [1, 2, 3, 7, 1_000] {
        let ask = format!("/v1/history?symbol=ETH/USDT&fill=flat&limit={limit}&end={end}");
        for (path, backward) in
            [(format!("{ask}&start=0"), false), (format!("{ask}&start={LISTED}"), false), (ask, true)]
        {
            let pages = house.follow(&path, "candles").await;
            assert!(pages.iter().all(|page| page.as_array().unwrap().len() <= limit), "{path}");
            assert_eq!(told(&joined(pages, backward)), naive, "{path}");
        }
    }
    // From any minute on, also in the middle of a silence.
    for start in 0..STEPS {
        let path = format!("/history/ETH-USDT?fill=flat&start={}&end={end}&limit=4", minute(start).millis());
        let rows = joined(house.follow(&path, "candles").await, false);
        let from = naive.partition_point(|(at, ..)| *at < minute(start).millis());
        assert_eq!(told(&rows), naive[from..], "{path}");
    }
    let path = format!("/market/history?symbol=ETH/USDT&fill=flat&start={LISTED}&end={end}&format=csv");
    let text = house.get(&path).await.text().await.unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    assert!(head.ends_with(",revision,filled"), "{head}");
    let rows: Vec<(i64, bool)> =
        rows.lines().map(|line| (line.split(',').next().unwrap().parse().unwrap(), line.ends_with(",true"))).collect();
    assert_eq!(rows, naive.iter().map(|(at, _, flat)| (*at, *flat)).collect::<Vec<_>>());
    let rows = house.json(&format!("{path}&format=array").replace("&format=csv", "")).await;
    assert_eq!(rows.as_array().unwrap().len(), naive.len());
    house.close().await;
}

#[tokio::test]
async fn the_ledger_comes_in_pages() {
    let house = House::open().await;
    let path = "/v1/coverage?symbol=ETH/USDT";
    let nothing = house.json(path).await;
    assert_eq!((&nothing["complete"], &nothing["next_cursor"]), (&false.into(), &Value::Null));
    assert_eq!(nothing["ranges"], serde_json::json!([]));

    let mut expected = Vec::new();
    for run in 0..25 {
        let states =
            [Knowledge::Unavailable, Knowledge::Empty, Knowledge::Derived, Knowledge::Observed, Knowledge::Fetched];
        let state = states[usize::try_from(run).unwrap() % states.len()];
        let range = minutes(run * 7, run * 7 + 7 - i64::from(run % 3 == 0));
        house.claim(range, state).await;
        let (start, end) = (range.start().millis(), range.end().millis());
        expected.push(serde_json::json!({"start": start, "end": end, "state": state.as_str()}));
    }
    let end = minute(25 * 7).millis();
    for limit in [1, 2, 7, 24, 25, 26, 5_000] {
        for start in [format!("&start={LISTED}"), "&start=0".to_owned(), String::new()] {
            let pages = house.follow(&format!("{path}{start}&end={end}&limit={limit}"), "ranges").await;
            assert!(pages.iter().all(|page| page.as_array().unwrap().len() <= limit));
            assert_eq!(pages.len(), 25_usize.div_ceil(limit), "{start} {limit}");
            assert_eq!(joined(pages, false), expected, "{start} {limit}");
        }
    }
    // A page speaks of its own time: one empty run, whole, and a part that nobody knows behind the first run of all.
    let one = house.json(&format!("{path}&start={}&limit=1", minute(8).millis())).await;
    assert_eq!((&one["complete"], &one["ranges"][0]["start"]), (&true.into(), &minute(8).millis().into()));
    let cursor = format!("f{}", minute(6).millis());
    assert_eq!(house.json(&format!("{path}&cursor={cursor}&limit=1")).await["complete"], false, "a minute is unknown");
    assert_eq!(house.json(&format!("{path}&start=0&limit=1")).await["complete"], false);
    let first = house.json(&format!("{path}&start={}&limit=2", minute(7).millis())).await;
    assert_eq!(
        (&first["complete"], &first["next_cursor"]),
        (&true.into(), &format!("f{}", minute(21).millis()).into())
    );
    for wrong in ["limit=0", "limit=5001", "cursor=x", "cursor=b17"] {
        problem(house.get(&format!("{path}&{wrong}")).await, 400, "invalid_parameter").await;
    }
    house.close().await;
}

/// A house whose clock stands still: an hour after the market was listed, of which it knows every minute.
async fn an_hour_later() -> House {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let house = House::at(Clock::manual(minute(60)), store, ApiConfig::default()).await;
    house.claim(TimeRange::new(Timestamp::EPOCH, minute(0)), Knowledge::Empty).await;
    house.claim(minutes(0, 60), Knowledge::Observed).await;
    house
}

impl House {
    /// The state of the candle that is open now.
    async fn put_open(&self, seq: u64) {
        let open = Candle { closed: false, ..priced(Interval::M1.floor(self.clock.now())) };
        self.cache.candles.put(&eth(), open, Position { token: 1, seq }).await.unwrap();
    }
}

#[tokio::test]
async fn candles_that_come_between_two_pages_are_told_once() {
    let listed = format!("&start={LISTED}");
    for (start, fill, limit) in [("", "none", 7), ("", "flat", 7), (&*listed, "none", 7), (&*listed, "flat", 2)] {
        let house = an_hour_later().await;
        house.put_open(1).await;
        let path = format!("/v1/history?symbol=ETH/USDT&limit={limit}&fill={fill}{start}");
        let (mut pages, mut cursor, mut now) = (Vec::new(), String::new(), 60);
        loop {
            let mut page = house.json(&format!("{path}{cursor}")).await;
            assert_eq!(page["complete"], true, "{path}");
            pages.push(page["candles"].take());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // A minute later the open candle is closed, and there is another one.
            house.clock.advance(Duration::from_mins(1)).await;
            house.claim(minutes(now, now + 1), Knowledge::Observed).await;
            now += 1;
            house.put_open(pages.len() as u64 + 1).await;
        }
        let backward = start.is_empty();
        let rows = joined(pages, backward);
        let told: Vec<i64> = rows.iter().map(|row| row["timestamp"].as_i64().unwrap()).collect();
        // Backward, all there was at the first page; forward, all there is at the last one.
        let expected = minutes(0, if backward { 61 } else { now + 1 });
        assert_eq!(told, Interval::M1.opens(expected).map(Timestamp::millis).collect::<Vec<_>>(), "{path}");
        assert!(
            rows.split_last().is_some_and(|(last, rest)| {
                last["closed"] == false && rest.iter().all(|row| row["closed"] == true)
            })
        );
    }
}

#[tokio::test]
async fn the_tag_of_an_answer_changes_when_the_answer_does() {
    let house = an_hour_later().await;
    let head = async |path: &str, known: &str| {
        let asked = house.client.get(format!("http://{}{path}", house.address)).header("If-None-Match", known);
        let told = asked.send().await.unwrap();
        let header = |name| told.headers()[name].to_str().unwrap().to_owned();
        (told.status().as_u16(), header("etag"), header("cache-control"))
    };
    house.put_open(1).await;
    let (end, series) = (minute(60).millis(), "/v1/history?symbol=ETH/USDT");
    for fill in ["", "&fill=flat"] {
        for format in ["", "&format=csv", "&format=array", "&format=ndjson"] {
            let newest = format!("{series}{fill}{format}&limit=50");
            let (status, tag, caching) = head(&newest, "\"none\"").await;
            assert_eq!((status, &*caching), (200, "no-cache"), "{newest}");
            assert_eq!(head(&newest, &tag).await, (304, tag.clone(), caching), "{newest}");
            let price = priced(minute(60)).close + Decimal::ONE;
            let open = Candle { closed: false, close: price, high: price, ..priced(minute(60)) };
            let changed = Candle { volume: open.volume + Decimal::from(fill.len() + format.len() + 1), ..open };
            let seq = 2 + (fill.len() * 100 + format.len()) as u64;
            house.cache.candles.put(&eth(), changed, Position { token: 1, seq }).await.unwrap();
            // The same page is given for so long.
            house.clock.advance(Duration::from_millis(100)).await;
            let (status, other, _) = head(&newest, &tag).await;
            assert!(status == 200 && other != tag, "{newest}: the open candle changed");
            let past = format!("{series}{fill}{format}&limit=50&end={end}");
            let (status, tag, caching) = head(&past, &other).await;
            assert_eq!((status, &*caching), (200, "public, max-age=60"), "{past}");
            assert_eq!(head(&past, &tag).await.0, 304, "{past}");
        }
    }
    // What is not complete is asked for anew, however old it is, and has another tag when it is there.
    house.claim(minutes(61, 62), Knowledge::Observed).await;
    house.clock.advance(Duration::from_mins(3)).await;
    let part = format!("{series}&start={}&end={}", minute(59).millis(), minute(62).millis());
    let (_, tag, caching) = head(&part, "\"none\"").await;
    assert_eq!((caching.as_str(), &house.json(&part).await["complete"]), ("no-cache", &false.into()));
    house.claim(minutes(60, 61), Knowledge::Fetched).await;
    let (status, other, caching) = head(&part, &tag).await;
    assert!(status == 200 && other != tag);
    assert_eq!(caching, "public, max-age=60");
}

#[tokio::test]
async fn what_has_no_candles_is_answered_clearly() {
    let house = an_hour_later().await;
    let ask = async |range: &str| {
        let response = house.get(&format!("/v1/history?symbol=ETH/USDT&{range}")).await;
        let caching = response.headers()["cache-control"].to_str().unwrap().to_owned();
        (caching, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let (far, farther) = (minute(1_000).millis(), minute(2_000).millis());
    // Nothing is missing of the future, and it may not be kept: it will come.
    for fill in ["none", "flat"] {
        for range in [format!("start={far}"), format!("start={far}&end={farther}")] {
            let (caching, page) = ask(&format!("{range}&fill={fill}")).await;
            assert_eq!((&page["complete"], &page["candles"]), (&true.into(), &serde_json::json!([])), "{range}");
            assert_eq!((&page["next_cursor"], &*caching), (&Value::Null, "no-cache"), "{range}");
        }
    }
    // Nor of the time before the listing, where nothing is filled either.
    let before = format!("start=0&end={LISTED}&fill=flat");
    let (caching, page) = ask(&before).await;
    assert_eq!((&page["complete"], &page["candles"]), (&true.into(), &serde_json::json!([])));
    assert_eq!((&page["next_cursor"], &*caching), (&Value::Null, "public, max-age=60"));
    for range in ["start=0&limit=3", "start=1970-01-01T00:00:30Z&limit=3&fill=flat"] {
        let (_, page) = ask(range).await;
        assert_eq!((&page["complete"], &page["candles"][0]["timestamp"]), (&true.into(), &LISTED.into()), "{range}");
    }
    // Behind its last trade: known to be silent, then unavailable.
    house.clock.advance(Duration::from_mins(40)).await;
    house.claim(minutes(60, 70), Knowledge::Empty).await;
    house.claim(minutes(70, 100), Knowledge::Unavailable).await;
    let (_, page) = ask(&format!("start={}&fill=flat", minute(58).millis())).await;
    let flat = page["candles"].as_array().unwrap().iter().filter(|row| row["filled"] == true).count();
    assert_eq!((page["candles"].as_array().unwrap().len(), flat, &page["complete"]), (12, 10, &false.into()));
    let (start, end) = (minute(70).millis(), minute(100).millis());
    assert_eq!(page["gaps"], serde_json::json!([{"start": start, "end": end, "reason": "unavailable"}]));
}
