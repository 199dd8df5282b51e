//! `openapi.yaml` tells the truth: it has the routes that we answer and no others, and what we
//! answer is what it says, header by header and member by member.

use std::collections::BTreeSet;

use jeton::http::{Listener, ROUTES};
use serde_json::{Value, json};

use crate::support::http::{self, Answer, send};
use crate::support::sign_in::{PASSWORD, open, redeem, request, with_people};
use crate::support::{App, SECRET, basic};

const AUTHORIZE: &str = "/oauth2/authorize";

fn document() -> Value {
    let text = include_str!("../../openapi.yaml");
    // YAML's anchors are resolved while it is read; what is left is JSON.
    serde_yaml_ng::from_str(text).unwrap()
}

#[test]
fn every_route_is_documented_and_everything_documented_is_a_route() {
    let document = document();
    let routed: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|m| (route.path.to_owned(), m.to_lowercase())))
        .collect();
    let verbs = ["get", "head", "post", "put", "delete", "patch", "options", "trace"];
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods =
                item.as_object().unwrap().keys().filter(|key| verbs.contains(&key.as_str()));
            methods.map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(routed, documented);
}

#[test]
fn every_error_code_and_status_of_the_reasons_is_documented() {
    let document = document();
    let codes = &document["components"]["schemas"]["Error"]["properties"]["error"]["enum"];
    let answers = ["token", "introspect", "revoke", "authorize"]
        .map(|name| &document["paths"][format!("/oauth2/{name}")]["post"]["responses"]);
    let mut used = BTreeSet::new();
    for reason in jeton::domain::Reason::ALL {
        let public = reason.public();
        used.insert(public.error);
        let documented = codes.as_array().unwrap().iter().any(|code| code == public.error);
        assert!(documented, "{reason}: {}", public.error);
        let status = public.status.to_string();
        let known = answers.iter().any(|answers| answers.get(&status).is_some());
        assert!(status == "404" || known, "{reason}: {status}");
    }
    let documented: BTreeSet<_> =
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(used, documented);
}

