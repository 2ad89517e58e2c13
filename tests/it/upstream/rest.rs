//! The REST client over loopback. Tests with waits use a faster clock.

use std::sync::Arc;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::exchanges::{RateLimit, RestCall, RestError, RestErrorKind, RestResponse};
use candlewick::model::{ExchangeId, Timestamp};
use candlewick::upstream::{RestClient, UpstreamError};
use futures_util::future::join_all;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::fake::{FakeExchange, profile};

const SCOPES: &[RateLimit] = &[
    RateLimit { name: "rest", limit: 100, window: Duration::from_mins(1), used_header: Some("x-used") },
    RateLimit { name: "other", limit: 1, window: Duration::from_secs(10), used_header: None },
];
const EXCHANGE: ExchangeId = ExchangeId::BINANCE;

fn client(origins: &[String], clock: &Clock) -> Arc<RestClient> {
    RestClient::new(FakeExchange::leak(profile(SCOPES)), origins, clock.clone()).unwrap()
}

/// A call that returns the body as text. The bodies `busy` and `limited` are errors with HTTP 200.
fn call(path: &str) -> RestCall<String> {
    let rejected = |reply: &RestResponse<'_>, _| {
        let text = String::from_utf8_lossy(reply.body);
        (reply.status != 200).then(|| RestError::new(RestErrorKind::Rejected, text))
    };
    RestCall::get(path).scope("rest").weight(10).errors(rejected).read(|body, _| {
        let text = String::from_utf8_lossy(body).into_owned();
        match text.as_str() {
            "busy" => Err(RestError::new(RestErrorKind::Unavailable, text)),
            "limited" => Err(RestError {
                retry_after: Some(Duration::from_secs(500)),
                ..RestError::new(RestErrorKind::RateLimited, "limited")
            }),
            _ => Ok(text),
        }
    })
}

async fn mount(server: &MockServer, at: &str, reply: ResponseTemplate, times: impl Into<Option<u64>>) {
    let mock = Mock::given(method("GET")).and(path(at)).respond_with(reply);
    match times.into() {
        Some(times) => mock.up_to_n_times(times).mount(server).await,
        None => mock.mount(server).await,
    }
}

fn text(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_string(body)
}

async fn request_count(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

/// An origin without a listener.
fn unreachable_origin() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn sends_headers_and_encodes_query() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes"), None).await;
    let client = client(&[server.uri()], &Clock::system());
    let call = RestCall { query: vec![("symbols", r#"["A","B"]"#.to_owned())], ..call("/a") };
    assert_eq!(client.call(&call).await.unwrap(), "yes");
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.query(), Some("symbols=%5B%22A%22%2C%22B%22%5D"));
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("candlewick/"));
    assert!(request.headers["accept-encoding"].to_str().unwrap().contains("gzip"));
    assert_eq!(request.headers["x-wanted"], "yes", "header of the exchange's profile");
}

#[tokio::test]
async fn posts_json_body_and_shares_no_request() {
    let server = MockServer::start().await;
    let answer = Mock::given(method("POST")).and(path("/token")).respond_with(text(200, "yes"));
    answer.mount(&server).await;
    let client = client(&[server.uri()], &Clock::system());
    let call = RestCall::post("/token").query("x", 1).body(r#"{"a":1}"#).scope("rest").read(|body, _| Ok(body.len()));
    assert_eq!(join_all([client.call(&call), client.call(&call)]).await, [Ok(3), Ok(3)]);
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].url.query(), &*requests[0].body), (Some("x=1"), br#"{"a":1}"#.as_slice()));
    assert_eq!(requests[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn transient_errors_are_retried_and_rejections_are_not() {
    let server = MockServer::start().await;
    let client = client(&[server.uri()], &Clock::scaled(20.0));
    for (status, at) in [(500, "/500"), (408, "/408"), (425, "/425")] {
        mount(&server, at, text(status, "no"), 2).await;
        mount(&server, at, text(200, "yes"), None).await;
        let cheap = RestCall { weight: 1, ..call(at) };
        assert_eq!(client.call(&cheap).await.unwrap(), "yes", "{status}");
    }
    let before = request_count(&server).await;
    assert_eq!(before, 9);
    mount(&server, "/400", text(400, "no"), None).await;
    let Err(UpstreamError::ErrorResponse { error, .. }) = client.call(&call("/400")).await else {
        panic!("not rejected")
    };
    assert_eq!((error.kind, error.message.as_str()), (RestErrorKind::Rejected, "no"));
    assert_eq!(request_count(&server).await, before + 1);
}

#[tokio::test]
async fn persistent_server_error_is_returned_after_retries() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(503, "no"), None).await;
    let client = client(&[server.uri()], &Clock::scaled(20.0));
    let error = client.call(&call("/a")).await.unwrap_err();
    assert_eq!(error, UpstreamError::Unavailable { exchange: EXCHANGE, status: 503, retry_at: None });
    assert!(error.is_transient());
    assert_eq!(request_count(&server).await, 3);
}

#[tokio::test]
async fn short_retry_after_is_awaited_and_long_one_is_returned() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(503, "no").insert_header("retry-after", "8"), 1).await;
    mount(&server, "/a", text(200, "yes"), None).await;
    mount(&server, "/b", text(503, "no").insert_header("retry-after", "600"), None).await;
    let clock = Clock::scaled(20.0);
    let client = client(&[server.uri()], &clock);
    let before = clock.now();
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    assert!(clock.now().since(before) >= Duration::from_secs(8));

    let before = clock.now();
    let error = client.call(&call("/b")).await.unwrap_err();
    assert!(error.retry_at().unwrap() >= before + Duration::from_mins(10));
    assert_eq!(request_count(&server).await, 3);
}

