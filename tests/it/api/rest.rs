//! What the doors answer.

use super::*;

#[tokio::test]
async fn a_ticker_is_the_same_at_every_door() {
    let house = House::open().await;
    let paths = [
        "/v1/ticker?exchange=binance&symbol=BTC/USDT",
        "/v1/ticker?symbol=btc_usdt",
        "/v1/ticker?symbol=BTC%2FUSDT",
        "/v1/ticker?symbol=BTCUSDT&exchange=binance",
        "/ticker/BTC-USDT",
        "/ticker/BTC%2FUSDT?exchange=binance",
        "/market/ticker?symbol=BTC-USDT",
    ];
    for path in paths {
        let ticker = house.json(path).await;
        assert_eq!((&ticker["exchange"], &ticker["symbol"]), (&"binance".into(), &"BTC/USDT".into()), "{path}");
        assert_eq!((&ticker["last"], &ticker["stale"]), (&67_000.into(), &false.into()), "{path}");
        assert!(ticker["age_ms"].is_u64() && ticker["bid"].is_null(), "{path}");
    }
    let several = house.json("/v1/tickers?exchange=binance&symbols=BTC/USDT,X/Y,ETH/USDT").await;
    assert_eq!(several["tickers"][0]["last"], 67_000);
    let errors = serde_json::json!([
        {"symbol": "X/Y", "code": "unknown_symbol"},
        {"symbol": "ETH/USDT", "code": "upstream_unavailable"},
    ]);
    assert_eq!(several["errors"], errors);
    house.close().await;
}

#[tokio::test]
async fn a_history_comes_in_pages_and_in_one() {
    let house = House::open().await;
    let end = Interval::M1.floor(house.clock.now());
    let start = Interval::M1.back(end, MINUTES / 2);
    let range = format!("symbol=BTC/USDT&start={}&end={}", start.millis(), end.millis());

    let mut path = format!("/v1/history?{range}&limit=4");
    let mut times = Vec::new();
    loop {
        let response = house.get(&path).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(page["complete"], true);
        times.extend(page["candles"].as_array().unwrap().iter().map(|candle| candle["timestamp"].as_i64().unwrap()));
        match link {
            Some(link) => link.split(['<', '>']).nth(1).unwrap().clone_into(&mut path),
            None => break,
        }
    }
    let expected: Vec<i64> = Interval::M1.opens(TimeRange::new(start, end)).map(Timestamp::millis).collect();
    assert_eq!(times, expected);

    for (format, media, rows) in [("csv", "text/csv", 16), ("ndjson", "application/x-ndjson", 15)] {
        let response = house.get(&format!("/market/history?{range}&format={format}")).await;
        assert_eq!(response.headers()["content-type"], media);
        assert_eq!(response.headers()["candlewick-complete"], "true");
        assert_eq!(response.headers()["candlewick-simulated"], "false");
        assert_eq!(response.text().await.unwrap().lines().count(), rows, "{format}");
    }
    let rows = house.json(&format!("/history/BTC-USDT?{}&format=array", range.split_once('&').unwrap().1)).await;
    assert_eq!(rows.as_array().map(Vec::len), Some(15));
    assert_eq!(rows[0][0], start.millis());
    house.close().await;
}

#[tokio::test]
async fn what_does_not_change_is_not_sent_again() {
    let house = House::open().await;
    let end = Interval::M1.floor(house.clock.now());
    let start = Interval::M1.back(end, 10);
    let path = format!("/v1/history?symbol=BTC/USDT&start={}&end={}", start.millis(), end.millis());
    let first = house.get(&path).await;
    assert_eq!(first.headers()["cache-control"], "public, max-age=60");
    let tag = first.headers()["etag"].clone();
    let again = house.client.get(format!("http://{}{path}", house.address)).header("If-None-Match", tag.clone());
    let again = again.send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &tag));
    assert!(again.text().await.unwrap().is_empty());
    assert_eq!(house.get("/v1/history?symbol=BTC/USDT").await.headers()["cache-control"], "no-cache");
    house.close().await;
}

