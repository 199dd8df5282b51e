//! Traces, as a collector receives them: `make traces` builds the binary with the feature and runs this.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::failures::world::{self, World};
use crate::support::fake::{Fake, ok};
use crate::support::replica::Replica;
use crate::support::session::refresh_at;
use crate::support::{SECRET, TestDatabase, http};

/// The trace and the span that a caller is in.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span as the collector receives it.
#[derive(Debug)]
struct Received {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    /// `None` unless it was set.
    status: Option<u64>,
    attributes: BTreeMap<String, String>,
}

/// The fields of a protobuf message: their numbers, and numbers or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>, u64)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (head, rest) = bytes.split_at(length);
        *bytes = rest;
        head.iter().rev().fold(0, |all, byte| all << 7 | u64::from(byte & 0x7f))
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        let length = match tag & 7 {
            0 => {
                found.push((tag >> 3, Vec::new(), number(&mut bytes)));
                continue;
            }
            1 => 8,
            2 => usize::try_from(number(&mut bytes)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        found.push((tag >> 3, value.to_vec(), 0));
        bytes = rest;
    }
    found
}

fn inner(bytes: &[u8], field: u64) -> Vec<Vec<u8>> {
    let all = fields(bytes).into_iter();
    all.filter(|(number, ..)| *number == field).map(|(_, value, _)| value).collect()
}

fn text(bytes: &[u8], field: u64) -> String {
    let value = inner(bytes, field).pop().unwrap_or_default();
    String::from_utf8(value).unwrap()
}

fn hex(bytes: &[u8], field: u64) -> String {
    let value = inner(bytes, field).pop().unwrap_or_default();
    let digits = value.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
}

fn number(bytes: &[u8], field: u64) -> Option<u64> {
    let all = fields(bytes);
    all.iter().find(|(number, ..)| *number == field).map(|(_, _, value)| *value)
}

/// Attributes as text.
fn attributes(bytes: &[u8], field: u64) -> BTreeMap<String, String> {
    let read = |one: Vec<u8>| {
        let value = inner(&one, 2).pop().unwrap();
        let number = number(&value, 3).map(|number| number.to_string());
        let value = if inner(&value, 1).is_empty() { number } else { Some(text(&value, 1)) };
        (text(&one, 1), value.unwrap_or_default())
    };
    inner(bytes, field).into_iter().map(read).collect()
}

fn span(bytes: &[u8]) -> Received {
    Received {
        trace: hex(bytes, 1),
        id: hex(bytes, 2),
        parent: hex(bytes, 4),
        name: text(bytes, 5),
        kind: number(bytes, 6).unwrap(),
        status: inner(bytes, 15).pop().and_then(|status| number(&status, 3)),
        attributes: attributes(bytes, 9),
    }
}

/// A collector and a server that tells it about its requests.
struct Traced {
    collector: Fake,
    server: Replica,
    world: World,
    /// It ends with the test.
    _database: TestDatabase,
}