#[tokio::test]
async fn ban_defers_all_calls_of_its_scope() {
    for (status, retry_after, secs) in [(429, Some("100"), 100), (418, None, 120)] {
        let server = MockServer::start().await;
        let reply = text(status, "go away");
        let reply = if let Some(secs) = retry_after { reply.insert_header("retry-after", secs) } else { reply };
        mount(&server, "/a", reply, 1).await;
        mount(&server, "/a", text(200, "yes"), None).await;
        mount(&server, "/o", text(200, "yes"), None).await;
        let clock = Clock::scaled(50.0);
        let client = client(&[server.uri()], &clock);
        let before = clock.now();
        let error = client.call(&call("/a")).await.unwrap_err();
        let until = error.retry_at().unwrap();
        let pause = until.since(before);
        assert!(pause >= Duration::from_secs(secs) && pause < Duration::from_secs(secs + 600), "{pause:?}");

        assert!(matches!(client.call(&call("/a")).await, Err(UpstreamError::Deferred { .. })), "{status}");
        assert_eq!(request_count(&server).await, 1, "a deferred call sends no request");
        assert!(client.budgets()[0].open_at.is_some() && client.budgets()[1].open_at.is_none());
        client.call(&RestCall { scope: "other", weight: 1, ..call("/o") }).await.unwrap();

        clock.sleep_until(until + Duration::from_secs(1)).await;
        assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    }
}

#[tokio::test]
async fn rate_limit_with_http_200_opens_circuit_breaker() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "limited"), None).await;
    mount(&server, "/b", text(200, "busy"), None).await;
    let clock = Clock::system();
    let client = client(&[server.uri()], &clock);
    let Err(busy) = client.call(&call("/b")).await else { panic!("no error") };
    assert!(busy.is_transient());
    let Err(UpstreamError::Deferred { until, .. }) = client.call(&call("/a")).await else { panic!("not deferred") };
    assert!(until.since(clock.now()) > Duration::from_secs(490));
    assert!(matches!(client.call(&call("/b")).await, Err(UpstreamError::Deferred { .. })));
    assert_eq!(request_count(&server).await, 2);
}

#[tokio::test]
async fn used_weight_header_counts_against_budget() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes").insert_header("x-used", "85"), None).await;
    let client = client(&[server.uri()], &Clock::system());
    client.call(&call("/a")).await.unwrap();
    let budget = &client.budgets()[0];
    assert_eq!((&*budget.scope, budget.used, budget.limit, budget.open_at), ("rest", 85, 100, None));
    let Err(UpstreamError::Deferred { until, .. }) = client.call(&call("/a")).await else { panic!("not deferred") };
    assert!(until > Timestamp::EPOCH);
    assert_eq!(request_count(&server).await, 1);
}