/// Follows a `$ref` within the document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Holds one answer against the document.
fn check(document: &Value, path: &str, method: &str, answer: &Answer) {
    let place = format!("{method} {path} {}", answer.status);
    let item = &document["paths"][path];
    // A method that the path does not have is answered as its GET or POST documents it.
    let operation = [method, "get", "post"].iter().find_map(|one| item.get(*one)).unwrap();
    let response = &operation["responses"][answer.status.to_string()];
    assert!(!response.is_null(), "{place} is not documented: {answer:?}");
    let response = resolve(document, response);
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolve(document, header);
        let found = answer.header(&name.to_lowercase());
        assert!(!found.is_empty() || header["required"] != true, "{place}: no {name}");
        if let Some(wanted) = header["schema"]["const"].as_str().filter(|_| !found.is_empty()) {
            assert_eq!(found, wanted, "{place}: {name}");
        }
    }
    let framing = ["content-length", "content-type", "date", "connection"];
    for (name, _) in answer.headers.iter().filter(|(name, _)| !framing.contains(&name.as_str())) {
        let known = response["headers"].as_object().into_iter().flatten();
        let known = known.map(|(name, _)| name.to_lowercase());
        assert!(known.into_iter().any(|one| one == *name), "{place}: {name} is not documented");
    }
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        assert!(answer.body.is_empty(), "{place}: a body that is not documented");
        return;
    };
    let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
    let schema = content.get(&kind).unwrap_or_else(|| panic!("{place}: {kind}"));
    if kind == "application/json" {
        let schema = json!({
            "allOf": [schema["schema"]],
            "components": document["components"],
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let body = answer.json();
        let mistakes: Vec<_> = validator.iter_errors(&body).map(|e| e.to_string()).collect();
        assert!(mistakes.is_empty(), "{place}: {mistakes:?} in {body}");
    }
}

#[actix_web::test]
async fn every_answer_of_the_token_endpoint_is_documented() {
    let app = App::start().await;
    let document = document();
    let path = "/oauth2/token";
    let right = basic("app", SECRET);
    let wrong = basic("app", "a-secret-that-is-wrong");
    let form = "application/x-www-form-urlencoded";
    let good = "grant_type=client_credentials";
    let large = format!("{good}&x={}", "a".repeat(70_000));
    for (authorization, kind, body, status) in [
        (right.as_str(), form, good, 200),
        (&right, form, "grant_type=password", 400),
        (&right, form, "grant_type=client_credentials&scope=%00", 400),
        (&right, "application/json", "{}", 400),
        (&wrong, form, good, 401),
        (&right, form, &large, 413),
    ] {
        let headers = [("authorization", authorization), ("content-type", kind)];
        let answer = send(&app.public(), "POST", path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status);
        check(&document, path, "post", &answer);
    }
    for _ in 0..60 {
        app.token_with("idle", "a-secret-that-is-wrong", good).await;
    }
    let answer = app.token("idle", good).await;
    assert_eq!(answer.status, 429);
    check(&document, path, "post", &answer);
    check(&document, path, "delete", &send(&app.public(), "DELETE", path, &[], b"").await);
    app.clock.advance(std::time::Duration::from_secs(3600));
    app.running.desk.db.close().await;
    app.beat().await;
    let answer = app.token("app", good).await;
    assert_eq!(answer.status, 503);
    check(&document, path, "post", &answer);
}

#[actix_web::test]
async fn every_answer_of_the_authorization_endpoint_is_documented() {
    let settings = "[limits]\nfailures_per_client = \"1/m burst 1\"\n";
    let app = with_people(settings).await;
    let document = document();
    let page = open(&app, &request("spa", &[])).await;
    check(&document, AUTHORIZE, "get", &page.answer);
    for (changed, status) in [
        (("state", "x"), 200),
        (("scope", "x"), 303),
        (("client_id", "nobody"), 400),
        (("redirect_uri", "https://evil.example/"), 400),
    ] {
        let request = request("spa", &[changed]);
        let answer = app.get(&format!("{AUTHORIZE}?{request}")).await;
        assert_eq!(answer.status, status);
        check(&document, AUTHORIZE, "get", &answer);
        let answer = app.post(AUTHORIZE, &[], &request).await;
        assert_eq!(answer.status, status);
        check(&document, AUTHORIZE, "post", &answer);
    }
    for (password, status) in [(PASSWORD, 303), ("wrong", 400), (PASSWORD, 429)] {
        let answer = page.allow(&app, "alice", password).await;
        assert_eq!(answer.status, status);
        check(&document, AUTHORIZE, "post", &answer);
    }
    let large = app.post(AUTHORIZE, &[], &"a".repeat(70_000)).await;
    assert_eq!(large.status, 413);
    check(&document, AUTHORIZE, "post", &large);
    let verb = send(&app.public(), "DELETE", AUTHORIZE, &[], b"").await;
    check(&document, AUTHORIZE, "get", &verb);
    // What a client gets for its code is documented too.
    app.clock.advance(std::time::Duration::from_secs(60));
    let code = crate::support::sign_in::code(&app, "web", &[]).await;
    for status in [200, 400] {
        let answer = redeem(&app, "web", &code, &[]).await;
        assert_eq!(answer.status, status);
        check(&document, "/oauth2/token", "post", &answer);
    }
    app.running.desk.db.close().await;
    let answer = page.allow(&app, "alice", PASSWORD).await;
    assert_eq!(answer.status, 503);
    check(&document, AUTHORIZE, "post", &answer);
}

#[actix_web::test]
async fn every_header_that_a_page_of_a_client_gets_is_documented() {
    let app = with_people("").await;
    let document = document();
    let page_of_spa = "https://spa.example.test";
    for (path, form, status) in [
        ("/oauth2/token", "grant_type=refresh_token&refresh_token=x&client_id=spa", 400),
        ("/oauth2/token", "grant_type=refresh_token&client_id=nobody", 401),
        ("/oauth2/revoke", "token=x&client_id=spa", 200),
    ] {
        for origin in [page_of_spa, "https://evil.example"] {
            let answer = app.post(path, &[("origin", origin)], form).await;
            assert_eq!(answer.status, status);
            check(&document, path, "post", &answer);
            let asked = [("origin", origin), ("access-control-request-method", "POST")];
            let answer = send(&app.public(), "OPTIONS", path, &asked, b"").await;
            check(&document, path, "options", &answer);
        }
    }
}

#[actix_web::test]
async fn every_answer_of_the_documents_and_of_operations_is_documented() {
    let app = App::start().await;
    let document = document();
    // The authorization endpoint has a test of its own.
    for route in ROUTES.iter().filter(|route| route.path != AUTHORIZE) {
        let address =
            if route.listener == Listener::Public { app.public() } else { app.operations() };
        for method in route.methods.iter().filter(|method| **method != "POST") {
            let answer = send(&address, method, route.path, &[], b"").await;
            assert!(answer.status < 300, "{method} {}: {answer:?}", route.path);
            check(&document, route.path, &method.to_lowercase(), &answer);
            let tag = answer.header("etag").to_owned();
            if !tag.is_empty() {
                let held = [("if-none-match", tag.as_str())];
                let answer = send(&address, method, route.path, &held, b"").await;
                assert_eq!(answer.status, 304);
                check(&document, route.path, &method.to_lowercase(), &answer);
            }
        }
        if route.methods.contains(&"GET") {
            let answer = send(&address, "DELETE", route.path, &[], b"").await;
            assert_eq!(answer.status, 405);
            check(&document, route.path, "get", &answer);
        }
    }
    let plain = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = http::raw_from(&http::elsewhere(), &app.public(), plain).await.unwrap();
    assert_eq!(answer.status, 403);
    for route in ROUTES.iter().filter(|route| route.listener == Listener::Public) {
        for method in route.methods {
            check(&document, route.path, &method.to_lowercase(), &answer);
        }
    }
    app.running.health.drain();
    let ready = "/healthz/ready";
    let answer = send(&app.operations(), "GET", ready, &[], b"").await;
    assert_eq!(answer.status, 503);
    check(&document, ready, "get", &answer);
}