impl Traced {
    async fn start(more: &[(&str, &str)]) -> Self {
        let collector = Fake::start(|_| Box::new(|_| ok("")));
        let database = TestDatabase::new();
        let directory = database.directory.path();
        let settings = [
            ("JETON__TRACES__ENDPOINT", collector.url.as_str()),
            ("JETON__LOG__FORMAT", "json"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ];
        let settings = [&settings[..], more].concat();
        let server = world::start(&database.url, directory, "traced", &settings).await;
        let world = World::at(&database.url, directory).await;
        Self { collector, server, world, _database: database }
    }

    /// A form sent to an endpoint, with a `traceparent`.
    async fn send(&self, path: &str, form: &str, parent: &str) -> http::Answer {
        let credential = http::basic("app", SECRET);
        let headers = [
            ("authorization", credential.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("traceparent", parent),
        ];
        http::send(&self.server.public, "POST", path, &headers, form.as_bytes()).await
    }

    /// Everything received so far, as it came.
    fn bodies(&self) -> Vec<Vec<u8>> {
        let asked = self.collector.asked.lock().unwrap();
        asked.iter().map(|(_, body)| body.clone()).collect()
    }

    fn spans(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for body in self.bodies() {
            for scope in inner(&body, 1).iter().flat_map(|resource| inner(resource, 2)) {
                all.extend(inner(&scope, 2).iter().map(|bytes| span(bytes)));
            }
        }
        all
    }

    /// Stops the server, which sends what is left, and returns every span.
    async fn stop(&mut self) -> Vec<Received> {
        self.world.db.close().await;
        self.server.process.signal("TERM");
        let ended = self.server.process.ended(Duration::from_secs(20)).await;
        assert_eq!(ended, Some(0), "{}", self.server.process.said());
        self.spans()
    }
}

fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let mut found = spans.iter().filter(|span| span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
    assert!(found.next().is_none(), "several {name}: {spans:#?}");
    one
}

#[actix_web::test]
async fn a_request_is_a_span_of_its_callers_trace_with_what_it_waited_for_inside() {
    let mut traced =
        Traced::start(&[("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")]).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let answer = traced.send("/oauth2/token", "grant_type=client_credentials", &parent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let collector = traced.collector.asked.clone();
    let spans = traced.stop().await;

    let request = named(&spans, "POST /oauth2/token");
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, PARENT));
    // A server's span.
    assert_eq!(request.kind, 2);
    let attribute = |name: &str| request.attributes.get(name).map(String::as_str);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/oauth2/token"),
        ("http.response.status_code", "200"),
        ("client", "app"),
        ("grant", "client_credentials"),
        ("request_id", answer.header("x-request-id")),
    ] {
        assert_eq!(attribute(name), Some(value), "{name}: {request:?}");
    }
    assert_eq!((attribute("reason"), request.status), (None, None));
    for step in ["authenticate", "sign"] {
        let step = named(&spans, step);
        assert_eq!((step.trace.as_str(), &step.parent), (TRACE, &request.id));
    }
    let said = traced.server.process.said();
    assert!(said.contains(&format!("\"trace\":\"{TRACE}\"")), "{said}");