#[tokio::test]
async fn calls_wait_for_budget() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes"), None).await;
    mount(&server, "/b", text(200, "yes"), None).await;
    let clock = Clock::scaled(20.0);
    let client = client(&[server.uri()], &clock);
    let other = |path| RestCall { scope: "other", weight: 1, ..call(path) };
    let before = clock.now();
    client.call(&other("/a")).await.unwrap();
    client.call(&other("/b")).await.unwrap();
    assert!(clock.now().since(before) >= Duration::from_secs(10));
}

#[tokio::test]
async fn identical_calls_share_one_request() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes").set_delay(Duration::from_millis(200)), None).await;
    let client = client(&[server.uri()], &Clock::system());
    let leader = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.call(&call("/a")).await }
    });
    while client.budgets()[0].used == 0 {
        tokio::task::yield_now().await;
    }
    let calls: Vec<_> = (0..20).map(|_| call("/a")).collect();
    let others = join_all(calls.iter().map(|call| client.call(call)));
    leader.abort();
    assert!(others.await.into_iter().all(|result| result.unwrap() == "yes"));
    assert_eq!(request_count(&server).await, 1);
    assert_eq!(client.budgets()[0].used, 10);
    client.call(&call("/a")).await.unwrap();
    assert_eq!(request_count(&server).await, 2, "a later call is a new request");
}

#[tokio::test]
async fn working_origin_is_reused() {
    let (broken, good) = (MockServer::start().await, MockServer::start().await);
    mount(&broken, "/a", text(502, "no"), None).await;
    mount(&good, "/a", text(200, "yes"), None).await;
    let client = client(&[unreachable_origin(), broken.uri(), good.uri()], &Clock::system());
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    assert_eq!((request_count(&broken).await, request_count(&good).await), (1, 2));
}

#[tokio::test]
async fn region_blocked_origins_are_skipped_and_reported() {
    let (blocked, blocked_later) = (MockServer::start().await, MockServer::start().await);
    mount(&blocked, "/a", text(451, "not for you"), None).await;
    mount(&blocked_later, "/a", text(200, "yes"), 1).await;
    mount(&blocked_later, "/a", text(403, "configured to block access from your country"), None).await;
    let client = client(&[blocked.uri(), blocked_later.uri()], &Clock::system());
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    for _ in 0..2 {
        let error = client.call(&call("/a")).await.unwrap_err();
        let message = "Binance is closed to this region (HTTP 451): run candlewick in another region, or set \
                        exchanges.binance.rest_url and ws_url to origins that serve this one";
        assert_eq!(error.to_string(), message);
        assert!(!error.is_transient());
    }
    assert_eq!((request_count(&blocked).await, request_count(&blocked_later).await), (1, 2));
}

#[tokio::test]
async fn unreachable_and_silent_origins_return_errors() {
    let clock = Clock::scaled(100.0);
    let error = client(&[unreachable_origin()], &clock).call(&call("/a")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().starts_with("Binance cannot be reached: "), "{error}");
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "late").set_delay(Duration::from_secs(30)), None).await;
    let error = client(&[server.uri()], &clock).call(&call("/a")).await.unwrap_err();
    assert_eq!(error, UpstreamError::TimedOut { exchange: EXCHANGE });
}

#[tokio::test]
async fn probe_succeeds_with_first_responding_origin() {
    let server = MockServer::start().await;
    mount(&server, "/ping", text(200, "{}"), 1).await;
    mount(&server, "/ping", text(500, "no"), None).await;
    let client_of_two = client(&[unreachable_origin(), server.uri()], &Clock::system());
    client_of_two.probe().await.unwrap();
    assert!(client_of_two.probe().await.is_err());
    assert_eq!(request_count(&server).await, 2);
    // An origin that never responds does not delay the one that does.
    let (silent, responding) = (MockServer::start().await, MockServer::start().await);
    mount(&silent, "/ping", text(200, "late").set_delay(Duration::from_hours(1)), None).await;
    mount(&responding, "/ping", text(200, "{}"), None).await;
    client(&[silent.uri(), responding.uri()], &Clock::manual(Timestamp::EPOCH)).probe().await.unwrap();
    assert!(client(&[unreachable_origin()], &Clock::system()).probe().await.is_err());
}

#[test]
fn rejects_invalid_origins() {
    for origins in [&[][..], &["api.example.com".to_owned()], &["https://a.example/path".to_owned()]] {
        let built = RestClient::new(FakeExchange::leak(profile(SCOPES)), origins, Clock::system());
        assert!(matches!(built.map(drop), Err(UpstreamError::Setup(_))), "{origins:?}");
    }
}
