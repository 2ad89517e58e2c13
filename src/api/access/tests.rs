use super::*;
use crate::cache;
use crate::model::KeyScope;

const HOST: (&str, &str) = ("host", "127.0.0.1:8000");

struct Fixture {
    gate: Gate,
    clock: Clock,
    /// Of keys with one scope each, in the order of `KeyScope::ALL`.
    texts: Vec<String>,
    keys: Vec<ApiKey>,
}

fn fixture(config: AccessConfig) -> Fixture {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let mint = |scope| ApiKey::mint("test", &[scope], clock.now(), || clock.random_u64());
    let (mut keys, texts): (Vec<ApiKey>, Vec<String>) = KeyScope::ALL.into_iter().map(mint).unzip();
    keys[0].per_minute = (config.per_minute > 0).then_some(3);
    let keyring = Arc::<Keyring>::default();
    keyring.replace(keys.clone());
    let limits = Limits::new(clock.clone(), cache::memory(clock.clone()).limits);
    Fixture { gate: Gate::new(config, keyring, limits, clock.clone()), clock, texts, keys }
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
    let builder = Request::builder().uri(uri.parse().unwrap());
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).finish()
}

impl Fixture {
    fn ask(&self, operation: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Option<String>, Problem> {
        let (admitted, _) = self.gate.admit(&request(uri, headers), Terms::of(operation));
        admitted.map(|client| client.key.map(|key| key.id.clone()))
    }

    fn code(&self, operation: &str, headers: &[(&str, &str)]) -> Option<Code> {
        self.ask(operation, "/", headers).err().map(|problem| problem.code)
    }
}

#[test]
fn what_is_open_is_open_and_what_changes_something_needs_a_key() {
    let fixture = fixture(AccessConfig::default());
    let bearers: Vec<String> = fixture.texts.iter().map(|text| format!("Bearer {text}")).collect();
    let bearer = |at: usize| [("authorization", bearers[at].as_str())];
    for operation in ["livez", "docs", "getTicker", "stream", "metrics"] {
        assert_eq!(fixture.code(operation, &[]), None, "{operation}");
    }
    assert_eq!(fixture.code("beginBackfill", &[HOST]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("beginBackfill", &bearer(0)), Some(Code::Forbidden));
    assert_eq!(fixture.code("beginBackfill", &bearer(2)), None);
    assert_eq!(fixture.code("makeTicket", &bearer(0)), Some(Code::Forbidden));
    // A key that opens nothing is told so even where none is needed, but for what is always open.
    assert_eq!(fixture.code("docs", &[("authorization", "Bearer cw_00000000_0")]), None);
    assert_eq!(fixture.code("getTicker", &[("authorization", "Bearer cw_00000000_0")]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("getTicker", &[("x-api-key", "é")]), Some(Code::Unauthorized));
    assert_eq!(fixture.code("getTicker", &[("authorization", "Basic eDp5")]), None, "for a proxy in front");
    let known = fixture.ask("getTicker", "/", &[("x-api-key", &fixture.texts[1])]);
    assert_eq!(known.unwrap(), Some(fixture.keys[1].id.clone()));
}

#[tokio::test]
async fn reading_can_be_closed() {
    let fixture = fixture(AccessConfig { required: true, ..AccessConfig::default() });
    for operation in ["livez", "readyz", "docs", "openapiJson", "openapiYaml", "asyncapiJson"] {
        assert_eq!(fixture.code(operation, &[]), None, "{operation}");
    }
    for operation in ["getTicker", "health", "metrics", "stream", "events", "wsRealtime", "listBackfills"] {
        let problem = fixture.ask(operation, "/", &[]).unwrap_err();
        assert_eq!(
            (problem.code, problem.challenge.as_deref()),
            (Code::Unauthorized, Some("Bearer realm=\"candlewick\""))
        );
    }
    let [read, stream, admin] = [0, 1, 2].map(|at: usize| [("x-api-key", fixture.texts[at].as_str())]);
    assert_eq!(fixture.code("getTicker", &read), None);
    let problem = fixture.ask("stream", "/", &read).unwrap_err();
    let challenge = "Bearer realm=\"candlewick\", error=\"insufficient_scope\", scope=\"stream\"";
    assert_eq!((problem.code, problem.challenge.as_deref()), (Code::Forbidden, Some(challenge)));
    assert_eq!((fixture.code("stream", &stream), fixture.code("getTicker", &stream)), (None, Some(Code::Forbidden)));
    assert_eq!((fixture.code("stream", &admin), fixture.code("getTicker", &admin)), (None, None));

    // A ticket opens streams only, and not for long.
    let (ticket, _) = fixture.gate.ticket(&fixture.keys[1]);
    let uri = format!("/v1/stream?ticket={ticket}");
    assert_eq!(fixture.ask("stream", &uri, &[]).unwrap(), Some(fixture.keys[1].id.clone()));
    assert_eq!(fixture.ask("getTicker", &uri, &[]).unwrap_err().code, Code::Unauthorized);
    fixture.clock.advance(TICKET_LASTS).await;
    let late = fixture.ask("stream", &uri, &[]).unwrap_err();
    assert!(late.detail.contains("/v1/tickets") && late.challenge.unwrap().contains("invalid_token"));
}

#[test]
fn on_this_machine_changes_need_no_key() {
    let fixture = fixture(AccessConfig { open_to_change: true, ..AccessConfig::default() });
    for host in ["127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]:8000", "[::1]"] {
        assert_eq!(fixture.code("beginBackfill", &[("host", host)]), None, "{host}");
    }
    assert_eq!(fixture.code("beginBackfill", &[HOST, ("origin", "http://127.0.0.1:8000")]), None, "its own /docs");
    // Another site's name that leads here, and a proxy that speaks for others.
    for headers in [
        vec![("host", "evil.example:8000")],
        vec![("host", "localhost.evil.example")],
        vec![],
        vec![HOST, ("x-forwarded-for", "127.0.0.1")],
        vec![HOST, ("forwarded", "for=127.0.0.1")],
        vec![HOST, ("origin", "https://charts.example")],
        vec![HOST, ("origin", "null")],
        // What browsers say of a page of another site, and of another port of this machine.
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
    // A key is good whoever passes the request on.
    let bearer = format!("Bearer {}", fixture.texts[2]);
    let headers = [HOST, ("authorization", &bearer), ("x-forwarded-for", "198.51.100.1"), ("via", "1.1 proxy")];
    assert_eq!(fixture.code("beginBackfill", &headers), None);
}

#[test]
fn a_proxy_that_speaks_http_1_0_is_not_this_machine() {
    let fixture = fixture(AccessConfig { open_to_change: true, ..AccessConfig::default() });
    for (version, open) in [(Version::HTTP_10, false), (Version::HTTP_11, true), (Version::HTTP_2, true)] {
        let mut request = request("/", &[HOST]);
        request.set_version(version);
        let (admitted, _) = fixture.gate.admit(&request, Terms::of("beginBackfill"));
        assert_eq!(admitted.is_ok(), open, "{version:?}");
    }
}

#[tokio::test]
async fn a_limit_is_used_and_comes_back() {
    let fixture = fixture(AccessConfig { per_minute: 60, ..AccessConfig::default() });
    let ask = |operation: &str, headers: &[(&str, &str)]| {
        let (admitted, used) = fixture.gate.admit(&request("/", headers), Terms::of(operation));
        (admitted.map(drop).map_err(|problem| (problem.code, problem.retry_after.map(|after| after.as_millis()))), used)
    };
    let (first, used) = ask("getHistory", &[]);
    let mut headers = HeaderMap::new();
    used.unwrap().write(&mut headers);
    assert_eq!((first, headers["ratelimit"].to_str().unwrap()), (Ok(()), "\"default\";r=58;t=2"));
    assert_eq!(headers["ratelimit-policy"], "\"default\";q=60;w=60");
    for _ in 0..29 {
        assert_eq!(ask("getHistory", &[]).0, Ok(()));
    }
    let (refused, used) = ask("getHistory", &[]);
    assert_eq!((refused, used.unwrap().left), (Err((Code::RateLimited, Some(2_000))), 0));
    // What costs nothing is not refused; another client has its own, and a key, too.
    assert_eq!(ask("livez", &[]).0, Ok(()));
    let read = [("x-api-key", fixture.texts[0].as_str())];
    assert_eq!(ask("getHistory", &read).1.unwrap().quota, 3);
    assert_eq!(ask("getHistory", &read).0, Err((Code::RateLimited, Some(20_000))));
    fixture.clock.advance(Duration::from_secs(2)).await;
    assert_eq!(ask("getHistory", &[]).0, Ok(()));
    assert_eq!(ask("getHistory", &[]).0.unwrap_err().0, Code::RateLimited);
    // Guessing at keys is dear to the address.
    fixture.clock.advance(Duration::from_secs(11)).await;
    let wrong = [("x-api-key", "cw_00000000_0")];
    assert_eq!(ask("getTicker", &wrong).0.unwrap_err().0, Code::Unauthorized);
    assert_eq!(ask("getTicker", &wrong).0.unwrap_err().0, Code::RateLimited);
    assert_eq!(ask("getTicker", &[]).0, Ok(()));
}

#[test]
fn the_page_has_the_cost_of_every_operation() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap();
    for (operation, _, cost) in TERMS {
        let row = page.lines().find(|line| line.starts_with(&format!("| {cost} |"))).unwrap();
        assert!(row.contains(&format!("`{operation}`")), "{operation} costs {cost}");
    }
}

/// What other replicas know: each client has used forty seconds' worth elsewhere.
struct Elsewhere(parking_lot::Mutex<Vec<(String, Duration)>>);

#[async_trait::async_trait]
impl cache::ClientLimits for Elsewhere {
    fn is_shared(&self) -> bool {
        true
    }

    async fn used(&self, client: &str, used: Duration, most: Duration) -> Result<Duration, cache::CacheError> {
        self.0.lock().push((client.to_owned(), used));
        Ok((used + Duration::from_secs(40)).min(most))
    }
}

#[tokio::test]
async fn what_a_client_uses_elsewhere_counts_here() {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let elsewhere = Arc::new(Elsewhere(parking_lot::Mutex::default()));
    let limits = Limits::new(clock.clone(), Arc::clone(&elsewhere) as Arc<dyn cache::ClientLimits>);
    let sharing = tokio::spawn(Arc::clone(&limits).share(CancellationToken::new()));
    let client = Identity::Address([198, 51, 100, 1].into());
    assert_eq!(limits.charge(&client, 60, 5).unwrap().left, 55);
    assert_eq!(limits.charge(&client, 60, 5).unwrap().left, 50);
    while elsewhere.0.lock().is_empty() {
        clock.advance(Duration::from_millis(250)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(*elsewhere.0.lock(), [("198.51.100.1".to_owned(), Duration::from_secs(10))], "told once, together");
    let used = limits.charge(&client, 60, 5).unwrap();
    assert!((5..=6).contains(&used.left), "{used:?}");
    assert!(limits.charge(&client, 60, 10).unwrap().refused_for.is_some());
    sharing.abort();
}
