//! What a replica must know before it answers a question about tokens, and who may make it ask.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::refused::FORM;
use crate::support::{App, SECRET, http};

/// Returns when a poll of this replica that was sent after this moment has ended.
async fn polled(app: &App) {
    let asked = app.clock.tick();
    app.running.service.mirror.freshness.since(asked, &app.clock).await.unwrap();
}

/// All keys that could sign are stolen: the next token is by one that was made a moment ago.
async fn lose_all_keys(app: &App) {
    let desk = &app.running.desk;
    for stage in ["active", "next"] {
        let keys =
            "select kid from signing_keys where algorithm = 'ES256' and compromised_at is null
                    order by epoch limit 1";
        let [kid] = &app.database.sql(keys)[..] else { panic!("{stage}") };
        desk.compromise_key(kid, None, app.clock.now()).await.unwrap();
    }
    polled(app).await;
}

#[actix_web::test]
async fn a_key_made_in_an_emergency_is_known_wherever_its_first_token_is_shown() {
    let issuer = "issuer = \"http://127.0.0.1:8080\"\n";
    let one = App::with(issuer).await;
    let other = App::beside(&one, issuer).await;
    lose_all_keys(&one).await;
    let token = one.access_token("app", "").await;
    assert!(other.is_active("rs", &token).await, "a good token is called nothing");

    lose_all_keys(&one).await;
    let token = one.access_token("app", "").await;
    assert_eq!(other.revoke("app", &token).await.status, 200);
    polled(&one).await;
    assert!(!one.is_active("rs", &token).await, "what was said to be revoked is not");
    other.stop().await;
    one.stop().await;
}

#[actix_web::test]
async fn tokens_that_name_keys_of_nobody_are_inactive() {
    let app = App::start().await;
    for n in 0..3 {
        let header = format!(r#"{{"alg":"ES256","kid":"made-up-{n}","typ":"at+jwt"}}"#);
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        assert!(!app.is_active("rs", &token).await);
        assert_eq!(app.revoke("app", &token).await.status, 200);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_waits_counts_once() {
    let app = App::with("[limits]\nclient = \"1/h burst 1\"\n").await;
    let token = app.access_token("app", "").await;
    for (client, path) in [("rs", "/oauth2/introspect"), ("app", "/oauth2/revoke")] {
        app.clock.advance(Duration::from_secs(10));
        let ask = async || {
            let form = format!("token={token}");
            http::token(&app.public(), path, client, SECRET, &form).await.status
        };
        assert_eq!((ask().await, ask().await), (200, 429), "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn while_memory_is_old_what_cannot_be_a_token_of_ours_is_refused_and_counted() {
    let app = App::with("[limits]\nfailures = \"1/h burst 3\"\n").await;
    app.running.desk.db.close().await;
    app.clock.advance(Duration::from_secs(10));
    let ask = async || {
        let headers = [FORM, ("authorization", "Bearer nonsense")];
        http::send(&app.public(), "POST", "/oauth2/introspect", &headers, b"token=x").await.status
    };
    let statuses = [ask().await, ask().await, ask().await, ask().await];
    assert_eq!(statuses, [401, 401, 401, 429]);
    app.stop().await;
}

#[actix_web::test]
async fn while_memory_is_old_strangers_are_refused_and_do_not_wait_in_the_way_of_clients() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    app.running.desk.db.close().await;
    app.clock.advance(Duration::from_secs(10));
    let form = format!("token={token}");
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let ask = async |secret| {
            let answer = http::token(&app.public(), path, "app", secret, &form).await;
            answer.error()
        };
        assert_eq!(ask("wrong-horse").await.0, 401, "{path}");
        assert_eq!(ask(SECRET).await, (503, "temporarily_unavailable".to_owned()), "{path}");
    }
    app.stop().await;
}
