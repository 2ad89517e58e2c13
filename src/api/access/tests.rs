use super::policy::ACCESS_POLICIES;
use super::*;
use crate::cache;
use crate::model::KeyScope;

const HOST: (&str, &str) = ("host", "127.0.0.1:8000");

struct Fixture {
    authorizer: Authorizer,
    clock: Clock,
    /// Texts of keys with one scope each, in the order of `KeyScope::ALL`.
    key_texts: Vec<String>,
    keys: Vec<ApiKey>,
}

fn fixture(config: AccessConfig) -> Fixture {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let generate = |scope| ApiKey::generate("test", &[scope], clock.now(), || clock.random_u64());
    let (mut keys, key_texts): (Vec<ApiKey>, Vec<String>) = KeyScope::ALL.into_iter().map(generate).unzip();
    keys[0].per_minute = (config.per_minute > 0).then_some(3);
    let registry = Arc::<KeyRegistry>::default();
    registry.replace(keys.clone());
    let limits = ClientRateLimits::new(clock.clone(), cache::memory(clock.clone()).limits);
    Fixture { authorizer: Authorizer::new(config, registry, limits, clock.clone()), clock, key_texts, keys }
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
    let builder = Request::builder().uri(uri.parse().unwrap());
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).finish()
}

impl Fixture {
    fn authorize(&self, operation: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Option<String>, Problem> {
        let (authorized, _) = self.authorizer.authorize(&request(uri, headers), AccessPolicy::for_operation(operation));
        authorized.map(|client| client.key.map(|key| key.id.clone()))
    }

    fn code(&self, operation: &str, headers: &[(&str, &str)]) -> Option<Code> {
        self.authorize(operation, "/", headers).err().map(|problem| problem.code)
    }
}

#[test]
fn public_operations_need_no_key_and_admin_operations_do() {
    let fixture = fixture(AccessConfig::default());
    let bearer_values: Vec<String> = fixture.key_texts.iter().map(|text| format!("Bearer {text}")).collect();
    let bearer = |at: usize| [("authorization", bearer_values[at].as_str())];
    for operation in ["livez", "docs", "getTicker", "stream", "metrics"] {
        assert_eq!(fixture.code(operation, &[]), None, "{operation}");
    }
    assert_eq!(fixture.code("beginBackfill", &[HOST]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("beginBackfill", &bearer(0)), Some(Code::Forbidden));
    assert_eq!(fixture.code("beginBackfill", &bearer(2)), None);
    assert_eq!(fixture.code("makeTicket", &bearer(0)), Some(Code::Forbidden));
    // An invalid key is rejected even where none is needed, except on public operations.
    assert_eq!(fixture.code("docs", &[("authorization", "Bearer cw_00000000_0")]), None);
    assert_eq!(fixture.code("getTicker", &[("authorization", "Bearer cw_00000000_0")]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("getTicker", &[("x-api-key", "é")]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("getTicker", &[("authorization", "Basic eDp5")]), None, "meant for a proxy");
    let key_id = fixture.authorize("getTicker", "/", &[("x-api-key", &fixture.key_texts[1])]);
    assert_eq!(key_id.unwrap(), Some(fixture.keys[1].id.clone()));
}

#[tokio::test]
async fn required_auth_rejects_requests_without_scope() {
    let fixture = fixture(AccessConfig { required: true, ..AccessConfig::default() });
    for operation in ["livez", "readyz", "docs", "openapiJson", "openapiYaml", "asyncapiJson"] {
        assert_eq!(fixture.code(operation, &[]), None, "{operation}");
    }
    for operation in ["getTicker", "health", "metrics", "stream", "events", "wsRealtime", "listBackfills"] {
        let problem = fixture.authorize(operation, "/", &[]).unwrap_err();
        assert_eq!(
            (problem.code, problem.challenge.as_deref()),
            (Code::Unauthorized, Some("Bearer realm=\"candlewick\""))
        );
    }
    let [read, stream, admin] = [0, 1, 2].map(|at: usize| [("x-api-key", fixture.key_texts[at].as_str())]);
    assert_eq!(fixture.code("getTicker", &read), None);
    let problem = fixture.authorize("stream", "/", &read).unwrap_err();
    let challenge = "Bearer realm=\"candlewick\", error=\"insufficient_scope\", scope=\"stream\"";
    assert_eq!((problem.code, problem.challenge.as_deref()), (Code::Forbidden, Some(challenge)));
    assert_eq!((fixture.code("stream", &stream), fixture.code("getTicker", &stream)), (None, Some(Code::Forbidden)));
    assert_eq!((fixture.code("stream", &admin), fixture.code("getTicker", &admin)), (None, None));

    // A ticket authorizes streams only, and expires.
    let (ticket, _) = fixture.authorizer.ticket(&fixture.keys[1]);
    let uri = format!("/v1/stream?ticket={ticket}");
    assert_eq!(fixture.authorize("stream", &uri, &[]).unwrap(), Some(fixture.keys[1].id.clone()));
    assert_eq!(fixture.authorize("getTicker", &uri, &[]).unwrap_err().code, Code::Unauthorized);
    fixture.clock.advance(TICKET_TTL).await;
    let expired = fixture.authorize("stream", &uri, &[]).unwrap_err();
    assert!(expired.detail.contains("/v1/tickets") && expired.challenge.unwrap().contains("invalid_token"));
}

#[test]
fn local_requests_need_no_key_if_open_on_loopback() {
    let fixture = fixture(AccessConfig { open_on_loopback: true, ..AccessConfig::default() });
    for host in ["127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]:8000", "[::1]"] {
        assert_eq!(fixture.code("beginBackfill", &[("host", host)]), None, "{host}");
    }
    assert_eq!(fixture.code("beginBackfill", &[HOST, ("origin", "http://127.0.0.1:8000")]), None, "its own `/docs`");
    // Another host name that resolves to this machine, and proxies that act for other clients.
    for headers in [
        vec![("host", "evil.example:8000")],
        vec![("host", "localhost.evil.example")],
        vec![],
        vec![HOST, ("x-forwarded-for", "127.0.0.1")],
        vec![HOST, ("forwarded", "for=127.0.0.1")],
        vec![HOST, ("origin", "https://charts.example")],
        vec![HOST, ("origin", "null")],
        // What browsers send for a page of another site, and of another port of this machine.
        vec![HOST, ("sec-fetch-site", "cross-site")],
        vec![HOST, ("sec-fetch-site", "same-site")],
        vec![HOST, ("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "cross-site")],
        vec![HOST, ("x-forwarded-host", "127.0.0.1")],
        vec![HOST, ("x-forwarded-proto", "https")],
        vec![HOST, ("x-real-ip", "127.0.0.1")],
        vec![HOST, ("via", "1.1 proxy")],
        vec![HOST, ("cf-connecting-ip", "198.51.100.1")],
    ] {
        assert_eq!(fixture.code("beginBackfill", &headers), Some(Code::Unauthorized), "{headers:?}");
    }
    for site in ["same-origin", "none"] {
        let headers = [HOST, ("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", site)];
        assert_eq!(fixture.code("beginBackfill", &headers), None, "its own page: {site}");
    }
    // A valid key is accepted through a proxy.
    let bearer = format!("Bearer {}", fixture.key_texts[2]);
    let headers = [HOST, ("authorization", &bearer), ("x-forwarded-for", "198.51.100.1"), ("via", "1.1 proxy")];
    assert_eq!(fixture.code("beginBackfill", &headers), None);
}

#[test]
fn http_1_0_requests_count_as_proxied() {
    let fixture = fixture(AccessConfig { open_on_loopback: true, ..AccessConfig::default() });
    for (version, open) in [(Version::HTTP_10, false), (Version::HTTP_11, true), (Version::HTTP_2, true)] {
        let mut request = request("/", &[HOST]);
        request.set_version(version);
        let (authorized, _) = fixture.authorizer.authorize(&request, AccessPolicy::for_operation("beginBackfill"));
        assert_eq!(authorized.is_ok(), open, "{version:?}");
    }
}

#[tokio::test]
async fn rate_limit_rejects_and_refills() {
    let fixture = fixture(AccessConfig { per_minute: 60, ..AccessConfig::default() });
    let authorize = |operation: &str, headers: &[(&str, &str)]| {
        let (authorized, usage) =
            fixture.authorizer.authorize(&request("/", headers), AccessPolicy::for_operation(operation));
        (
            authorized.map(drop).map_err(|problem| (problem.code, problem.retry_after.map(|after| after.as_millis()))),
            usage,
        )
    };
    let (first, usage) = authorize("getHistory", &[]);
    let mut headers = HeaderMap::new();
    usage.unwrap().write(&mut headers);
    assert_eq!((first, headers["ratelimit"].to_str().unwrap()), (Ok(()), "\"default\";r=58;t=2"));
    assert_eq!(headers["ratelimit-policy"], "\"default\";q=60;w=60");
    for _ in 0..29 {
        assert_eq!(authorize("getHistory", &[]).0, Ok(()));
    }
    let (refused, usage) = authorize("getHistory", &[]);
    assert_eq!((refused, usage.unwrap().remaining), (Err((Code::RateLimited, Some(2_000))), 0));
    // Operations with cost 0 are not limited. Another client, such as a key, has a limit of its own.
    assert_eq!(authorize("livez", &[]).0, Ok(()));
    let read = [("x-api-key", fixture.key_texts[0].as_str())];
    assert_eq!(authorize("getHistory", &read).1.unwrap().quota, 3);
    assert_eq!(authorize("getHistory", &read).0, Err((Code::RateLimited, Some(20_000))));
    fixture.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(authorize("getHistory", &[]).0, Ok(()));
    assert_eq!(authorize("getHistory", &[]).0.unwrap_err().0, Code::RateLimited);
    // Invalid keys are charged to the address at a higher cost.
    fixture.clock.advance(Duration::from_secs(11)).await;
    let invalid = [("x-api-key", "cw_00000000_0")];
    assert_eq!(authorize("getTicker", &invalid).0.unwrap_err().0, Code::Unauthorized);
    assert_eq!(authorize("getTicker", &invalid).0.unwrap_err().0, Code::RateLimited);
    assert_eq!(authorize("getTicker", &[]).0, Ok(()));
}

#[test]
fn operations_page_lists_the_cost_of_every_operation() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap();
    for (operation, _, cost) in ACCESS_POLICIES {
        let row = page.lines().find(|line| line.starts_with(&format!("| {cost} |"))).unwrap();
        assert!(row.contains(&format!("`{operation}`")), "{operation} costs {cost}");
    }
}

/// Usage at other replicas: 40 s worth of units for each client.
struct RemoteUsage(parking_lot::Mutex<Vec<(String, Duration)>>);

#[async_trait::async_trait]
impl cache::ClientLimits for RemoteUsage {
    fn is_shared(&self) -> bool {
        true
    }

    async fn record_usage(&self, client: &str, usage: Duration, max: Duration) -> Result<Duration, cache::CacheError> {
        self.0.lock().push((client.to_owned(), usage));
        Ok((usage + Duration::from_secs(40)).min(max))
    }
}

#[tokio::test]
async fn usage_at_other_replicas_counts() {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let remote_usage = Arc::new(RemoteUsage(parking_lot::Mutex::default()));
    let limits = ClientRateLimits::new(clock.clone(), Arc::clone(&remote_usage) as Arc<dyn cache::ClientLimits>);
    let sync = tokio::spawn(Arc::clone(&limits).run_sync(CancellationToken::new()));
    let client = Identity::Address([198, 51, 100, 1].into());
    assert_eq!(limits.charge(&client, 60, 5).unwrap().remaining, 55);
    assert_eq!(limits.charge(&client, 60, 5).unwrap().remaining, 50);
    while remote_usage.0.lock().is_empty() {
        clock.advance(Duration::from_millis(250)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(*remote_usage.0.lock(), [("198.51.100.1".to_owned(), Duration::from_secs(10))], "one report");
    let usage = limits.charge(&client, 60, 5).unwrap();
    assert!((5..=6).contains(&usage.remaining), "{usage:?}");
    assert!(limits.charge(&client, 60, 10).unwrap().retry_after.is_some());
    sync.abort();
}
