//! Revocation of access tokens (RFC 7009), as an outsider sees it.

use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::Time;
use jeton::keys::TokenType;
use jeton::store::Fault;

use crate::support::forge::{self, form_value, parts};
use crate::support::refused::assert_refused;
use crate::support::{Answer, App, FIXTURES, SECRET, app, basic, http};

const PATH: &str = "/oauth2/revoke";

/// The client says who it is and sends this form.
async fn ask(app: &App, client: &str, form: &str) -> Answer {
    http::token(&app.public(), PATH, client, SECRET, form).await
}

/// The numbers of the acts in the outbox.
fn acts(app: &App) -> Vec<String> {
    app.database.sql("select cast(v as text) from revocations order by revocations.v")
}

/// The answer to everything that is done, or was done, or needs no doing: 200 and nothing else.
#[track_caller]
fn assert_done(answer: &Answer, why: &str) {
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{why}");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(answer.header("content-length"), "0", "{why}");
}

#[actix_web::test]
async fn a_client_takes_its_token_back_at_once_and_repeating_it_changes_nothing() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read").await;
    assert!(app.is_active("rs", &token).await);
    for round in 0..3 {
        assert_done(&app.revoke("app", &token).await, &format!("round {round}"));
        assert!(!app.is_active("rs", &token).await && !app.is_active("app", &token).await);
        assert_eq!(acts(&app), ["1"], "round {round}");
    }
    let stored = "select kind || ' ' || key || ' ' || expires_at from revocations";
    let jti = forge::payload(&token)["jti"].as_str().unwrap().to_owned();
    let end = app::START + Duration::from_secs(600 + 60);
    assert_eq!(app.database.sql(stored), [format!("token {jti} {}", end.micros())]);
    assert_eq!(app.token("app", "grant_type=client_credentials").await.status, 200);
}

#[actix_web::test]
async fn what_is_unknown_malformed_or_over_is_done_already() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let [header, payload, signature] = parts(&token);
    let forged = forge::Forger::new().sign_parts(header, payload);
    let elsewhere = App::start().await;
    let of_another_issuer = elsewhere.access_token("app", "").await;
    let long = "a".repeat(10_240);
    let huge = "a".repeat(60_000);
    let stretched = format!("{token}{long}");
    let unsigned = format!("{header}.{payload}.");
    let swapped = [header, signature, payload].join(".");
    for garbage in [
        "x",
        " ",
        "\0",
        "\n",
        "\u{e9}\u{1F511}",
        "x.y.z",
        "' or 1=1 --",
        "../../etc/passwd",
        &long,
        &huge,
        &stretched,
        &unsigned,
        &swapped,
        &forged,
        &of_another_issuer,
    ] {
        let answer = ask(&app, "app", &format!("token={}", form_value(garbage))).await;
        assert_done(&answer, &garbage.chars().take(60).collect::<String>());
    }
    // Signed by our key, and not an access token that it writes.
    let mut claims = forge::claims(&app);
    claims.as_object_mut().unwrap().remove("jti");
    let odd = forge::signed_by_us(&app, TokenType::Access, claims.to_string().as_bytes());
    assert_done(&app.revoke("app", &odd).await, "without jti");
    assert!(app.is_active("rs", &token).await);
    app.advance(Duration::from_secs(600)).await;
    assert_done(&app.revoke("app", &token).await, "over");
    assert!(acts(&app).is_empty(), "nothing of this needs a row");
}

#[actix_web::test]
async fn another_clients_token_is_left_alone_without_a_word() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    for other in ["narrow", "rs", "idle"] {
        assert_done(&app.revoke(other, &token).await, other);
    }
    let posted = format!("token={token}&client_id=poster&client_secret={SECRET}");
    assert_done(&app.post(PATH, &[], &posted).await, "poster");
    assert!(app.is_active("rs", &token).await);
    assert!(acts(&app).is_empty());
    assert!((app.refusals("token_not_for_caller").await - 4.0).abs() < 0.1, "it is counted");
    let rows = "select client_id from audit_events where action = 'foreign_token_revocation'
                order by client_id";
    assert_done(&app.revoke("rs", &token).await, "once more in the same minute");
    app.beat().await;
    assert_eq!(
        app.database.sql(rows),
        ["idle", "narrow", "poster", "rs"],
        "and in the audit trail"
    );
}

