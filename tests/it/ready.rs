//! What a replica must know before it answers a question about tokens, and who may make it ask.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::App;

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
async fn while_memory_is_old_strangers_are_refused_and_do_not_wait_in_the_way_of_clients() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    app.running.desk.db.close().await;
    app.clock.advance(Duration::from_secs(10));
    let form = format!("token={token}");
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let ask = async |secret| {
            let answer =
                crate::support::http::token(&app.public(), path, "app", secret, &form).await;
            answer.error()
        };
        assert_eq!(ask("wrong-horse").await.0, 401, "{path}");
        assert_eq!(
            ask(crate::support::SECRET).await,
            (503, "temporarily_unavailable".to_owned()),
            "{path}"
        );
    }
    app.stop().await;
}