    let asked = collector.lock().unwrap();
    let (head, body) = asked.first().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    let resource = inner(&inner(&inner(body, 1)[0], 1)[0], 1);
    let resource: Vec<_> =
        resource.iter().map(|one| (text(one, 1), text(&inner(one, 2)[0], 1))).collect();
    for (name, value) in [
        ("service.name", "jeton"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment", "test"),
    ] {
        assert!(resource.contains(&(name.to_owned(), value.to_owned())), "{resource:?}");
    }
}

#[actix_web::test]
async fn what_a_refresh_and_a_revocation_wait_for_is_in_their_traces_and_polls_are_in_none() {
    let mut traced = Traced::start(&[]).await;
    let refresh = traced.world.begin("web").await;
    let refreshed = refresh_at(&traced.server.public, "web", &refresh, "").await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let token = traced.server.token().await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let revoked = traced.send("/oauth2/revoke", &format!("token={token}"), &parent).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    // Polls go on all the time.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let spans = traced.stop().await;

    let within = |name: &str, trace: &str| {
        let step = named(&spans, name);
        let root = spans.iter().find(|span| span.id == step.parent).unwrap();
        assert!(root.kind == 2 && root.trace == step.trace, "{name}: {spans:#?}");
        assert!(trace.is_empty() || step.trace == trace, "{name}: {step:?}");
    };
    // Both wait for what is written together with others.
    within("rotate", "");
    within("write", TRACE);
    for span in spans.iter().filter(|span| span.parent.is_empty()) {
        assert!(span.name.starts_with("POST /oauth2/"), "a trace that no request began: {span:?}");
    }
}

#[actix_web::test]
async fn each_statement_of_a_request_is_a_span_with_its_text_and_without_its_values() {
    let mut traced = Traced::start(&[]).await;
    // What is used again is looked at in the database, and ended there.
    let refresh = traced.world.begin("web").await;
    let used = traced.world.read(&refresh).family;
    let mut newest = refresh.clone();
    for _ in 0..2 {
        let answer = refresh_at(&traced.server.public, "web", &newest, "").await;
        newest = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    }
    assert_eq!(refresh_at(&traced.server.public, "web", &refresh, "").await.status, 400);
    let spans = traced.stop().await;

    let look = named(&spans, "FAMILY");
    let end = named(&spans, "FAMILY_END");
    let transaction = named(&spans, "transaction");
    assert_eq!(end.parent, transaction.id);
    let request = spans.iter().find(|span| span.id == transaction.parent).unwrap();
    assert_eq!(request.attributes["reason"], "refresh_reused");
    assert_eq!((&look.trace, look.kind), (&request.trace, 3));
    for statement in [look, end] {
        let system =
            if crate::support::database::server().is_some() { "postgresql" } else { "sqlite" };
        assert_eq!(statement.attributes["db.system.name"], system);
        assert!(statement.attributes["db.query.text"].contains("$1"), "{statement:?}");
    }
    let told = format!("{spans:?}");
    assert!(!told.contains(&used.to_string()), "a value is in a trace");
}

#[actix_web::test]
async fn no_secret_that_a_caller_sends_or_gets_is_in_a_trace_and_refusals_say_why() {
    let mut traced = Traced::start(&[]).await;
    let refresh = traced.world.begin("web").await;
    let refreshed = refresh_at(&traced.server.public, "web", &refresh, "&scope=canary").await;
    assert_eq!(refreshed.status, 400, "{refreshed:?}");
    let refreshed = refresh_at(&traced.server.public, "web", &refresh, "").await.json();
    let token = traced.server.token().await;
    let form = format!("token={token}");
    let asked = http::token(&traced.server.public, "/oauth2/introspect", "rs", SECRET, &form);
    assert_eq!(asked.await.json()["active"], true);
    let form = "grant_type=canary&code=canary&code_verifier=canary";
    let wrong =
        http::token(&traced.server.public, "/oauth2/token", "canary", "canary-secret", form);
    assert_eq!(wrong.await.status, 401);
    let wrong =
        http::token(&traced.server.public, "/oauth2/canary?canary", "app", "canary-secret", form);
    assert_eq!(wrong.await.status, 404);

    let collector = traced.collector.asked.clone();
    let spans = traced.stop().await;
    let secrets = [SECRET, "canary", &token, &refresh];
    let newer = ["access_token", "refresh_token"].map(|name| refreshed[name].as_str().unwrap());
    let sent = collector.lock().unwrap();
    let sent: Vec<_> = sent.iter().map(|(_, body)| String::from_utf8_lossy(body)).collect();
    for secret in secrets.iter().chain(&newer) {
        assert!(sent.iter().all(|body| !body.contains(secret)), "{secret} is in a trace");
    }
    let refused = |reason: &str| {
        let mut found = spans
            .iter()
            .filter(|span| span.attributes.get("reason").is_some_and(|is| is == reason));
        assert!(found.next().is_some(), "{reason}: {spans:#?}");
    };
    refused("client_unknown");
    refused("scope_not_allowed");
}

#[actix_web::test]
async fn a_caller_that_records_nothing_makes_us_record_nothing() {
    let mut traced = Traced::start(&[]).await;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let form = "grant_type=client_credentials";
    assert_eq!(traced.send("/oauth2/token", form, &parent).await.status, 200);
    // A malformed header is none: the request begins a trace of its own.
    assert_eq!(traced.send("/oauth2/token", form, "00-nonsense-1-01").await.status, 200);
    let spans = traced.stop().await;
    let own = named(&spans, "POST /oauth2/token");
    assert!(own.trace != TRACE && own.parent.is_empty(), "{own:?}");
    let said = traced.server.process.said();
    assert!(said.contains(&format!("\"trace\":\"{}\"", own.trace)), "{said}");
}

#[actix_web::test]
async fn a_collector_that_is_away_or_hangs_keeps_no_request_and_no_stop_waiting() {
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = format!("http://{}", hung.local_addr().unwrap());
    for endpoint in [hung.as_str(), "http://127.0.0.1:1"] {
        let mut traced = Traced::start(&[("JETON__TRACES__ENDPOINT", endpoint)]).await;
        for _ in 0..20 {
            traced.server.token().await;
        }
        let stopping = Instant::now();
        assert!(traced.stop().await.is_empty());
        // A bound, not a measurement: without one a hung collector holds the process for its ten seconds.
        assert!(stopping.elapsed() < Duration::from_secs(8), "{endpoint}");
    }
}

#[actix_web::test]
async fn the_sampler_of_the_environment_is_obeyed() {
    let mut traced = Traced::start(&[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    traced.server.token().await;
    assert!(traced.stop().await.is_empty());
}

#[test]
fn an_endpoint_that_cannot_be_meant_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for wrong in ["localhost:4318", "ftp://a", "http://u:p@h:1", "http://h/?q=1"] {
        let environment =
            [("JETON__ISSUER", "https://id.example.com"), ("JETON__TRACES__ENDPOINT", wrong)];
        let data = directory.path().display().to_string();
        let done =
            crate::support::process::jeton(&["--data-dir", &data, "config", "check"], &environment);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(78), "{wrong}: {said}");
        assert!(said.contains("traces.endpoint: write an http or https URL"), "{wrong}: {said}");
    }
}