#[actix_web::test]
async fn a_public_client_says_who_it_is_with_its_id_and_ends_no_token_but_its_own() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert_done(
        &app.post(PATH, &[], &format!("token={token}&client_id=public")).await,
        "another's",
    );
    assert_done(&app.post(PATH, &[], "token=x&client_id=public").await, "garbage");
    assert!(app.is_active("rs", &token).await && acts(&app).is_empty());
    // One of its own, as it will get them: only a key of ours can make it.
    let mut claims = forge::claims(&app);
    claims["client_id"] = "public".into();
    let own = forge::signed_by_us(&app, TokenType::Access, claims.to_string().as_bytes());
    assert!(app.is_active("rs", &own).await);
    assert_done(&app.post(PATH, &[], &format!("token={own}&client_id=public")).await, "its own");
    assert!(!app.is_active("rs", &own).await);
    for form in ["token=x&client_id=app", "token=x&client_id=nobody", "token=x"] {
        assert_refused(&app.post(PATH, &[], form).await, 401, "invalid_client");
    }
}

#[actix_web::test]
async fn a_hint_that_is_wrong_or_unknown_still_revokes() {
    let app = App::start().await;
    for hint in ["refresh_token", "id_token", "x", "", "%00", "access_token"] {
        let token = app.access_token("app", "").await;
        let form = format!("token_type_hint={hint}&token={token}");
        assert_done(&ask(&app, "app", &form).await, hint);
        assert!(!app.is_active("rs", &token).await, "{hint:?}");
    }
}

#[actix_web::test]
async fn the_client_is_checked_first_and_then_that_there_is_one_token() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let form = format!("token={token}");
    for authorization in
        [basic("app", "wrong-secret-of-app"), basic("nobody", SECRET), "Digest x".to_owned()]
    {
        for form in [form.as_str(), "token=x", ""] {
            let answer = app.post(PATH, &[("authorization", &authorization)], form).await;
            assert_refused(&answer, 401, "invalid_client");
        }
    }
    for form in ["", "token=", "tokens=x", "token_type_hint=access_token"] {
        assert_refused(&ask(&app, "app", form).await, 400, "invalid_request");
    }
    let twice = format!("token={token}&token={token}");
    assert_refused(&ask(&app, "app", &twice).await, 400, "invalid_request");
    for broken in ["token=%FF", "token=%zz"] {
        assert_refused(&ask(&app, "app", broken).await, 400, "invalid_request");
    }
    let queried = app.post(&format!("{PATH}?{form}&client_id=app"), &[], "").await;
    assert_refused(&queried, 401, "invalid_client");
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let answer = http::send(&app.public(), method, PATH, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "OPTIONS, POST"), "{method}");
    }
    let credential = basic("app", SECRET);
    let json = [("authorization", credential.as_str()), ("content-type", "application/json")];
    let answer = http::send(&app.public(), "POST", PATH, &json, b"{}").await;
    assert_refused(&answer, 400, "invalid_request");
    assert!(app.is_active("rs", &token).await);
}

#[actix_web::test]
async fn what_is_revoked_stays_revoked_after_a_restart() {
    let app = App::start().await;
    let (revoked, kept) = (app.access_token("app", "").await, app.access_token("app", "").await);
    // Two, because the last act is where a reader stands and so is read again and again.
    let last = app.access_token("app", "").await;
    assert_done(&app.revoke("app", &revoked).await, "revoked");
    assert_done(&app.revoke("app", &last).await, "revoked");
    let issuer = app.running.issuer.as_str().to_owned();
    let database = app.stop().await;
    let settings = format!("issuer = \"{issuer}\"\n");
    let clock = Clock::manual(app::START + Duration::from_secs(30));
    let running = app::start(&database, &settings, FIXTURES, &clock).await.unwrap();
    let app = App { running, clock, database };
    assert!(app.is_active("rs", &kept).await);
    assert!(!app.is_active("rs", &revoked).await && !app.is_active("rs", &last).await);
    assert_done(&app.revoke("app", &revoked).await, "again");
    assert_eq!(acts(&app), ["1", "2"]);
    app.stop().await;
}

