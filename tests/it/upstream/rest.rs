//! The REST client on loopback, where waits are involved on a clock that runs faster.

use std::sync::Arc;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::exchanges::{Reply, ReplyError, ReplyErrorKind, RestCall, Scope};
use candlewick::model::{ExchangeId, Timestamp};
use candlewick::upstream::{RestClient, UpstreamError};
use futures_util::future::join_all;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::fake::{Fake, profile};

const SCOPES: &[Scope] = &[
    Scope { name: "rest", limit: 100, window: Duration::from_mins(1), used_header: Some("x-used") },
    Scope { name: "other", limit: 1, window: Duration::from_secs(10), used_header: None },
];
const EXCHANGE: ExchangeId = ExchangeId::Binance;

fn client(origins: &[String], clock: &Clock) -> Arc<RestClient> {
    RestClient::new(Fake::leak(profile(SCOPES)), origins, clock.clone()).unwrap()
}

/// A call whose answer is the body's text; `busy` and `limited` are errors that come with HTTP 200.
fn call(path: &str) -> RestCall<String> {
    RestCall {
        path: path.to_owned(),
        query: Vec::new(),
        scope: "rest",
        weight: 10,
        parse: Arc::new(|reply: &Reply<'_>, _| {
            let text = String::from_utf8_lossy(reply.body).into_owned();
            let error = |kind| Err(ReplyError::new(kind, text.clone()));
            match (reply.status, text.as_str()) {
                (200, "busy") => error(ReplyErrorKind::Unavailable),
                (200, "limited") => Err(ReplyError {
                    retry_after: Some(Duration::from_secs(500)),
                    ..ReplyError::new(ReplyErrorKind::RateLimited, "limited")
                }),
                (200, _) => Ok(text),
                _ => error(ReplyErrorKind::Refused),
            }
        }),
    }
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

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

/// An origin that nobody listens at.
fn dark() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn it_introduces_itself_and_encodes_the_query() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes"), None).await;
    let client = client(&[server.uri()], &Clock::system());
    let asking = RestCall { query: vec![("symbols", r#"["A","B"]"#.to_owned())], ..call("/a") };
    assert_eq!(client.call(&asking).await.unwrap(), "yes");
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.query(), Some("symbols=%5B%22A%22%2C%22B%22%5D"));
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("candlewick/"));
    assert!(request.headers["accept-encoding"].to_str().unwrap().contains("gzip"));
    assert_eq!(request.headers["x-wanted"], "yes", "what the exchange's profile wants");
}

#[tokio::test]
async fn what_fails_for_the_moment_is_tried_again_and_what_is_refused_is_not() {
    let server = MockServer::start().await;
    let client = client(&[server.uri()], &Clock::scaled(20.0));
    for (status, at) in [(500, "/500"), (408, "/408"), (425, "/425")] {
        mount(&server, at, text(status, "no"), 2).await;
        mount(&server, at, text(200, "yes"), None).await;
        let cheap = RestCall { weight: 1, ..call(at) };
        assert_eq!(client.call(&cheap).await.unwrap(), "yes", "{status}");
    }
    let before = asked(&server).await;
    assert_eq!(before, 9);
    mount(&server, "/400", text(400, "no"), None).await;
    let Err(UpstreamError::Reply { error, .. }) = client.call(&call("/400")).await else { panic!("no refusal") };
    assert_eq!((error.kind, error.message.as_str()), (ReplyErrorKind::Refused, "no"));
    assert_eq!(asked(&server).await, before + 1);
}

#[tokio::test]
async fn trouble_that_stays_is_told_after_a_few_tries() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(503, "no"), None).await;
    let client = client(&[server.uri()], &Clock::scaled(20.0));
    let error = client.call(&call("/a")).await.unwrap_err();
    assert_eq!(error, UpstreamError::Trouble { exchange: EXCHANGE, status: 503, retry_at: None });
    assert!(error.is_transient());
    assert_eq!(asked(&server).await, 3);
}

#[tokio::test]
async fn a_retry_comes_when_the_exchange_says_and_a_long_wait_is_left_to_the_caller() {
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
    assert_eq!(asked(&server).await, 3);
}

#[tokio::test]
async fn a_ban_holds_all_calls_of_its_scope_back_until_the_named_time() {
    for (status, named, secs) in [(429, Some("100"), 100), (418, None, 120)] {
        let server = MockServer::start().await;
        let reply = text(status, "go away");
        let reply = if let Some(named) = named { reply.insert_header("retry-after", named) } else { reply };
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

        assert!(matches!(client.call(&call("/a")).await, Err(UpstreamError::HeldBack { .. })), "{status}");
        assert_eq!(asked(&server).await, 1, "it fails without asking");
        assert!(client.budgets()[0].open_at.is_some() && client.budgets()[1].open_at.is_none());
        client.call(&RestCall { scope: "other", weight: 1, ..call("/o") }).await.unwrap();

        clock.sleep_until(until + Duration::from_secs(1)).await;
        assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    }
}

