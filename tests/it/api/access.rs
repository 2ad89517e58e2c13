//! Who may do what, and how much: over real connections.

use candlewick::api::AccessConfig;
use candlewick::model::{ApiKey, KeyScope};
use futures_util::StreamExt;
use reqwest::RequestBuilder;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

const HISTORY: &str = "/v1/history?symbol=BTC/USDT&limit=2&end=";

async fn guarded(access: AccessConfig) -> House {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cors_origins = vec!["https://charts.example".to_owned()];
    House::with(store, ApiConfig { access, cors_origins, ..ApiConfig::default() }).await
}

impl House {
    /// A key that is good here.
    fn key(&self, scopes: &[KeyScope]) -> (ApiKey, String) {
        let (key, text) = ApiKey::mint("test", scopes, self.clock.now(), || self.clock.random_u64());
        self.keys.replace(vec![key.clone()]);
        (key, text)
    }

    fn ask(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address)).bearer_auth(key)
    }
}

#[tokio::test]
async fn a_closed_service_opens_to_keys() {
    let house = guarded(AccessConfig { required: true, ..AccessConfig::default() }).await;
    let refused = house.get("/v1/ticker?symbol=BTC/USDT").await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"candlewick\"");
    problem(refused, 401, "unauthorized").await;
    for path in ["/livez", "/readyz", "/docs", "/openapi.json", "/openapi.yaml", "/asyncapi.json"] {
        assert_eq!(house.get(path).await.status(), 200, "{path}");
    }
    let (_, key) = house.key(&[KeyScope::Read]);
    let end = Interval::M1.floor(house.clock.now()).millis();
    let page = house.ask(Method::GET, &format!("{HISTORY}{end}"), &key).send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["cache-control"].to_str().unwrap()),
        (200, "private, max-age=60")
    );
    let by_header = house.client.get(format!("http://{}/metrics", house.address)).header("X-API-Key", &key);
    assert_eq!(by_header.send().await.unwrap().status(), 200);
    problem(house.ask(Method::GET, "/health", &key.replace("cw_", "cw_0")).send().await.unwrap(), 401, "unauthorized")
        .await;
    problem(house.ask(Method::POST, "/v1/tickets", &key).send().await.unwrap(), 403, "forbidden").await;
    problem(house.ask(Method::GET, "/v1/tickets", &key).send().await.unwrap(), 405, "method_not_allowed").await;
    house.close().await;
}

#[tokio::test]
async fn a_browser_opens_a_socket_with_a_ticket() {
    let house = guarded(AccessConfig { required: true, ..AccessConfig::default() }).await;
    let (_, key) = house.key(&[KeyScope::Stream]);
    let made = house.ask(Method::POST, "/v1/tickets", &key).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
    let ticket = made["ticket"].as_str().unwrap();
    for path in ["/v1/stream?", "/ws/realtime?symbol=BTC/USDT&", "/ws/subscribe/BTC-USDT?"] {
        let url = format!("ws://{}{path}", house.address);
        let Err(Error::Http(refused)) = connect_async(&url).await else { panic!("{path} is open") };
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let (mut socket, _) = connect_async(format!("{url}ticket={ticket}")).await.unwrap();
        assert!(socket.next().await.unwrap().is_ok(), "{path}");
    }
    let events = house.get(&format!("/v1/events?topics=ticker:binance:BTC/USDT&ticket={ticket}")).await;
    assert_eq!(events.status(), 200);
    let forged = format!("/v1/events?topics=ticker:binance:BTC/USDT&ticket={}", ticket.replace("cwt_", "cwt_0"));
    problem(house.get(&forged).await, 401, "unauthorized").await;
    house.close().await;
}

#[tokio::test]
async fn changes_need_a_key_that_may() {
    let house = guarded(AccessConfig::default()).await;
    let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
    let begin = async |key: &str| {
        let request = house.ask(Method::POST, "/v1/backfills", key).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    problem(begin("cw_00000000_nothing").await, 401, "unauthorized").await;
    let (_, reader) = house.key(&[KeyScope::Read, KeyScope::Stream]);
    let refused = begin(&reader).await;
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().ends_with("scope=\"admin\""));
    problem(refused, 403, "forbidden").await;
    let (_, admin) = house.key(&[KeyScope::Admin]);
    assert_eq!(begin(&admin).await.status(), 201);
    house.close().await;
}

#[tokio::test]
async fn who_asks_too_much_waits_and_others_do_not() {
    let trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    let house = guarded(AccessConfig { per_minute: 4, trusted_proxies, ..AccessConfig::default() }).await;
    let ask = async |client: &str, path: &str| {
        let request = house.client.get(format!("http://{}{path}", house.address)).header("X-Forwarded-For", client);
        request.send().await.unwrap()
    };
    for left in (0..4).rev() {
        let answer = ask("198.51.100.1", "/v1/ticker?symbol=BTC/USDT").await;
        let headers = answer.headers();
        assert_eq!(
            (answer.status().as_u16(), headers["ratelimit-policy"].to_str().unwrap()),
            (200, "\"default\";q=4;w=60")
        );
        assert!(headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"default\";r={left};t=")));
    }
    let refused = ask("198.51.100.1", "/v1/ticker?symbol=BTC/USDT").await;
    let after: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=15).contains(&after), "{after}");
    problem(refused, 429, "rate_limited").await;
    problem(ask("198.51.100.1", "/no/such/path").await, 429, "rate_limited").await;
    assert_eq!(ask("198.51.100.1", "/readyz").await.status(), 200, "probes are not counted");
    assert_eq!(ask("198.51.100.2", "/v1/ticker?symbol=BTC/USDT").await.status(), 200);
    problem(ask("198.51.100.2", "/no/such/path").await, 404, "not_found").await;
    house.close().await;
}