#[tokio::test]
async fn listings_ledgers_and_states_can_be_asked_for() {
    let house = House::open().await;
    let page = house.json("/v1/instruments?quote=usdt&limit=1").await;
    assert_eq!(
        (&page["instruments"][0]["symbol"], page["instruments"].as_array().unwrap().len()),
        (&"BTC/USDT".into(), 1)
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = house.json(&format!("/v1/instruments?quote=usdt&limit=1&cursor={cursor}")).await;
    assert_eq!((&rest["instruments"][0]["symbol"], &rest["next_cursor"]), (&"ETH/USDT".into(), &Value::Null));

    let end = Interval::M1.floor(house.clock.now());
    let start = Interval::M1.back(end, 5);
    let range = format!("start={}&end={}", start.millis(), end.millis());
    let ledger = house.json(&format!("/v1/coverage?symbol=BTC/USDT&{range}")).await;
    let ranges = serde_json::json!([{"start": start.millis(), "end": end.millis(), "state": "observed"}]);
    assert_eq!((&ledger["complete"], &ledger["ranges"]), (&true.into(), &ranges));

    let all = house.json("/v1/exchanges").await;
    let ids: Vec<&str> = all["exchanges"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ExchangeId::ALL.map(ExchangeId::as_str));
    assert_eq!(house.json("/v1/exchanges/binance").await["state"], "live");
    house.close().await;
}

#[tokio::test]
async fn what_is_listed_no_longer_stands_behind_what_is() {
    let house = House::open().await;
    let eth = |exchange| Instrument {
        exchange,
        symbol: "ETH/USDT".parse().unwrap(),
        native: "ETHUSDT".to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: candlewick::model::InstrumentStatus::Trading,
    };
    let list = async |exchange, listed: &[Instrument], minute| {
        let at = house.clock.now() + Duration::from_mins(minute);
        house.store.put_instruments(exchange, listed, at).await.unwrap();
        house.told(exchange, Vec::new(), at).await;
    };
    let path = "/v1/history?symbol=ETH/USDT";
    list(ExchangeId::Kraken, &[eth(ExchangeId::Kraken)], 1).await;
    assert_eq!(house.json(path).await["exchange"], "binance");
    list(ExchangeId::Binance, &[], 1).await;
    assert_eq!(house.json(path).await["exchange"], "kraken");
    assert_eq!(house.json(&format!("{path}&exchange=binance")).await["exchange"], "binance");
    let listed = house.json("/v1/instruments?base=eth").await;
    let active: Vec<&Value> = listed["instruments"].as_array().unwrap().iter().map(|one| &one["active"]).collect();
    assert_eq!(active, [&Value::from(false), &Value::from(true)]);
    list(ExchangeId::Kraken, &[], 2).await;
    assert_eq!(house.json(path).await["exchange"], "binance", "nobody trades it, and it is found all the same");
    house.close().await;
}

#[tokio::test]
async fn the_service_says_how_it_is_doing() {
    let house = House::open().await;
    assert_eq!(house.json("/livez").await, serde_json::json!({"status": "ok"}));
    // Only one exchange has a collector here.
    let silent: Vec<_> = ExchangeId::ALL.into_iter().skip(1).map(ExchangeId::as_str).collect();
    assert_eq!(house.json("/readyz").await, serde_json::json!({"status": "ready", "degraded": silent}));
    let health = house.json("/health").await;
    assert_eq!((&health["status"], &health["version"]), (&"degraded".into(), &"1.2.3".into()));
    assert_eq!(health["exchanges"]["binance"], "live");
    house.close().await;
}

#[tokio::test]
async fn the_service_counts_what_it_does() {
    let house = House::open().await;
    house.json("/v1/ticker?symbol=BTC/USDT").await;
    problem(house.get("/v1/exchanges/nope").await, 404, "unknown_exchange").await;
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text().await.unwrap();
    for (operation, status) in [("getTicker", "2xx"), ("getExchange", "4xx")] {
        let series = format!("candlewick_http_request_seconds_count{{operation=\"{operation}\",status=\"{status}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        assert!(count.is_some_and(|count| count.parse::<u64>().unwrap() >= 1), "{series}: {text}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_plus_in_a_time_is_an_offset() {
    let house = House::open().await;
    let range = "start=1970-01-01T01:01:00+01:00&end=1970-01-01T00:02:00Z";
    let ledger = house.json(&format!("/v1/coverage?symbol=BTC/USDT&{range}")).await;
    assert_eq!(ledger["complete"], false);
    house.close().await;
}

#[tokio::test]
async fn the_document_is_served_in_all_its_forms() {
    let house = House::open().await;
    assert_eq!(house.json("/openapi.json").await, api::openapi_document());
    let yaml = house.get("/openapi.yaml").await;
    assert_eq!(yaml.headers()["content-type"], "application/yaml");
    assert_eq!(yaml.text().await.unwrap(), api::openapi_yaml());
    let docs = house.get("/docs").await;
    assert_eq!(docs.headers()["content-type"], "text/html; charset=utf-8");
    assert!(docs.text().await.unwrap().contains("getHistory"));
    house.close().await;
}

#[test]
fn the_committed_document_is_the_served_one() {
    let committed = include_str!("../../../openapi.json");
    assert!(committed == api::openapi_json(), "run `candlewick openapi > openapi.json`");
}
