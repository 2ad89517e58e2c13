//! Markets whose symbol has a settlement asset: REST, legacy paths and streams.

use candlewick::model::Contract;
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::sockets::next;
use super::*;

const PERPETUAL: &str = "BTC/USDT:USDT";
const FUTURE: &str = "BTC/USDT:USDT-270326";

/// Adds two contracts with the native id of the spot market, and a candle of the perpetual one.
async fn list_contracts(service: &TestService) -> Timestamp {
    let contract = |symbol: &str, expiry| Instrument {
        contract: Some(Contract { size: Decimal::new(1, 3), expiry }),
        min_notional: Some(Decimal::from(5)),
        ..Instrument::new(ExchangeId::BINANCE, symbol.parse().unwrap(), "BTCUSDT")
    };
    let expiry = Timestamp::parse("2027-03-26T08:00:00Z").unwrap();
    let contracts = [contract(PERPETUAL, None), contract(FUTURE, Some(expiry))];
    let at = service.clock.now() + Duration::from_mins(1);
    service.store.put_instruments(ExchangeId::BINANCE, MarketKind::Linear, &contracts, at).await.unwrap();
    service.put_state(ExchangeId::BINANCE, vec![btc(), PERPETUAL.parse().unwrap()], at).await;
    let open = Interval::M1.back(Interval::M1.floor(service.clock.now()), 5);
    let range = TimeRange::new(open, Interval::M1.next(open));
    let claims = vec![CoveredRange { range, state: CoverageState::Fetched }];
    let series = Series { exchange: ExchangeId::BINANCE, symbol: PERPETUAL.parse().unwrap(), interval: Interval::M1 };
    service.store.write(&[SeriesWrite { series, candles: vec![candle(open)], claims }]).await.unwrap();
    open
}

#[tokio::test]
async fn instruments_of_all_kinds_are_listed_and_filtered() {
    let service = TestService::start().await;
    list_contracts(&service).await;
    let symbols = async |query: &str| {
        let mut symbols = Vec::new();
        let mut path = format!("/v1/instruments?exchange=binance&limit=1&{query}");
        loop {
            let page = service.json(&path).await;
            for instrument in page["instruments"].as_array().unwrap() {
                symbols.push(instrument["symbol"].as_str().unwrap().to_owned());
            }
            let Some(cursor) = page["next_cursor"].as_str() else { return symbols };
            path = format!("/v1/instruments?exchange=binance&limit=1&{query}&cursor={cursor}");
        }
    };
    assert_eq!(symbols("q=usdt").await, ["BTC/USDT", PERPETUAL, FUTURE, "ETH/USDT"]);
    assert_eq!(symbols("kind=spot").await, ["BTC/USDT", "ETH/USDT"]);
    assert_eq!(symbols("kind=LINEAR").await, [PERPETUAL, FUTURE]);
    assert_eq!(symbols("kind=inverse").await, [""; 0]);
    let page = service.json("/v1/instruments?kind=linear&q=270326").await;
    let future = &page["instruments"][0];
    let expected = json!({
        "exchange": "binance", "symbol": FUTURE, "native": "BTCUSDT", "kind": "linear", "base": "BTC", "quote": "USDT",
        "settle": "USDT", "price_step": null, "amount_step": null, "min_notional": 5, "contract_size": 0.001,
        "expiry": 1_806_048_000_000_i64, "active": true, "status": "trading",
    });
    assert_eq!(*future, expected);
    let problem =
        expect_problem(service.get("/v1/instruments?kind=option&limit=0").await, 400, "invalid_parameter").await;
    let names: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|one| &one["parameter"]).collect();
    assert_eq!(names, ["limit", "kind"]);
    service.shut_down().await;
}

#[tokio::test]
async fn every_path_finds_contracts() {
    let service = TestService::start().await;
    let open = list_contracts(&service).await;
    let range = format!("start={}&end={}", open.millis(), Interval::M1.next(open).millis());
    for path in [
        format!("/v1/history?exchange=binance&symbol=BTC/USDT:USDT&{range}"),
        format!("/v1/history?exchange=binance&symbol=btc_usdt%3Ausdt&{range}"),
        format!("/history/BTC-USDT:USDT?{range}"),
        format!("/market/history?symbol=BTC-USDT:USDT&{range}"),
    ] {
        let page = service.json(&path).await;
        assert_eq!((&page["symbol"], page["candles"].as_array().unwrap().len()), (&PERPETUAL.into(), 1), "{path}");
    }
    let coverage = service.json(&format!("/v1/coverage?symbol=BTC-USDT:USDT&{range}")).await;
    assert_eq!(coverage["ranges"][0]["state"], "fetched");
    assert_eq!(service.json("/v1/ticker?symbol=BTCUSDT").await["symbol"], "BTC/USDT", "the id of the spot market");
    for (symbol, reason) in
        [("BTC/USDT:USDT-270326-100000-C", "options"), ("BTC/USDT:USDT-270230", "YYMMDD"), ("ETH/USD:BTC", "settle")]
    {
        let problem = expect_problem(
            service.get(&format!("/v1/ticker?exchange=binance&symbol={symbol}")).await,
            404,
            "unknown_symbol",
        )
        .await;
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    service.shut_down().await;
}

#[tokio::test]
async fn contracts_are_streamed() {
    let service = TestService::start().await;
    list_contracts(&service).await;
    let mut socket = service.connect("/v1/stream").await;
    let request = json!({"op": "subscribe", "channel": "candles", "symbols": ["btc-usdt:usdt"], "snapshot": 10});
    socket.send(Message::text(request.to_string())).await.unwrap();
    let topic = "candles:binance:BTC/USDT:USDT:1m";
    let subscribed = next(&mut socket).await;
    assert_eq!((&subscribed["topics"], &subscribed["rejected"]), (&json!([topic]), &json!([])));
    let snapshot = next(&mut socket).await;
    assert_eq!((&snapshot["type"], &snapshot["data"][0]["symbol"]), (&"snapshot".into(), &PERPETUAL.into()));
    let event = BusEvent { epoch: "1.e".into(), seq: 7, kind: BusEventKind::Data(Bytes::from_static(b"{\"n\":7}")) };
    service.cache.bus.publish(&topic.parse().unwrap(), event).await.unwrap();
    let candle = next(&mut socket).await;
    assert_eq!((&candle["type"], &candle["topic"], &candle["seq"]), (&"candle".into(), &topic.into(), &7.into()));
    socket.send(Message::text(json!({"op": "unsubscribe", "topics": [topic]}).to_string())).await.unwrap();
    let unsubscribed = next(&mut socket).await;
    assert_eq!((&unsubscribed["type"], &unsubscribed["topics"]), (&"unsubscribed".into(), &json!([topic])));
    drop(socket);
    service.shut_down().await;
}
