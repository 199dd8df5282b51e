//! An access token in place of a client credential at the introspection endpoint (RFC 6750).

use std::time::Duration;

use jeton::keys::TokenType;

use crate::support::forge;
use crate::support::refused::assert_refused;
use crate::support::{API, Answer, App, SECRET, http};

const PATH: &str = "/oauth2/introspect";

/// A server with `asker`, whose tokens open this endpoint and who serves the API; `dull`, whose
/// tokens are for this endpoint but lack its scope; and `visitor`, who may ask and serves nothing.
async fn start() -> App {
    let app = App::start().await;
    let url = here(&app);
    let client = |id: &str, more: &str| {
        format!(
            "[[client]]\nid = \"{id}\"\nsecret = \"{SECRET}\"\nresources = [\"{url}\"]\n{more}\n"
        )
    };
    let text = [
        format!("[[resource]]\nid = \"{url}\"\nscopes = [\"introspect\", \"introspection\"]\n"),
        client("asker", &format!("scopes = [\"introspect\"]\nintrospects = [\"{API}\"]")),
        client("dull", &format!("scopes = [\"introspection\"]\nintrospects = [\"{API}\"]")),
        client("visitor", "scopes = [\"introspect\"]"),
    ];
    app.apply(&text.concat()).await;
    app
}

fn here(app: &App) -> String {
    app.running.issuer.url(PATH)
}

/// A request with this `Authorization` header.
async fn with(app: &App, authorization: &str, form: &str) -> Answer {
    app.post(PATH, &[("authorization", authorization)], form).await
}

/// The challenges of an answer, in order.
fn challenges(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
    all.map(|(_, value)| value.as_str()).collect()
}

/// The refusal of a bad token: one Bearer challenge with its error, and the same error in JSON.
#[track_caller]
fn assert_bad_token(app: &App, answer: &Answer, why: &str) {
    assert_eq!(answer.error(), (401, "invalid_token".to_owned()), "{why}");
    let expected =
        format!("Bearer realm=\"{}\", error=\"invalid_token\"", app.running.issuer.as_str());
    assert_eq!(challenges(answer), [expected], "{why}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
}

#[actix_web::test]
async fn a_token_for_this_endpoint_stands_for_its_client_however_the_scheme_is_spelt() {
    let app = start().await;
    let caller = app.access_token("asker", "").await;
    let token = app.access_token("app", "").await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let answer = with(&app, &format!("{scheme} {caller}"), &format!("token={token}")).await;
        assert_eq!((answer.status, &answer.json()["active"]), (200, &true.into()), "{scheme}");
    }
    // It may see what its client may see, and no more.
    let visitor = format!("Bearer {}", app.access_token("visitor", "").await);
    let answer = with(&app, &visitor, &format!("token={token}")).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &br#"{"active":false}"#[..]));
    let bearer = format!("Bearer {caller}");
    assert_eq!(with(&app, &bearer, &format!("token={caller}")).await.json()["active"], true);
    assert_refused(&with(&app, &bearer, "").await, 400, "invalid_request");
    let signed =
        [("authorization", bearer.as_str()), ("accept", "application/token-introspection+jwt")];
    let signed = app.post(PATH, &signed, &format!("token={token}")).await;
    let claims = forge::payload(std::str::from_utf8(&signed.body).unwrap());
    assert_eq!(claims["aud"], "asker");
}

#[actix_web::test]
async fn whoever_brings_nothing_hears_of_both_ways_and_of_no_error_of_a_token() {
    let app = start().await;
    let realm = format!("realm=\"{}\"", app.running.issuer.as_str());
    let expected = [format!("Basic {realm}, charset=\"UTF-8\""), format!("Bearer {realm}")];
    let wrong = crate::support::basic("rs", "wrong-secret-of-rs");
    for headers in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", "Digest x")]]
    {
        let answer = app.post(PATH, headers, "token=x").await;
        assert_refused(&answer, 401, "invalid_client");
        assert_eq!(challenges(&answer), expected);
    }
    // The other endpoints take no access token, and do not say they do.
    for path in ["/oauth2/token", "/oauth2/revoke"] {
        let answer = app.post(path, &[], "token=x&grant_type=client_credentials").await;
        assert_refused(&answer, 401, "invalid_client");
        assert_eq!(challenges(&answer), [expected[0].as_str()], "{path}");
    }
}

#[actix_web::test]
async fn a_token_in_the_query_or_in_the_form_is_never_looked_at() {
    let app = start().await;
    let caller = app.access_token("asker", "").await;
    let token = app.access_token("app", "").await;
    let form = format!("token={token}");
    for query in [
        format!("?access_token={caller}"),
        format!("?access_token={caller}&token={token}"),
        format!("?authorization=Bearer%20{caller}"),
    ] {
        let answer = app.post(&format!("{PATH}{query}"), &[], &form).await;
        assert_refused(&answer, 401, "invalid_client");
        assert!(challenges(&answer).iter().all(|one| !one.contains("error=")));
    }
    let answer = app.post(PATH, &[], &format!("{form}&access_token={caller}")).await;
    assert_refused(&answer, 401, "invalid_client");
}

