//! Public documents: what caches, browsers and discovery clients rely on (RFC 8414, RFC 9110).

use std::io::Read;

use serde_json::Value;

use crate::support::http::{Answer, send};
use crate::support::{App, TestDatabase, app};

const JWKS: &str = "/.well-known/jwks.json";
const DOCUMENTS: [&str; 4] = [
    JWKS,
    "/.well-known/jwks-schedule",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
];

async fn get(app: &App, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(&app.public(), "GET", path, headers, b"").await
}

#[actix_web::test]
async fn a_document_that_has_not_changed_is_not_sent_again() {
    let app = App::start().await;
    for path in DOCUMENTS {
        let first = get(&app, path, &[]).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");
        for held in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = get(&app, path, &[("if-none-match", &held)]).await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {held}");
            assert_eq!(again.header("etag"), tag);
            assert_eq!(again.header("cache-control"), first.header("cache-control"));
        }
        let other = get(&app, path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!((other.status, &other.body), (200, &first.body));
    }
}

#[actix_web::test]
async fn the_compressed_coding_is_another_representation_of_the_same_text() {
    let app = App::start().await;
    for path in DOCUMENTS {
        let plain = get(&app, path, &[]).await;
        let zipped = get(&app, path, &[("accept-encoding", "br, GZIP;q=0.5")]).await;
        assert_eq!(
            (plain.header("content-encoding"), zipped.header("content-encoding")),
            ("", "gzip")
        );
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body);
        assert_ne!(plain.header("etag"), zipped.header("etag"));
        for answer in [&plain, &zipped] {
            assert_eq!(answer.header("vary"), "Accept-Encoding");
        }
        let refused = get(&app, path, &[("accept-encoding", "gzip;q=0, identity")]).await;
        assert_eq!(refused.header("content-encoding"), "");
        let held = [("accept-encoding", "gzip"), ("if-none-match", plain.header("etag"))];
        assert_eq!(get(&app, path, &held).await.status, 200, "the tag is of the other coding");
    }
}

#[actix_web::test]
async fn head_has_the_headers_and_any_origin_may_read() {
    let app = App::start().await;
    for path in DOCUMENTS {
        let whole = get(&app, path, &[("origin", "https://spa.example")]).await;
        assert_eq!(whole.header("access-control-allow-origin"), "*");
        let head = send(&app.public(), "HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["etag", "cache-control", "content-type", "content-length"] {
            assert_eq!(head.header(name), whole.header(name), "{name}");
        }
        let asked = [("origin", "https://spa.example"), ("access-control-request-method", "GET")];
        let preflight = send(&app.public(), "OPTIONS", path, &asked, b"").await;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-headers"), "If-None-Match");
    }
}

#[actix_web::test]
async fn no_header_of_a_caller_bends_a_document() {
    let app = App::start().await;
    for path in DOCUMENTS {
        let straight = get(&app, path, &[]).await;
        for (name, value) in [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
            ("x-original-url", "/evil"),
            ("accept", "application/jwk-set+json"),
        ] {
            let bent = get(&app, path, &[(name, value)]).await;
            // A second Host header is itself malformed; nothing of it may come back either way.
            assert!(!String::from_utf8_lossy(&bent.body).contains("evil"), "{name}");
            assert!(bent.status == 400 || bent.body == straight.body, "{name}");
        }
    }
}

