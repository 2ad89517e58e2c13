//! Responses of the REST operations.

use super::*;

#[tokio::test]
async fn all_ticker_paths_return_the_same_ticker() {
    let service = TestService::start().await;
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
        let ticker = service.json(path).await;
        assert_eq!((&ticker["exchange"], &ticker["symbol"]), (&"binance".into(), &"BTC/USDT".into()), "{path}");
        assert_eq!((&ticker["last"], &ticker["stale"]), (&67_000.into(), &false.into()), "{path}");
        assert!(ticker["age_ms"].is_u64() && ticker["bid"].is_null(), "{path}");
    }
    let tickers = service.json("/v1/tickers?exchange=binance&symbols=BTC/USDT,X/Y,ETH/USDT").await;
    assert_eq!(tickers["tickers"][0]["last"], 67_000);
    let errors = serde_json::json!([
        {"symbol": "X/Y", "code": "unknown_symbol"},
        {"symbol": "ETH/USDT", "code": "upstream_unavailable"},
    ]);
    assert_eq!(tickers["errors"], errors);
    service.shut_down().await;
}

#[tokio::test]
async fn history_is_paginated_or_streamed_whole() {
    let service = TestService::start().await;
    let end = Interval::M1.floor(service.clock.now());
    let start = Interval::M1.back(end, MINUTES / 2);
    let range = format!("symbol=BTC/USDT&start={}&end={}", start.millis(), end.millis());

    let mut path = format!("/v1/history?{range}&limit=4");
    let mut times = Vec::new();
    loop {
        let response = service.get(&path).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(page["complete"], true);
        times.extend(page["candles"].as_array().unwrap().iter().map(|candle| candle["timestamp"].as_i64().unwrap()));
        match link {
            Some(link) => link.split(['<', '>']).nth(1).unwrap().clone_into(&mut path),
            None => break,
        }
    }
    let expected: Vec<i64> = Interval::M1.open_times(TimeRange::new(start, end)).map(Timestamp::millis).collect();
    assert_eq!(times, expected);

    for (format, media, rows) in [("csv", "text/csv", 16), ("ndjson", "application/x-ndjson", 15)] {
        let response = service.get(&format!("/market/history?{range}&format={format}")).await;
        assert_eq!(response.headers()["content-type"], media);
        assert_eq!(response.headers()["candlewick-complete"], "true");
        assert_eq!(response.headers()["candlewick-simulated"], "false");
        assert_eq!(response.text().await.unwrap().lines().count(), rows, "{format}");
    }
    let rows = service.json(&format!("/history/BTC-USDT?{}&format=array", range.split_once('&').unwrap().1)).await;
    assert_eq!(rows.as_array().map(Vec::len), Some(15));
    assert_eq!(rows[0][0], start.millis());
    service.shut_down().await;
}

#[tokio::test]
async fn matching_etag_returns_not_modified() {
    let service = TestService::start().await;
    let end = Interval::M1.floor(service.clock.now());
    let start = Interval::M1.back(end, 10);
    let path = format!("/v1/history?symbol=BTC/USDT&start={}&end={}", start.millis(), end.millis());
    let first = service.get(&path).await;
    assert_eq!(first.headers()["cache-control"], "public, max-age=60");
    let etag = first.headers()["etag"].clone();
    let request = service.client.get(format!("http://{}{path}", service.address)).header("If-None-Match", etag.clone());
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (304, &etag));
    assert!(response.text().await.unwrap().is_empty());
    assert_eq!(service.get("/v1/history?symbol=BTC/USDT").await.headers()["cache-control"], "no-cache");
    service.shut_down().await;
}

