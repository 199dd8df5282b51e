//! Signed answers of introspection (RFC 9701).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::forge;
use crate::support::refused::assert_refused;
use crate::support::{API, Answer, App, FIXTURES, OTHER, SECRET, TestDatabase, app, basic, verify};

const PATH: &str = "/oauth2/introspect";
const SIGNED: &str = "application/token-introspection+jwt";

/// A client of the fixtures asks for an answer of these media types.
async fn ask(app: &App, client: &str, token: &str, accept: &str) -> Answer {
    let credential = basic(client, SECRET);
    let headers = [("authorization", credential.as_str()), ("accept", accept)];
    app.post(PATH, &headers, &format!("token={token}")).await
}

/// The signed answer that a client gets, in compact form.
async fn signed(app: &App, client: &str, token: &str) -> String {
    let answer = ask(app, client, token, SIGNED).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, SIGNED));
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    String::from_utf8(answer.body).unwrap()
}

/// Header and claims of an answer, checked with the JWKS.
async fn verified(app: &App, answer: &str) -> (Value, Value) {
    let jwks = app.get("/.well-known/jwks.json").await.json();
    verify::verify(answer, &jwks).unwrap()
}

#[actix_web::test]
async fn a_signed_answer_is_a_typed_jwt_for_the_caller_with_no_exp_and_no_sub_of_its_own() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read").await;
    app.clock.advance(Duration::from_millis(5_700));
    let answer = signed(&app, "rs", &token).await;
    let (header, claims) = verified(&app, &answer).await;
    let kid = forge::header(&token)["kid"].clone();
    assert_eq!(header, json!({"typ": "token-introspection+jwt", "alg": "ES256", "kid": kid}));
    let plain = app.introspect("rs", &token).await.json();
    assert_eq!((&plain["active"], &plain["aud"]), (&json!(true), &json!(API)));
    let expected = json!({
        "iss": app.running.issuer.as_str(), "aud": "rs", "iat": app::START.seconds() + 5,
        "token_introspection": plain,
    });
    assert_eq!(claims, expected);
    assert!(claims["iat"].is_i64());
    let other = verified(&app, &signed(&app, "app", &token).await).await.1;
    assert_eq!(other["aud"], "app", "the caller, and not the token's audience");
}

#[actix_web::test]
async fn an_inactive_token_is_just_inactive_inside_whatever_the_cause() {
    let app = App::start().await;
    let token = async |client: &str| app.access_token(client, "").await;
    let (revoked, off, gone) = (token("app").await, token("off").await, token("narrow").await);
    let (foreign, over) = (token("rich").await, token("app").await);
    assert_eq!(app.revoke("app", &revoked).await.status, 200);
    app.running.desk.disable_client("off", app.clock.now()).await.unwrap();
    app.running.desk.delete_client("narrow", app.clock.now()).await.unwrap();
    app.beat().await;
    app.clock.advance(Duration::from_secs(600));
    let long = "a".repeat(60_000);
    for token in [&revoked, &off, &gone, &foreign, &over, "x", "%00", &long] {
        let answer = signed(&app, "rs", token).await;
        let (header, claims) = verified(&app, &answer).await;
        assert_eq!(header["typ"], "token-introspection+jwt");
        let expected = json!({
            "iss": app.running.issuer.as_str(), "aud": "rs", "iat": app.clock.now().seconds(),
            "token_introspection": {"active": false},
        });
        assert_eq!(claims, expected);
    }
}

#[actix_web::test]
async fn a_signed_answer_is_under_the_algorithm_of_its_caller() {
    let lines = "[keys]\nalgorithms = [\"ES256\", \"Ed25519\"]\n";
    let fixtures = FIXTURES.replacen("id = \"rs\"\n", "id = \"rs\"\nalgorithm = \"Ed25519\"\n", 1);
    let app = App::on(TestDatabase::new(), lines, &fixtures).await;
    let token = app.access_token("app", "").await;
    assert_eq!(forge::header(&token)["alg"], "ES256");
    for (caller, algorithm) in [("rs", "Ed25519"), ("app", "ES256")] {
        let (header, claims) = verified(&app, &signed(&app, caller, &token).await).await;
        assert_eq!((&header["alg"], &claims["aud"]), (&json!(algorithm), &json!(caller)));
    }
    let names = app.get("/.well-known/oauth-authorization-server").await.json();
    let names = &names["introspection_signing_alg_values_supported"];
    assert_eq!(names, &json!(["ES256", "Ed25519"]));
}

