//! Access policy, API keys, tickets, CORS and rate limits over real connections.

use candlewick::api::AccessConfig;
use candlewick::model::{ApiKey, KeyScope};
use futures_util::StreamExt;
use reqwest::RequestBuilder;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

const HISTORY: &str = "/v1/history?symbol=BTC/USDT&limit=2&end=";

async fn start_with_access(access: AccessConfig) -> TestService {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cors_origins = vec!["https://charts.example".to_owned()];
    TestService::with_store(store, ApiConfig { access, cors_origins, ..ApiConfig::default() }).await
}

impl TestService {
    /// Registers a valid key. Returns it with its secret text.
    fn create_key(&self, scopes: &[KeyScope]) -> (ApiKey, String) {
        let (key, text) = ApiKey::generate("test", scopes, self.clock.now(), || self.clock.random_u64());
        self.keys.replace(vec![key.clone()]);
        (key, text)
    }

    fn request_with_key(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address)).bearer_auth(key)
    }
}

#[tokio::test]
async fn required_key_protects_operations_but_not_probes_and_docs() {
    let service = start_with_access(AccessConfig { required: true, ..AccessConfig::default() }).await;
    let rejected = service.get("/v1/ticker?symbol=BTC/USDT").await;
    assert_eq!(rejected.headers()["www-authenticate"], "Bearer realm=\"candlewick\"");
    expect_problem(rejected, 401, "unauthorized").await;
    for path in ["/livez", "/readyz", "/docs", "/openapi.json", "/openapi.yaml", "/asyncapi.json"] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    let (_, key) = service.create_key(&[KeyScope::Read]);
    let end = Interval::M1.floor(service.clock.now()).millis();
    let page = service.request_with_key(Method::GET, &format!("{HISTORY}{end}"), &key).send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["cache-control"].to_str().unwrap()),
        (200, "private, max-age=60")
    );
    let by_header = service.client.get(format!("http://{}/metrics", service.address)).header("X-API-Key", &key);
    assert_eq!(by_header.send().await.unwrap().status(), 200);
    expect_problem(
        service.request_with_key(Method::GET, "/health", &key.replace("cw_", "cw_0")).send().await.unwrap(),
        401,
        "unauthorized",
    )
    .await;
    expect_problem(service.request_with_key(Method::POST, "/v1/tickets", &key).send().await.unwrap(), 403, "forbidden")
        .await;
    expect_problem(
        service.request_with_key(Method::GET, "/v1/tickets", &key).send().await.unwrap(),
        405,
        "method_not_allowed",
    )
    .await;
    service.shut_down().await;
}

#[tokio::test]
async fn ticket_in_query_authorizes_streams() {
    let service = start_with_access(AccessConfig { required: true, ..AccessConfig::default() }).await;
    let (_, key) = service.create_key(&[KeyScope::Stream]);
    let response = service.request_with_key(Method::POST, "/v1/tickets", &key).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let created: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let ticket = created["ticket"].as_str().unwrap();
    for path in ["/v1/stream?", "/ws/realtime?symbol=BTC/USDT&", "/ws/subscribe/BTC-USDT?"] {
        let url = format!("ws://{}{path}", service.address);
        let Err(Error::Http(rejected)) = connect_async(&url).await else { panic!("{path} needs no key") };
        assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
        let (mut socket, _) = connect_async(format!("{url}ticket={ticket}")).await.unwrap();
        assert!(socket.next().await.unwrap().is_ok(), "{path}");
    }
    let events = service.get(&format!("/v1/events?topics=ticker:binance:BTC/USDT&ticket={ticket}")).await;
    assert_eq!(events.status(), 200);
    let forged = format!("/v1/events?topics=ticker:binance:BTC/USDT&ticket={}", ticket.replace("cwt_", "cwt_0"));
    expect_problem(service.get(&forged).await, 401, "unauthorized").await;
    service.shut_down().await;
}

#[tokio::test]
async fn changes_require_admin_scope() {
    let service = start_with_access(AccessConfig::default()).await;
    let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
    let post_backfill = async |key: &str| {
        let request =
            service.request_with_key(Method::POST, "/v1/backfills", key).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    expect_problem(post_backfill("cw_00000000_nothing").await, 401, "unauthorized").await;
    let (_, reader) = service.create_key(&[KeyScope::Read, KeyScope::Stream]);
    let rejected = post_backfill(&reader).await;
    assert!(rejected.headers()["www-authenticate"].to_str().unwrap().ends_with("scope=\"admin\""));
    expect_problem(rejected, 403, "forbidden").await;
    let (_, admin) = service.create_key(&[KeyScope::Admin]);
    assert_eq!(post_backfill(&admin).await.status(), 201);
    service.shut_down().await;
}

#[tokio::test]
async fn rate_limit_applies_per_client() {
    let trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    let service = start_with_access(AccessConfig { per_minute: 4, trusted_proxies, ..AccessConfig::default() }).await;
    let get = async |client: &str, path: &str| {
        let request = service.client.get(format!("http://{}{path}", service.address)).header("X-Forwarded-For", client);
        request.send().await.unwrap()
    };
    for remaining in (0..4).rev() {
        let response = get("198.51.100.1", "/v1/ticker?symbol=BTC/USDT").await;
        let headers = response.headers();
        assert_eq!(
            (response.status().as_u16(), headers["ratelimit-policy"].to_str().unwrap()),
            (200, "\"default\";q=4;w=60")
        );
        assert!(headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"default\";r={remaining};t=")));
    }
    let limited = get("198.51.100.1", "/v1/ticker?symbol=BTC/USDT").await;
    let retry_after: u32 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=15).contains(&retry_after), "{retry_after}");
    expect_problem(limited, 429, "rate_limited").await;
    expect_problem(get("198.51.100.1", "/no/such/path").await, 429, "rate_limited").await;
    assert_eq!(get("198.51.100.1", "/readyz").await.status(), 200, "probes are not counted");
    assert_eq!(get("198.51.100.2", "/v1/ticker?symbol=BTC/USDT").await.status(), 200);
    expect_problem(get("198.51.100.2", "/no/such/path").await, 404, "not_found").await;
    service.shut_down().await;
}

