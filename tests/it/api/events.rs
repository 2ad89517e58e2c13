//! `/v1/events`, event by event.

use serde_json::json;

use super::*;

/// A client of `/v1/events`.
struct Events {
    response: Response,
    text: String,
}

/// One event.
#[derive(Debug, PartialEq)]
struct Event {
    id: Option<String>,
    data: Value,
}

impl House {
    async fn events(&self, query: &str, last: Option<&str>) -> Events {
        let mut request = self.client.get(format!("http://{}/v1/events?{query}", self.address));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Events { response, text: String::new() }
    }

    async fn trade(&self, seq: u64) {
        let kind = BusEventKind::Data(Bytes::from(format!("{{\"n\":{seq}}}")));
        let event = BusEvent { epoch: "1.e".into(), seq, kind };
        self.cache.bus.publish(&"trades:binance:BTC/USDT".parse().unwrap(), event).await.unwrap();
    }
}

impl Events {
    /// The next block, a comment as it is.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if block.starts_with(':') {
                continue;
            }
            let mut event = Event { id: None, data: Value::Null };
            for line in block.lines() {
                match line.split_once(": ").unwrap() {
                    ("id", id) => event.id = Some(id.to_owned()),
                    ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
            return event;
        }
    }
}

const TOPICS: &str = "topics=ticker:binance:BTC/USDT,trades:binance:BTC/USDT,status:binance";

#[tokio::test]
async fn events_are_the_frames_of_the_socket_with_an_id_that_resumes_all_topics() {
    let house = House::open().await;
    let mut events = house.events(&format!("{TOPICS}&snapshot=0"), None).await;
    let status = events.next().await;
    assert_eq!((&status.data["type"], &status.data["state"], &status.id), (&json!("status"), &json!("live"), &None));
    house.put_ticker(2, 67_001).await;
    let ticker = events.next().await;
    assert_eq!((&ticker.data["type"], &ticker.data["data"]["last"]), (&json!("ticker"), &json!(67_001)));
    assert_eq!(ticker.id.as_deref(), Some("1.e.2,-,-"));
    house.trade(1).await;
    let trade = events.next().await;
    assert_eq!((&trade.data["type"], &trade.data["data"]["n"]), (&json!("trade"), &json!(1)));
    assert_eq!(trade.id.as_deref(), Some("1.e.2,1.e.1,-"));
    drop(events);
    house.trade(2).await;
    house.put_ticker(3, 67_002).await;
    let mut back = house.events(TOPICS, trade.id.as_deref()).await;
    let mut told = [back.next().await, back.next().await, back.next().await].map(|event| event.data);
    told.sort_by_key(|data| data["type"].to_string());
    assert_eq!(told[0]["type"], "status");
    assert_eq!((&told[1]["type"], &told[1]["data"]["last"]), (&json!("ticker"), &json!(67_002)));
    assert_eq!((&told[2]["type"], &told[2]["seq"]), (&json!("trade"), &json!(2)));
    drop(back);
    house.close().await;
}

#[tokio::test]
async fn a_stream_begins_with_snapshots_and_has_comments_where_nothing_happens() {
    let house = House::open().await;
    let mut events = house.events("topics=ticker:binance:BTC/USDT,candles:binance:BTC/USDT:1m&snapshot=3", None).await;
    let mut snapshots = [events.next().await.data, events.next().await.data];
    snapshots.sort_by_key(|data| data["topic"].to_string());
    assert_eq!(snapshots[0]["data"].as_array().unwrap().len(), 3);
    assert_eq!(snapshots[1]["data"][0]["last"], 67_000);
    assert_eq!(events.block().await.as_deref(), Some(": heartbeat"));
    house.life.drain();
    assert_eq!(events.next().await.data, json!({"type": "shutdown", "in_ms": 200}));
    while events.block().await.is_some() {}
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_streamed_is_a_problem() {
    let house = House::open().await;
    let many = (0..33).map(|n| format!("ticker:binance:C{n}/X")).collect::<Vec<_>>().join(",");
    for (query, status, code) in [
        (String::new(), 400, "invalid_parameter"),
        ("?topics=".to_owned(), 400, "invalid_parameter"),
        ("?topics=book:binance:BTC/USDT".to_owned(), 400, "invalid_parameter"),
        ("?topics=status:nope".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT,ticker:binance:BTC/USDT".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT&snapshot=1001".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT&x=1".to_owned(), 400, "invalid_parameter"),
        (format!("?topics={many}"), 400, "invalid_parameter"),
        ("?topics=ticker:binance:X/Y".to_owned(), 404, "unknown_symbol"),
        ("?topics=candles:binance:BTC/USDT:3d".to_owned(), 404, "unsupported_interval"),
        ("?topics=ticker:kraken:BTC/USD".to_owned(), 503, "not_ready"),
    ] {
        problem(house.get(&format!("/v1/events{query}")).await, status, code).await;
    }
    let bad_id = house.client.get(format!("http://{}/v1/events?topics=ticker:binance:BTC/USDT", house.address));
    problem(bad_id.header("Last-Event-ID", "x,y").send().await.unwrap(), 400, "invalid_parameter").await;
    house.close().await;
}

#[tokio::test]
async fn who_takes_nothing_does_not_hold_a_seat_for_ever() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig {
        notice: Duration::from_millis(100),
        patience: Duration::from_millis(200),
        max_sockets: 1,
        ..ApiConfig::default()
    };
    let house = House::with(store, config).await;
    let path = "/v1/events?topics=trades:binance:BTC/USDT&snapshot=0";
    let mut stuck = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stuck, request.as_bytes()).await.unwrap();
    crate::support::until("it has the seat", async || house.get(path).await.status() == 503).await;
    let filler = "x".repeat(20_000);
    let mut seq = 0;
    crate::support::until("the seat is free", async || {
        for _ in 0..100 {
            seq += 1;
            let kind = BusEventKind::Data(Bytes::from(format!("{{\"f\":\"{filler}\"}}")));
            let event = BusEvent { epoch: "1.e".into(), seq, kind };
            house.cache.bus.publish(&"trades:binance:BTC/USDT".parse().unwrap(), event).await.unwrap();
        }
        house.get(path).await.status() == 200
    })
    .await;
    house.close().await;
}