#[actix_web::test]
async fn a_token_that_is_over_revoked_foreign_or_for_something_else_is_an_invalid_token() {
    let app = start().await;
    let caller = app.access_token("asker", "").await;
    let elsewhere = start().await;
    let foreign = elsewhere.access_token("asker", "").await;
    let wrong_audience = app.access_token("app", "").await;
    let revoked = app.access_token("asker", "").await;
    assert_eq!(app.revoke("asker", &revoked).await.status, 200);
    let mut claims = forge::claims(&app);
    claims["aud"] = here(&app).into();
    claims["client_id"] = "asker".into();
    claims["scope"] = "introspect".into();
    claims["sub"] = "somebody-else".into();
    let of_a_person = forge::signed_by_us(&app, TokenType::Access, claims.to_string().as_bytes());
    let altered = caller.replacen('e', "f", 1);
    let unsigned = caller.rsplit_once('.').unwrap().0.to_owned() + ".";
    for (token, why) in [
        ("x.y.z", "garbage"),
        (foreign.as_str(), "another issuer's"),
        (&wrong_audience, "for the API"),
        (&revoked, "revoked"),
        (&of_a_person, "about somebody else than its client"),
        (&altered, "altered"),
        (&unsigned, "without its signature"),
        (&"a".repeat(10_000), "long"),
    ] {
        let answer = with(&app, &format!("Bearer {token}"), &format!("token={caller}")).await;
        assert_bad_token(&app, &answer, why);
    }
    let bearer = format!("Bearer {caller}");
    app.running.desk.disable_client("asker", app.clock.now()).await.unwrap();
    app.beat().await;
    assert_bad_token(&app, &with(&app, &bearer, "token=x").await, "its client is switched off");
    app.running.desk.enable_client("asker", app.clock.now()).await.unwrap();
    app.beat().await;
    assert_eq!(with(&app, &bearer, "token=x").await.status, 200);
    app.clock.advance(Duration::from_secs(600));
    assert_bad_token(&app, &with(&app, &bearer, "token=x").await, "over");
    // What is bad about the caller comes before what is bad about the form.
    assert_bad_token(&app, &with(&app, &bearer, "").await, "over, and asks nothing");
}

#[actix_web::test]
async fn a_token_without_the_scope_is_refused_with_403_and_told_which() {
    let app = start().await;
    let dull = app.access_token("dull", "").await;
    assert_eq!(forge::payload(&dull)["scope"], "introspection");
    let token = app.access_token("app", "").await;
    let answer = with(&app, &format!("Bearer {dull}"), &format!("token={token}")).await;
    assert_eq!(answer.error(), (403, "insufficient_scope".to_owned()));
    let realm = app.running.issuer.as_str();
    let expected =
        format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"introspect\"");
    assert_eq!(challenges(&answer), [expected]);
}

#[actix_web::test]
async fn more_than_one_way_of_saying_who_asks_is_an_invalid_request() {
    let app = start().await;
    let caller = format!("Bearer {}", app.access_token("asker", "").await);
    let right = crate::support::basic("rs", SECRET);
    for (one, two) in [(&caller, &caller), (&caller, &right), (&right, &caller)] {
        let headers = [("authorization", one.as_str()), ("authorization", two.as_str())];
        assert_refused(&app.post(PATH, &headers, "token=x").await, 400, "invalid_request");
    }
    for more in ["client_secret=x", "client_id=asker&client_secret=correct-horse-battery-staple"] {
        let answer = with(&app, &caller, &format!("token=x&{more}")).await;
        assert_refused(&answer, 400, "invalid_request");
    }
}

#[actix_web::test]
async fn what_is_not_one_word_of_token_characters_is_malformed() {
    let app = start().await;
    let caller = app.access_token("asker", "").await;
    for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer \"x\"", "Bearer x,y", "Bearer ="] {
        assert_refused(&with(&app, value, "token=x").await, 400, "invalid_request");
    }
    let twice = format!("Bearer {caller}, Bearer {caller}");
    assert_refused(&with(&app, &twice, "token=x").await, 400, "invalid_request");
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer \u{e9}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\ntoken=x"
    );
    let answer = http::raw(&app.public(), request.as_bytes()).await.unwrap();
    assert_refused(&answer, 400, "invalid_request");
}

#[actix_web::test]
async fn an_access_token_is_no_client_credential_at_the_other_endpoints() {
    let app = start().await;
    let caller = format!("Bearer {}", app.access_token("asker", "").await);
    let token = app.access_token("asker", "").await;
    for (path, form) in [
        ("/oauth2/token", "grant_type=client_credentials".to_owned()),
        ("/oauth2/token", "grant_type=client_credentials&client_id=asker".to_owned()),
        ("/oauth2/revoke", format!("token={token}")),
        ("/oauth2/revoke", format!("token={token}&client_id=asker")),
        ("/oauth2/revoke", format!("token={token}&client_id=public")),
    ] {
        let answer = app.post(path, &[("authorization", &caller)], &form).await;
        assert_refused(&answer, 401, "invalid_client");
    }
    assert!(app.is_active("asker", &token).await);
}