#[tokio::test]
async fn returns_instruments_coverage_and_exchanges() {
    let service = TestService::start().await;
    let page = service.json("/v1/instruments?quote=usdt&limit=1").await;
    assert_eq!(
        (&page["instruments"][0]["symbol"], page["instruments"].as_array().unwrap().len()),
        (&"BTC/USDT".into(), 1)
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = service.json(&format!("/v1/instruments?quote=usdt&limit=1&cursor={cursor}")).await;
    assert_eq!((&rest["instruments"][0]["symbol"], &rest["next_cursor"]), (&"ETH/USDT".into(), &Value::Null));

    let end = Interval::M1.floor(service.clock.now());
    let start = Interval::M1.back(end, 5);
    let range = format!("start={}&end={}", start.millis(), end.millis());
    let coverage = service.json(&format!("/v1/coverage?symbol=BTC/USDT&{range}")).await;
    let ranges = serde_json::json!([{"start": start.millis(), "end": end.millis(), "state": "observed"}]);
    assert_eq!((&coverage["complete"], &coverage["ranges"]), (&true.into(), &ranges));

    let all = service.json("/v1/exchanges").await;
    let ids: Vec<&str> = all["exchanges"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ExchangeId::all().map(ExchangeId::as_str).collect::<Vec<_>>());
    assert_eq!(service.json("/v1/exchanges/binance").await["state"], "live");
    service.shut_down().await;
}

#[tokio::test]
async fn trading_market_is_preferred_over_delisted() {
    let service = TestService::start().await;
    let eth = |exchange| Instrument::new(exchange, "ETH/USDT".parse().unwrap(), "ETHUSDT");
    let put_listing = async |exchange, instruments: &[Instrument], minute| {
        let at = service.clock.now() + Duration::from_mins(minute);
        service.store.put_instruments(exchange, MarketKind::Spot, instruments, at).await.unwrap();
        service.put_state(exchange, Vec::new(), at).await;
    };
    let path = "/v1/history?symbol=ETH/USDT";
    put_listing(ExchangeId::KRAKEN, &[eth(ExchangeId::KRAKEN)], 1).await;
    assert_eq!(service.json(path).await["exchange"], "binance");
    put_listing(ExchangeId::BINANCE, &[], 1).await;
    assert_eq!(service.json(path).await["exchange"], "kraken");
    assert_eq!(service.json(&format!("{path}&exchange=binance")).await["exchange"], "binance");
    let listed = service.json("/v1/instruments?base=eth").await;
    let active: Vec<&Value> = listed["instruments"].as_array().unwrap().iter().map(|one| &one["active"]).collect();
    assert_eq!(active, [&Value::from(false), &Value::from(true)]);
    put_listing(ExchangeId::KRAKEN, &[], 2).await;
    assert_eq!(service.json(path).await["exchange"], "binance", "a market that no exchange trades is still found");
    service.shut_down().await;
}

#[tokio::test]
async fn reports_health_and_readiness() {
    let service = TestService::start().await;
    assert_eq!(service.json("/livez").await, serde_json::json!({"status": "ok"}));
    // Only the first exchange has a state from a collector.
    let degraded: Vec<_> = ExchangeId::all().skip(1).map(ExchangeId::as_str).collect();
    assert_eq!(service.json("/readyz").await, serde_json::json!({"status": "ready", "degraded": degraded}));
    let health = service.json("/health").await;
    assert_eq!((&health["status"], &health["version"]), (&"degraded".into(), &"1.2.3".into()));
    assert_eq!(health["exchanges"]["binance"], "live");
    service.shut_down().await;
}

#[tokio::test]
async fn metrics_count_requests_by_operation_and_status() {
    let service = TestService::start().await;
    service.json("/v1/ticker?symbol=BTC/USDT").await;
    expect_problem(service.get("/v1/exchanges/nope").await, 404, "unknown_exchange").await;
    let metrics = service.get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text().await.unwrap();
    for (operation, status) in [("getTicker", "2xx"), ("getExchange", "4xx")] {
        let series = format!("candlewick_http_request_seconds_count{{operation=\"{operation}\",status=\"{status}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        assert!(count.is_some_and(|count| count.parse::<u64>().unwrap() >= 1), "{series}: {text}");
    }
    service.shut_down().await;
}

#[tokio::test]
async fn unescaped_plus_in_time_is_an_offset() {
    let service = TestService::start().await;
    let range = "start=1970-01-01T01:01:00+01:00&end=1970-01-01T00:02:00Z";
    let coverage = service.json(&format!("/v1/coverage?symbol=BTC/USDT&{range}")).await;
    assert_eq!(coverage["complete"], false);
    service.shut_down().await;
}

#[tokio::test]
async fn openapi_document_is_served_in_all_formats() {
    let service = TestService::start().await;
    assert_eq!(service.json("/openapi.json").await, api::openapi_document());
    let yaml = service.get("/openapi.yaml").await;
    assert_eq!(yaml.headers()["content-type"], "application/yaml");
    assert_eq!(yaml.text().await.unwrap(), api::openapi_yaml());
    let docs = service.get("/docs").await;
    assert_eq!(docs.headers()["content-type"], "text/html; charset=utf-8");
    assert!(docs.text().await.unwrap().contains("getHistory"));
    service.shut_down().await;
}

#[test]
fn committed_openapi_document_is_current() {
    let committed = include_str!("../../../openapi.json");
    assert!(committed == api::openapi_json(), "run `candlewick openapi > openapi.json`");
}
