//! Traces of the program as a process: to a collector of the test's own, and to one that is not there.

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

use crate::support::process::{Process, all_exchanges_at, with};
use crate::support::{World, until};

const CALLER: &str = "00f067aa0ba902b7";

/// Takes spans at `/v1/traces`, and stands for an exchange that is never well.
async fn receiver() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    server
}

/// The spans of a trace that have arrived.
async fn arrived(receiver: &MockServer, trace: &str) -> Vec<Span> {
    let requests = receiver.received_requests().await.unwrap();
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

async fn ask(url: &str, trace: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).header("traceparent", format!("00-{trace}-{CALLER}-01")).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_question_is_traced_from_the_door_to_the_exchange_and_back() {
    let (world, receiver, folder) = (World::paced(1.0).await, receiver().await, tempfile::tempdir().unwrap());
    let exchanges = all_exchanges_at(&world.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__EXCHANGES__BYBIT__REST_URL", &receiver.uri()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.uri()),
        // Only what the caller traces.
        ("CANDLEWICK__TELEMETRY__SAMPLE_RATIO", "0"),
    ];
    let exchanges: Vec<_> = exchanges.into_iter().filter(|(name, _)| !name.contains("BYBIT__REST")).collect();
    let mut process = Process::spawn(folder.path(), &[], &with(&own, &exchanges));
    let address = process.address().await;
    process.logged("ready").await;

    // Long before what is fetched at the start: only the exchange knows.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let end = Interval::D1.floor(world.clock.now()) - Duration::from_hours(72);
    let url = format!(
        "http://{address}/v1/history?exchange=binance&symbol=BTC/USDT&interval=1m&limit=60&end={}",
        Timestamp::millis(end)
    );
    let (status, page) = ask(&url, trace).await;
    assert_eq!((status, &page["complete"]), (200, &Value::Bool(true)), "{page}");

    let mut spans = Vec::new();
    until("the whole way has arrived", async || {
        spans = arrived(&receiver, trace).await;
        ["getHistory", "store", "answer", "upstream"].iter().all(|name| spans.iter().any(|span| span.name == *name))
    })
    .await;
    let by_id: HashMap<String, &Span> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    let door = spans.iter().find(|span| span.name == "getHistory").unwrap();
    assert_eq!(hex(&door.parent_span_id), CALLER);
    for name in ["store", "answer", "upstream"] {
        for span in spans.iter().filter(|span| span.name == name) {
            let mut above: &Span = span;
            while hex(&above.parent_span_id) != CALLER {
                above = *by_id.get(&hex(&above.parent_span_id)).expect("the span above has arrived");
            }
            assert_eq!(above.span_id, door.span_id, "{name} is below the door");
        }
    }
    let logged = process.log().into_iter().any(|line| line["span"]["trace_id"] == trace || line["level"] == "ERROR");
    assert!(!logged, "nothing went wrong, so at this level nothing is said");

    // Whoever is asked is told whose question it is.
    let to_bybit = receiver.received_requests().await.unwrap();
    let to_bybit = to_bybit.iter().find(|request| request.method == "GET").expect("bybit is asked");
    assert!(to_bybit.headers.contains_key("traceparent"));

    // What happened last is sent at the end.
    let last = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(ask(&format!("http://{address}/v1/exchanges"), last).await.0, 200);
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    assert!(arrived(&receiver, last).await.iter().any(|span| span.name == "listExchanges"));
}

#[tokio::test]
async fn a_collector_of_traces_that_is_away_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let own = [
        ("CANDLEWICK__DATA", "simulated"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LIMITS__PER_MINUTE", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ];
    let mut process = Process::spawn(folder.path(), &[], &own);
    let address = process.address().await;
    process.logged("ready").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let lost = "the collector of traces does not answer: traces are lost until it does";
    until("the loss is told", async || {
        assert_eq!(ask(&format!("http://{address}/v1/exchanges"), trace).await.0, 200);
        process.lines().iter().any(|line| line.contains(lost))
    })
    .await;
    // More of them are lost; that is told once.
    for _ in 0..20 {
        assert_eq!(ask(&format!("http://{address}/v1/exchanges"), trace).await.0, 200);
    }
    let begun = Clock::system();
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(9), "it is not waited for: {:?}", begun.elapsed());
    assert_eq!(process.lines().iter().filter(|line| line.contains(lost)).count(), 1);
}