#[actix_web::test]
async fn a_signed_answer_is_never_taken_for_an_access_token() {
    let app = App::start().await;
    let url = app.running.issuer.url(PATH);
    app.apply(&format!(
        "[[resource]]\nid = \"{url}\"\nscopes = [\"introspect\"]\n\
         [[client]]\nid = \"asker\"\nsecret = \"{SECRET}\"\nresources = [\"{url}\"]\n\
         introspects = [\"{API}\"]\n"
    ))
    .await;
    let caller = app.access_token("asker", "").await;
    let token = app.access_token("app", "").await;
    for (asker, about) in [("asker", &caller), ("asker", &token), ("rs", &token), ("app", &token)] {
        let answer = signed(&app, asker, about).await;
        assert!(!app.is_active(asker, &answer).await, "its own caller asks");
        assert!(!app.is_active("rs", &answer).await);
        let bearer = format!("Bearer {answer}");
        let used = app.post(PATH, &[("authorization", &bearer)], &format!("token={token}")).await;
        assert_eq!(used.error(), (401, "invalid_token".to_owned()));
        let [_, payload, _] = forge::parts(&answer);
        let [header, _, signature] = forge::parts(&token);
        let moved = [header, payload, signature].join(".");
        assert!(!app.is_active("rs", &moved).await, "its payload under an access token's header");
    }
    assert_eq!(app.revoke("asker", &signed(&app, "asker", &caller).await).await.status, 200);
    assert!(app.is_active("asker", &caller).await, "it is not the token it speaks of");
}

#[actix_web::test]
async fn a_caller_of_a_signed_answer_who_says_nothing_is_refused_with_400_and_a_wrong_one_with_401()
{
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    for form in [format!("token={token}"), "token=x".to_owned(), String::new()] {
        let nobody = app.post(PATH, &[("accept", SIGNED)], &form).await;
        assert_refused(&nobody, 400, "invalid_request");
        let wrong = basic("rs", "wrong-secret-of-rs");
        let headers = [("accept", SIGNED), ("authorization", wrong.as_str())];
        assert_refused(&app.post(PATH, &headers, &form).await, 401, "invalid_client");
    }
    let form = format!("token={token}&client_id=public");
    let named = app.post(PATH, &[("accept", SIGNED)], &form).await;
    assert!((400..=401).contains(&named.status), "{named:?}");
    assert_eq!(named.header("content-type"), "application/json");
}

#[actix_web::test]
async fn the_weights_of_accept_decide_and_what_is_not_asked_for_by_name_is_json() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/jwt", "application/json"),
        ("application/json, */*", "application/json"),
        ("text/html", "application/json"),
        ("application/token-introspection+jwt;q=0, application/json", "application/json"),
        ("application/token-introspection+jwt;q=0.1, application/json;q=0.2", "application/json"),
        ("application/token-introspection+jwt;q=0.2, application/json;q=0.1", SIGNED),
        ("application/json;q=0, application/token-introspection+jwt;q=0.001", SIGNED),
        ("APPLICATION/TOKEN-INTROSPECTION+JWT ; Q=1", SIGNED),
        ("*/*;q=0.5, application/token-introspection+jwt;q=0.4", SIGNED),
    ] {
        let answer = ask(&app, "rs", &token, accept).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{accept}");
    }
}

#[actix_web::test]
async fn extra_claims_stay_inside_and_cannot_change_the_outer_claims() {
    let fixtures =
        FIXTURES.replacen("tier = 1", "tier = 1, client = \"x\", \"a.b\" = \"\\\"}\"", 1);
    let app = App::on(TestDatabase::new(), "", &fixtures).await;
    let token = app.access_token("rich", "").await;
    let (_, claims) = verified(&app, &signed(&app, "other-rs", &token).await).await;
    let names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let inside = &claims["token_introspection"];
    assert_eq!((&inside["aud"], &inside["a.b"]), (&json!(OTHER), &json!("\"}")));
}