#[tokio::test]
async fn cors_allows_only_configured_origins() {
    let service = start_with_access(AccessConfig::default()).await;
    let request_from = async |method: Method, origin: &str| {
        let request = service.client.request(method, format!("http://{}/v1/exchanges", service.address));
        request.header("Origin", origin).header("Access-Control-Request-Method", "GET").send().await.unwrap()
    };
    let preflight = request_from(Method::OPTIONS, "https://charts.example").await;
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    let read = request_from(Method::GET, "https://charts.example").await;
    assert_eq!(read.headers()["access-control-allow-origin"], "https://charts.example");
    let varies_by_origin =
        |response: &Response| response.headers().get_all("vary").iter().any(|header| header == "origin");
    assert!(varies_by_origin(&read));
    for method in [Method::OPTIONS, Method::GET] {
        let other = request_from(method, "https://evil.example").await;
        assert!(!other.headers().contains_key("access-control-allow-origin") && varies_by_origin(&other));
    }
    service.shut_down().await;
}

#[tokio::test]
async fn responses_have_browser_security_headers() {
    let service = TestService::start().await;
    let data = service.get("/v1/exchanges").await;
    assert_eq!(data.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(data.headers()["x-content-type-options"], "nosniff");
    assert_eq!(data.headers()["referrer-policy"], "no-referrer");
    let page = service.get("/docs").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("connect-src 'self'") && !policy.contains("unsafe-eval"), "{policy}");
    service.shut_down().await;
}

#[tokio::test]
async fn revoking_key_closes_its_streams() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let access = AccessConfig { required: true, ..AccessConfig::default() };
    let service =
        TestService::with_clock(Clock::scaled(20.0), store, ApiConfig { access, ..ApiConfig::default() }).await;
    let (key, text) = service.create_key(&[KeyScope::Stream]);
    let (ticket, topic) = (key.sign_ticket(service.clock.now() + Duration::from_mins(1), 1), "ticker:binance:BTC/USDT");
    let (mut socket, _) = connect_async(format!("ws://{}/v1/stream?ticket={ticket}", service.address)).await.unwrap();
    let events =
        service.request_with_key(Method::GET, &format!("/v1/events?topics={topic}"), &text).send().await.unwrap();
    assert_eq!(events.status(), 200);
    service.keys.replace(vec![ApiKey { revoked_at: Some(service.clock.now()), ..key }]);
    let mut last = None;
    while let Some(Ok(message)) = socket.next().await {
        last = Some(message);
    }
    assert!(
        matches!(last, Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1001),
        "the socket is closed with 1001"
    );
    assert!(events.text().await.unwrap().contains("shutdown"), "the event stream ends, too");
}

#[tokio::test]
async fn rejects_cross_site_changes_without_key() {
    let access = AccessConfig { open_on_loopback: true, ..AccessConfig::default() };
    let service = start_with_access(access).await;
    let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
    let post_backfill = || {
        let request = service.client.post(format!("http://{}/v1/backfills", service.address));
        request.header("content-type", "application/json").body(body)
    };
    let other_site = post_backfill().header("Origin", "https://charts.example").send().await.unwrap();
    expect_problem(other_site, 401, "unauthorized").await;
    for (name, value) in [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site"), ("Origin", "null")] {
        expect_problem(post_backfill().header(name, value).send().await.unwrap(), 401, "unauthorized").await;
    }
    let own = format!("http://{}", service.address);
    let own = post_backfill().header("Origin", own).header("Sec-Fetch-Site", "same-origin").send().await.unwrap();
    assert_eq!(own.status(), 201);
    assert_eq!(post_backfill().send().await.unwrap().status(), 200, "the same backfill without these headers");
    service.shut_down().await;
}

/// Requests as nginx sends them: with its defaults for `proxy_pass http://127.0.0.1:PORT`, and with forwarding headers.
#[tokio::test]
async fn rejects_proxied_changes_without_key() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let service = start_with_access(AccessConfig { open_on_loopback: true, ..AccessConfig::default() }).await;
    let post_backfill = async |version: &str, headers: &str| {
        let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
        let mut socket = tokio::net::TcpStream::connect(service.address).await.unwrap();
        let head = format!(
            "POST /v1/backfills HTTP/{version}\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            service.address,
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).await.unwrap();
        response.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(post_backfill("1.0", "").await, "401", "nginx before 1.29.7");
    for header in ["X-Forwarded-For: 198.51.100.1", "X-Real-IP: 198.51.100.1", "Via: 1.1 proxy", "Forwarded: for=_x"] {
        assert_eq!(post_backfill("1.1", &format!("{header}\r\n")).await, "401", "{header}");
    }
    assert_eq!(post_backfill("1.1", "").await, "201", "a local client");
    service.shut_down().await;
}

#[tokio::test]
async fn topic_list_of_maximum_length_is_parsed() {
    let service = TestService::start().await;
    let topics = (0..32).map(|n| format!("ticker:binance:COIN{n}/USDT")).collect::<Vec<_>>().join(",");
    // The symbols are unknown, but the list is not too long.
    expect_problem(service.get(&format!("/v1/events?topics={topics}")).await, 404, "unknown_symbol").await;
    service.shut_down().await;
}
