//! The main job, end to end.

use crate::support::{API, App, verify};

#[actix_web::test]
async fn a_client_gets_a_token_that_verifies_against_the_jwks() {
    let app = App::start().await;
    let answer = app.token("app", "grant_type=client_credentials&scope=read").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"Bearer".into(), &600.into()));
    assert_eq!(body["scope"], "read");

    let jwks = app.get("/.well-known/jwks.json").await.json();
    let token = body["access_token"].as_str().unwrap();
    let (header, claims) = verify::verify(token, &jwks).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&"at+jwt".into(), &"ES256".into()));
    assert_eq!(claims["iss"], app.running.issuer.as_str());
    assert_eq!((&claims["aud"], &claims["sub"]), (&API.into(), &"app".into()));
    assert_eq!(app.database.sql("select id from clients where id = 'app'"), ["app"]);
    app.stop().await;
}