#[actix_web::test]
async fn metadata_is_the_same_in_all_three_places_of_an_issuer_with_a_path() {
    let issuer = "http://127.0.0.1:8080/t/1";
    let settings = format!("issuer = \"{issuer}\"\n");
    let app = App::with(&settings).await;
    let mut texts = Vec::new();
    for path in [
        "/.well-known/oauth-authorization-server/t/1",
        "/.well-known/openid-configuration/t/1",
        "/t/1/.well-known/openid-configuration",
    ] {
        let answer = get(&app, path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        texts.push(answer.body);
    }
    assert!(texts.iter().all(|text| *text == texts[0]));
    let metadata: Value = serde_json::from_slice(&texts[0]).unwrap();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(get(&app, "/.well-known/openid-configuration", &[]).await.status, 404);
    assert_eq!(get(&app, "/.well-known/jwks.json", &[]).await.status, 404);
    assert_eq!(get(&app, "/t/1/.well-known/jwks.json", &[]).await.status, 200);
}

#[actix_web::test]
async fn every_advertised_url_answers_and_nothing_empty_is_advertised() {
    for fixtures in [crate::support::FIXTURES, ""] {
        let app = App::on(TestDatabase::new(), "", fixtures).await;
        let metadata = get(&app, DOCUMENTS[3], &[]).await.json();
        assert_eq!(metadata.get("scopes_supported").is_some(), !fixtures.is_empty());
        for (name, value) in metadata.as_object().unwrap() {
            assert!(
                !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()),
                "{name}"
            );
            let text = value.as_str().unwrap_or("");
            if let Some(path) =
                text.strip_prefix(app.running.issuer.as_str()).filter(|p| !p.is_empty())
            {
                let method = if name.ends_with("_endpoint") { "POST" } else { "GET" };
                let answer = send(&app.public(), method, path, &[], b"").await;
                assert!(![404, 405].contains(&answer.status), "{name}: {}", answer.status);
            }
        }
    }
}

#[actix_web::test]
async fn what_metadata_says_is_supported_is_what_works() {
    let app = App::start().await;
    let metadata = get(&app, DOCUMENTS[3], &[]).await.json();
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert_eq!(methods, &["client_secret_basic", "client_secret_post", "none"]);
    let grants = ["client_credentials", "authorization_code", "refresh_token"];
    assert_eq!(metadata["grant_types_supported"], serde_json::json!(grants));
    assert_eq!(metadata["response_types_supported"], serde_json::json!(["code"]));
    assert_eq!(metadata["response_modes_supported"], serde_json::json!(["query"]));
    assert_eq!(metadata["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    let scopes: Vec<_> = metadata["scopes_supported"].as_array().unwrap().clone();
    assert_eq!(scopes, ["list", "read", "write"]);
    // It follows what operators register.
    let description = jeton::manage::describe::ResourceDescription {
        id: "urn:new".to_owned(),
        scopes: vec![jeton::manage::describe::ScopeDescription::Name("fresh".to_owned())],
        ..Default::default()
    };
    app.running.desk.create_resource(&description, app::START).await.unwrap();
    app.beat().await;
    let metadata = get(&app, DOCUMENTS[3], &[]).await.json();
    assert!(metadata["scopes_supported"].as_array().unwrap().contains(&"fresh".into()));
}

#[actix_web::test]
async fn max_age_shrinks_as_a_rotation_nears_and_the_jwks_changes_with_it() {
    let app = App::start().await;
    let age = |answer: &Answer| -> u64 {
        answer.header("cache-control").rsplit('=').next().unwrap().parse().unwrap()
    };
    let before = get(&app, JWKS, &[]).await;
    assert_eq!(age(&before), 300);
    app.clock.advance(std::time::Duration::from_secs(30 * 86400 - 100));
    let near = get(&app, JWKS, &[]).await;
    assert_eq!((age(&near), near.header("etag")), (100, before.header("etag")));
    app.clock.advance(std::time::Duration::from_secs(90));
    assert_eq!(age(&get(&app, JWKS, &[]).await), 60, "never so low that all caches ask at once");
    app.clock.advance(std::time::Duration::from_secs(10));
    let after = get(&app, JWKS, &[]).await;
    assert_ne!(after.header("etag"), before.header("etag"));
    let first = |answer: &Answer| answer.json()["keys"][0]["kid"].to_string();
    assert_ne!(first(&after), first(&before), "the active key stands first");
}