#[actix_web::test]
async fn while_it_cannot_be_written_the_answer_is_503_and_the_token_lives_until_it_can() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert!(app.is_active("rs", &token).await);
    // What the server writes of its own accord must not meet the faults.
    app.beat().await;
    app.running.desk.db.inject([Fault::CutBeforeCommit, Fault::CutBeforeCommit]);
    let away = app.revoke("app", &token).await;
    assert_eq!(away.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!((away.header("retry-after"), away.header("cache-control")), ("1", "no-store"));
    assert!(app.is_active("rs", &token).await, "what is not durable is not obeyed");
    app.beat().await;
    assert!(app.is_active("rs", &token).await && acts(&app).is_empty());
    assert_done(&app.revoke("app", &token).await, "it can be written again");
    assert!(!app.is_active("rs", &token).await);
    assert_eq!(acts(&app).len(), 1);
}

#[actix_web::test]
async fn an_answer_of_the_database_that_is_lost_is_asked_for_again_and_makes_no_second_row() {
    let app = App::start().await;
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit, Fault::LosesRace] {
        let token = app.access_token("app", "").await;
        app.beat().await;
        let before = acts(&app).len();
        app.running.desk.db.inject([fault]);
        assert_done(&app.revoke("app", &token).await, &format!("{fault:?}"));
        assert!(!app.is_active("rs", &token).await);
        assert_eq!(acts(&app).len(), before + 1, "{fault:?}");
    }
}

#[actix_web::test]
async fn with_the_database_gone_revocation_is_503_and_so_is_introspection_once_memory_is_stale() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert!(app.is_active("rs", &token).await);
    app.running.desk.db.close().await;
    let away = app.revoke("app", &token).await;
    assert_eq!(away.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(away.header("retry-after"), "1");
    assert!(app.is_active("rs", &token).await, "still within the bound");
    // What there is nothing to write about needs no database.
    assert_done(&app.revoke("app", "x").await, "garbage");
    assert_done(&app.revoke("narrow", &token).await, "another client's");
    app.clock.advance(Duration::from_millis(2_001));
    let stale = app.introspect("rs", &token).await;
    assert_eq!(stale.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(stale.header("retry-after"), "1");
    let garbage = app.introspect("rs", "x").await;
    assert_eq!(garbage.status, 503, "the same for what is no token");
}

#[actix_web::test]
async fn a_hundred_at_once_are_all_done_and_each_has_its_row() {
    let app = App::start().await;
    let mut tokens = Vec::new();
    for _ in 0..100 {
        tokens.push(app.access_token("app", "").await);
    }
    let done = futures_util::future::join_all(tokens.iter().map(|one| app.revoke("app", one)));
    assert!(done.await.iter().all(|answer| answer.status == 200));
    assert_eq!(acts(&app).len(), 100);
    for token in &tokens {
        assert!(!app.is_active("rs", token).await);
    }
    let head = app.database.sql("select cast(v as text) from revocation_head");
    assert_eq!(&head[..], &acts(&app)[99..], "the head is the last number");
}

#[actix_web::test]
async fn the_twin_of_a_signature_is_the_same_token_and_is_revoked_with_it() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let twin = forge::twin(&token);
    assert_ne!(twin, token);
    // Whoever has (r, s) has (r, n - s) too: both verify (SEC 1 §4.1.4), and they are one `jti`.
    let before = app.is_active("rs", &twin).await;
    assert_done(&app.revoke("app", &token).await, "the original");
    assert!(!app.is_active("rs", &twin).await, "it was active before: {before}");
}

#[actix_web::test]
async fn a_revocation_outlives_its_token_and_no_longer() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert_done(&app.revoke("app", &token).await, "revoked");
    let stored = app.database.sql("select cast(expires_at as text) from revocations");
    let end = Time::from_micros(stored[0].parse().unwrap());
    let exp = Time::from_seconds(forge::payload(&token)["exp"].as_i64().unwrap());
    assert_eq!(end.since(exp), Duration::from_secs(60));
    for _ in 0..4 {
        app.clock.advance(Duration::from_secs(165));
        assert!(!app.is_active("rs", &token).await);
    }
}
