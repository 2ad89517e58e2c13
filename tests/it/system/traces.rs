//! Traces of the program: exported to a mock trace collector, and to one that is unreachable.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{Interval, Timestamp};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::process::{Process, exchange_urls, merge_env};
use crate::support::{Simulation, wait_until};

/// Span id of the client.
const CALLER: &str = "00f067aa0ba902b7";

/// A mock trace collector that accepts spans at `/v1/traces`. It also replaces an exchange: GET requests fail with 500.
async fn trace_collector() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    server
}

/// The exported spans of a trace so far.
async fn exported_spans(collector: &MockServer, trace: &str) -> Vec<Span> {
    let requests = collector.received_requests().await.unwrap();
    let exports = requests.iter().filter(|request| request.url.path() == "/v1/traces");
    let spans = exports.flat_map(|request| {
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        let export = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        export.resource_spans.into_iter().flat_map(|one| one.scope_spans).flat_map(|one| one.spans)
    });
    spans.filter(|span| hex(&span.trace_id) == trace).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sends a GET request with the trace context of [`CALLER`].
async fn get(url: &str, trace: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).header("traceparent", format!("00-{trace}-{CALLER}-01")).send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn request_is_traced_from_api_to_exchange() {
    let (simulation, collector) = (Simulation::with_speed(1.0).await, trace_collector().await);
    let folder = tempfile::tempdir().unwrap();
    let exchanges = exchange_urls(&simulation.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__EXCHANGES__BYBIT__REST_URL", &collector.uri()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.uri()),
        // Only requests that the client samples are traced.
        ("CANDLEWICK__TELEMETRY__SAMPLE_RATIO", "0"),
    ];
    let exchanges: Vec<_> = exchanges.into_iter().filter(|(name, _)| !name.contains("BYBIT__REST")).collect();
    let mut process = Process::spawn(folder.path(), &[], &merge_env(&own, &exchanges));
    let address = process.address().await;
    process.wait_for_log("ready").await;

    // Older than the history that is fetched at the start, so that it is fetched from the exchange.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let end = Interval::D1.floor(simulation.clock.now()) - Duration::from_hours(72);
    let url = format!(
        "http://{address}/v1/history?exchange=binance&symbol=BTC/USDT&interval=1m&limit=60&end={}",
        Timestamp::millis(end)
    );
    let (status, page) = get(&url, trace).await;
    assert_eq!((status, &page["complete"]), (200, &Value::Bool(true)), "{page}");

    let mut spans = Vec::new();
    wait_until("all spans are exported", async || {
        spans = exported_spans(&collector, trace).await;
        ["getHistory", "store", "answer", "upstream"].iter().all(|name| spans.iter().any(|span| span.name == *name))
    })
    .await;
    let by_id: HashMap<String, &Span> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    let root = spans.iter().find(|span| span.name == "getHistory").unwrap();
    assert_eq!(hex(&root.parent_span_id), CALLER);
    for name in ["store", "answer", "upstream"] {
        for span in spans.iter().filter(|span| span.name == name) {
            let mut ancestor: &Span = span;
            while hex(&ancestor.parent_span_id) != CALLER {
                ancestor = *by_id.get(&hex(&ancestor.parent_span_id)).expect("the parent span is exported");
            }
            assert_eq!(ancestor.span_id, root.span_id, "{name} is a descendant of getHistory");
        }
    }
    let logged = process.log().into_iter().any(|line| line["span"]["trace_id"] == trace || line["level"] == "ERROR");
    assert!(!logged, "a request without errors logs nothing at this level");

    // Requests to exchanges have the trace context.
    let to_bybit = collector.received_requests().await.unwrap();
    let to_bybit = to_bybit.iter().find(|request| request.method == "GET").expect("bybit receives a request");
    assert!(to_bybit.headers.contains_key("traceparent"));

    // The last spans are exported during the shutdown.
    let last = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(get(&format!("http://{address}/v1/exchanges"), last).await.0, 200);
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0));
    assert!(exported_spans(&collector, last).await.iter().any(|span| span.name == "listExchanges"));
}

#[tokio::test]
async fn unreachable_trace_collector_does_not_delay_service() {
    let folder = tempfile::tempdir().unwrap();
    let own = [
        ("CANDLEWICK__DATA", "simulated"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LIMITS__PER_MINUTE", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ];
    let mut process = Process::spawn(folder.path(), &[], &own);
    let address = process.address().await;
    process.wait_for_log("ready").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let lost = "cannot reach the trace collector, spans are lost until it is reachable";
    wait_until("the loss is logged", async || {
        assert_eq!(get(&format!("http://{address}/v1/exchanges"), trace).await.0, 200);
        process.lines().iter().any(|line| line.contains(lost))
    })
    .await;
    // Further losses are not logged again.
    for _ in 0..20 {
        assert_eq!(get(&format!("http://{address}/v1/exchanges"), trace).await.0, 200);
    }
    let clock = Clock::system();
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0));
    assert!(clock.elapsed() < Duration::from_secs(9), "the shutdown took {:?}", clock.elapsed());
    assert_eq!(process.lines().iter().filter(|line| line.contains(lost)).count(), 1);
}
