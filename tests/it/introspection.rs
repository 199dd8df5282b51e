//! Introspection (RFC 7662, RFC 9701) and revocation (RFC 7009) of access tokens.

use crate::support::App;

#[actix_web::test]
async fn a_token_is_active_for_its_resource_server_and_its_client_until_it_is_revoked() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read").await;
    let answer = app.introspect("rs", &token).await.json();
    assert_eq!(answer["active"], true);
    assert_eq!((&answer["client_id"], &answer["scope"]), (&"app".into(), &"read".into()));
    assert!(app.is_active("app", &token).await, "its own client");
    assert!(!app.is_active("other-rs", &token).await, "another resource's server");
    assert!(!app.is_active("narrow", &token).await, "another client of the same resource");
    let other = app.access_token("app", "scope=read").await;
    assert_eq!(app.revoke("app", &token).await.status, 200);
    assert!(!app.is_active("rs", &token).await);
    assert!(app.is_active("rs", &other).await, "only the one token");
}
