//! `/v1/events`: server-sent events.

use serde_json::json;

use super::*;

/// A client of `/v1/events`.
struct Events {
    response: Response,
    buffer: String,
}

/// One parsed event.
#[derive(Debug, PartialEq)]
struct Event {
    id: Option<String>,
    data: Value,
}

impl TestService {
    async fn events(&self, query: &str, last_event_id: Option<&str>) -> Events {
        let mut request = self.client.get(format!("http://{}/v1/events?{query}", self.address));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Events { response, buffer: String::new() }
    }

    async fn publish_trade(&self, seq: u64) {
        let kind = BusEventKind::Data(Bytes::from(format!("{{\"n\":{seq}}}")));
        let event = BusEvent { epoch: "1.e".into(), seq, kind };
        self.cache.bus.publish(&"trades:binance:BTC/USDT".parse().unwrap(), event).await.unwrap();
    }
}

impl Events {
    /// The next event or comment as text.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(block);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream continues");
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
async fn last_event_id_resumes_all_topics() {
    let service = TestService::start().await;
    let mut events = service.events(&format!("{TOPICS}&snapshot=0"), None).await;
    let status = events.next().await;
    assert_eq!((&status.data["type"], &status.data["state"], &status.id), (&json!("status"), &json!("live"), &None));
    service.publish_ticker(2, 67_001).await;
    let ticker = events.next().await;
    assert_eq!((&ticker.data["type"], &ticker.data["data"]["last"]), (&json!("ticker"), &json!(67_001)));
    assert_eq!(ticker.id.as_deref(), Some("1.e.2,-,-"));
    service.publish_trade(1).await;
    let trade = events.next().await;
    assert_eq!((&trade.data["type"], &trade.data["data"]["n"]), (&json!("trade"), &json!(1)));
    assert_eq!(trade.id.as_deref(), Some("1.e.2,1.e.1,-"));
    drop(events);
    service.publish_trade(2).await;
    service.publish_ticker(3, 67_002).await;
    let mut resumed = service.events(TOPICS, trade.id.as_deref()).await;
    let mut received = [resumed.next().await, resumed.next().await, resumed.next().await].map(|event| event.data);
    received.sort_by_key(|data| data["type"].to_string());
    assert_eq!(received[0]["type"], "status");
    assert_eq!((&received[1]["type"], &received[1]["data"]["last"]), (&json!("ticker"), &json!(67_002)));
    assert_eq!((&received[2]["type"], &received[2]["seq"]), (&json!("trade"), &json!(2)));
    drop(resumed);
    service.shut_down().await;
}

#[tokio::test]
async fn stream_starts_with_snapshots_and_sends_heartbeat_comments() {
    let service = TestService::start().await;
    let mut events =
        service.events("topics=ticker:binance:BTC/USDT,candles:binance:BTC/USDT:1m&snapshot=3", None).await;
    let mut snapshots = [events.next().await.data, events.next().await.data];
    snapshots.sort_by_key(|data| data["topic"].to_string());
    assert_eq!(snapshots[0]["data"].as_array().unwrap().len(), 3);
    assert_eq!(snapshots[1]["data"][0]["last"], 67_000);
    assert_eq!(events.block().await.as_deref(), Some(": heartbeat"));
    service.lifecycle.drain();
    assert_eq!(events.next().await.data, json!({"type": "shutdown", "in_ms": 200}));
    while events.block().await.is_some() {}
    service.shut_down().await;
}

#[tokio::test]
async fn rejects_invalid_event_requests() {
    let service = TestService::start().await;
    let too_many = (0..33).map(|n| format!("ticker:binance:C{n}/X")).collect::<Vec<_>>().join(",");
    for (query, status, code) in [
        (String::new(), 400, "invalid_parameter"),
        ("?topics=".to_owned(), 400, "invalid_parameter"),
        ("?topics=book:binance:BTC/USDT".to_owned(), 400, "invalid_parameter"),
        ("?topics=status:nope".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT,ticker:binance:BTC/USDT".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT&snapshot=1001".to_owned(), 400, "invalid_parameter"),
        ("?topics=ticker:binance:BTC/USDT&x=1".to_owned(), 400, "invalid_parameter"),
        (format!("?topics={too_many}"), 400, "invalid_parameter"),
        ("?topics=ticker:binance:X/Y".to_owned(), 404, "unknown_symbol"),
        ("?topics=candles:binance:BTC/USDT:3d".to_owned(), 404, "unsupported_interval"),
        ("?topics=ticker:kraken:BTC/USD".to_owned(), 503, "not_ready"),
    ] {
        expect_problem(service.get(&format!("/v1/events{query}")).await, status, code).await;
    }
    let request = service.client.get(format!("http://{}/v1/events?topics=ticker:binance:BTC/USDT", service.address));
    expect_problem(request.header("Last-Event-ID", "x,y").send().await.unwrap(), 400, "invalid_parameter").await;
    service.shut_down().await;
}

#[tokio::test]
async fn stalled_client_releases_its_permit() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig {
        shutdown_notice: Duration::from_millis(100),
        stall_timeout: Duration::from_millis(200),
        max_sockets: 1,
        ..ApiConfig::default()
    };
    let service = TestService::with_store(store, config).await;
    let path = "/v1/events?topics=trades:binance:BTC/USDT&snapshot=0";
    let mut stalled = tokio::net::TcpStream::connect(service.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stalled, request.as_bytes()).await.unwrap();
    crate::support::wait_until("the stalled client has the only permit", async || {
        service.get(path).await.status() == 503
    })
    .await;
    let filler = "x".repeat(20_000);
    let mut seq = 0;
    crate::support::wait_until("the permit is free", async || {
        for _ in 0..100 {
            seq += 1;
            let kind = BusEventKind::Data(Bytes::from(format!("{{\"f\":\"{filler}\"}}")));
            let event = BusEvent { epoch: "1.e".into(), seq, kind };
            service.cache.bus.publish(&"trades:binance:BTC/USDT".parse().unwrap(), event).await.unwrap();
        }
        service.get(path).await.status() == 200
    })
    .await;
    service.shut_down().await;
}