#[tokio::test]
async fn pages_of_named_sites_may_read() {
    let house = guarded(AccessConfig::default()).await;
    let ask = async |method: Method, origin: &str| {
        let request = house.client.request(method, format!("http://{}/v1/exchanges", house.address));
        request.header("Origin", origin).header("Access-Control-Request-Method", "GET").send().await.unwrap()
    };
    let preflight = ask(Method::OPTIONS, "https://charts.example").await;
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    let read = ask(Method::GET, "https://charts.example").await;
    assert_eq!(read.headers()["access-control-allow-origin"], "https://charts.example");
    let varies = |answer: &Response| answer.headers().get_all("vary").iter().any(|header| header == "origin");
    assert!(varies(&read));
    for method in [Method::OPTIONS, Method::GET] {
        let other = ask(method, "https://evil.example").await;
        assert!(!other.headers().contains_key("access-control-allow-origin") && varies(&other));
    }
    house.close().await;
}

#[tokio::test]
async fn answers_tell_browsers_what_not_to_do() {
    let house = House::open().await;
    let data = house.get("/v1/exchanges").await;
    assert_eq!(data.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(data.headers()["x-content-type-options"], "nosniff");
    assert_eq!(data.headers()["referrer-policy"], "no-referrer");
    let page = house.get("/docs").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("connect-src 'self'") && !policy.contains("unsafe-eval"), "{policy}");
    house.close().await;
}

#[tokio::test]
async fn who_has_no_good_key_any_more_leaves() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let access = AccessConfig { required: true, ..AccessConfig::default() };
    let house = House::at(Clock::scaled(20.0), store, ApiConfig { access, ..ApiConfig::default() }).await;
    let (key, text) = house.key(&[KeyScope::Stream]);
    let (ticket, topic) = (key.ticket(house.clock.now() + Duration::from_mins(1), 1), "ticker:binance:BTC/USDT");
    let (mut socket, _) = connect_async(format!("ws://{}/v1/stream?ticket={ticket}", house.address)).await.unwrap();
    let events = house.ask(Method::GET, &format!("/v1/events?topics={topic}"), &text).send().await.unwrap();
    assert_eq!(events.status(), 200);
    house.keys.replace(vec![ApiKey { revoked_at: Some(house.clock.now()), ..key }]);
    let mut last = None;
    while let Some(Ok(message)) = socket.next().await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1001), "it is told to leave");
    assert!(events.text().await.unwrap().contains("shutdown"), "so is the other one");
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_from_here() {
    let access = AccessConfig { open_to_change: true, ..AccessConfig::default() };
    let house = guarded(access).await;
    let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
    let begin = || {
        let request = house.client.post(format!("http://{}/v1/backfills", house.address));
        request.header("content-type", "application/json").body(body)
    };
    let other_site = begin().header("Origin", "https://charts.example").send().await.unwrap();
    problem(other_site, 401, "unauthorized").await;
    for (name, value) in [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site"), ("Origin", "null")] {
        problem(begin().header(name, value).send().await.unwrap(), 401, "unauthorized").await;
    }
    let own = format!("http://{}", house.address);
    let own = begin().header("Origin", own).header("Sec-Fetch-Site", "same-origin").send().await.unwrap();
    assert_eq!(own.status(), 201);
    assert_eq!(begin().send().await.unwrap().status(), 200, "the same again, with no such header");
    house.close().await;
}

/// What nginx sends to `proxy_pass http://127.0.0.1:PORT` and no more, and what it sends when it is told to.
#[tokio::test]
async fn a_proxy_on_this_machine_changes_nothing_without_a_key() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = guarded(AccessConfig { open_to_change: true, ..AccessConfig::default() }).await;
    let ask = async |version: &str, headers: &str| {
        let body = r#"{"symbol":"BTC/USDT","since":0,"until":60000}"#;
        let mut socket = tokio::net::TcpStream::connect(house.address).await.unwrap();
        let head = format!(
            "POST /v1/backfills HTTP/{version}\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            house.address,
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(ask("1.0", "").await, "401", "nginx before 1.29.7");
    for header in ["X-Forwarded-For: 198.51.100.1", "X-Real-IP: 198.51.100.1", "Via: 1.1 proxy", "Forwarded: for=_x"] {
        assert_eq!(ask("1.1", &format!("{header}\r\n")).await, "401", "{header}");
    }
    assert_eq!(ask("1.1", "").await, "201", "a program of this machine");
    house.close().await;
}

#[tokio::test]
async fn a_list_may_name_as_many_topics_as_there_may_be() {
    let house = House::open().await;
    let topics = (0..32).map(|n| format!("ticker:binance:COIN{n}/USDT")).collect::<Vec<_>>().join(",");
    // Nobody lists these; but the list is not too long.
    problem(house.get(&format!("/v1/events?topics={topics}")).await, 404, "unknown_symbol").await;
    house.close().await;
}