#[tokio::test]
async fn a_limit_told_with_http_200_opens_the_breaker_too() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "limited"), None).await;
    mount(&server, "/b", text(200, "busy"), None).await;
    let clock = Clock::system();
    let client = client(&[server.uri()], &clock);
    let Err(busy) = client.call(&call("/b")).await else { panic!("it is busy") };
    assert!(busy.is_transient());
    let Err(UpstreamError::HeldBack { until, .. }) = client.call(&call("/a")).await else { panic!("not held back") };
    assert!(until.since(clock.now()) > Duration::from_secs(490));
    assert!(matches!(client.call(&call("/b")).await, Err(UpstreamError::HeldBack { .. })));
    assert_eq!(asked(&server).await, 2);
}

#[tokio::test]
async fn the_exchanges_own_count_is_kept_to() {
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "yes").insert_header("x-used", "85"), None).await;
    let client = client(&[server.uri()], &Clock::system());
    client.call(&call("/a")).await.unwrap();
    let budget = &client.budgets()[0];
    assert_eq!((&*budget.scope, budget.used, budget.limit, budget.open_at), ("rest", 85, 100, None));
    let Err(UpstreamError::HeldBack { until, .. }) = client.call(&call("/a")).await else { panic!("no room is left") };
    assert!(until > Timestamp::EPOCH);
    assert_eq!(asked(&server).await, 1);
}

#[tokio::test]
async fn callers_wait_for_their_share() {
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
async fn identical_questions_share_one_request() {
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
    assert!(others.await.into_iter().all(|answer| answer.unwrap() == "yes"));
    assert_eq!(asked(&server).await, 1);
    assert_eq!(client.budgets()[0].used, 10);
    client.call(&call("/a")).await.unwrap();
    assert_eq!(asked(&server).await, 2, "a later question is a new one");
}

#[tokio::test]
async fn origins_are_tried_in_order_and_the_one_that_worked_is_remembered() {
    let (broken, good) = (MockServer::start().await, MockServer::start().await);
    mount(&broken, "/a", text(502, "no"), None).await;
    mount(&good, "/a", text(200, "yes"), None).await;
    let client = client(&[dark(), broken.uri(), good.uri()], &Clock::system());
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    assert_eq!((asked(&broken).await, asked(&good).await), (1, 2));
}

#[tokio::test]
async fn an_origin_closed_to_this_region_is_left_alone_and_if_all_are_it_is_said() {
    let (closed, closed_too) = (MockServer::start().await, MockServer::start().await);
    mount(&closed, "/a", text(451, "not for you"), None).await;
    mount(&closed_too, "/a", text(200, "yes"), 1).await;
    mount(&closed_too, "/a", text(403, "configured to block access from your country"), None).await;
    let client = client(&[closed.uri(), closed_too.uri()], &Clock::system());
    assert_eq!(client.call(&call("/a")).await.unwrap(), "yes");
    for _ in 0..2 {
        let error = client.call(&call("/a")).await.unwrap_err();
        let sentence = "Binance is closed to this region (HTTP 451): run candlewick elsewhere, or set \
                        exchanges.binance.rest_url and ws_url to origins that serve it";
        assert_eq!(error.to_string(), sentence);
        assert!(!error.is_transient());
    }
    assert_eq!((asked(&closed).await, asked(&closed_too).await), (1, 2));
}

#[tokio::test]
async fn what_cannot_be_reached_or_does_not_answer_is_told() {
    let clock = Clock::scaled(100.0);
    let error = client(&[dark()], &clock).call(&call("/a")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().starts_with("Binance cannot be reached: "), "{error}");
    let server = MockServer::start().await;
    mount(&server, "/a", text(200, "late").set_delay(Duration::from_secs(30)), None).await;
    let error = client(&[server.uri()], &clock).call(&call("/a")).await.unwrap_err();
    assert_eq!(error, UpstreamError::TimedOut { exchange: EXCHANGE });
}

#[tokio::test]
async fn a_probe_asks_each_origin_once_and_waits_for_none_that_is_not_needed() {
    let server = MockServer::start().await;
    mount(&server, "/ping", text(200, "{}"), 1).await;
    mount(&server, "/ping", text(500, "no"), None).await;
    let there = client(&[dark(), server.uri()], &Clock::system());
    there.probe().await.unwrap();
    assert!(there.probe().await.is_err());
    assert_eq!(asked(&server).await, 2);
    // One that swallows everything does not hide the one that answers.
    let (deaf, answers) = (MockServer::start().await, MockServer::start().await);
    mount(&deaf, "/ping", text(200, "late").set_delay(Duration::from_hours(1)), None).await;
    mount(&answers, "/ping", text(200, "{}"), None).await;
    client(&[deaf.uri(), answers.uri()], &Clock::manual(Timestamp::EPOCH)).probe().await.unwrap();
    assert!(client(&[dark()], &Clock::system()).probe().await.is_err());
}

#[test]
fn an_origin_that_is_none_is_said_at_once() {
    for origins in [&[][..], &["api.example.com".to_owned()], &["https://a.example/path".to_owned()]] {
        let built = RestClient::new(Fake::leak(profile(SCOPES)), origins, Clock::system());
        assert!(matches!(built.map(drop), Err(UpstreamError::Setup(_))), "{origins:?}");
    }
}
