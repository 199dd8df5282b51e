//! Codes: redeemed once, by the client that began, with the verifier, in time (RFC 6749 §4.1.3, RFC
//! 7636); and what a second use does to what the first one made.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::{Revocation, Target};
use jeton::store::{Fault, codes, revocations, users};

use crate::support::app::START;
use crate::support::refused::{FORM, assert_refused};
use crate::support::servers::{Pace, Plan};
use crate::support::sign_in::{
    Tokens, VERIFIER, add_user, code, form, redeem, redemption, redirect_uri, sign_in, with_people,
};
use crate::support::{API, App, OTHER, SECRET, basic, http};

/// How many rows a statement counts.
fn count(app: &App, rows: &str) -> u32 {
    app.database.sql(&format!("select count(*) from {rows}"))[0].parse().unwrap()
}

/// The events of the audit trail of one kind.
fn events(app: &App, action: &str) -> u32 {
    count(app, &format!("audit_events where action = '{action}'"))
}

#[actix_web::test]
async fn a_client_gets_its_tokens_and_they_say_who_signed_in_when_and_by_what_authorization() {
    let app = with_people("").await;
    for client in ["web", "spa"] {
        let tokens = sign_in(&app, client).await;
        let claims = &tokens.claims;
        let alice =
            app.database.sql("select cast(username as text) from users where username = 'alice'");
        assert_eq!(alice, ["alice"]);
        assert!(uuid::Uuid::parse_str(claims["sub"].as_str().unwrap()).is_ok(), "{claims}");
        assert_eq!((&claims["client_id"], &claims["aud"]), (&client.into(), &API.into()));
        assert_eq!(claims["auth_time"], app.clock.now().seconds());
        let family: uuid::Uuid = claims["sid"].as_str().unwrap().parse().unwrap();
        assert_eq!(family.get_version_num(), 7);
        assert_eq!(tokens.answer["scope"], "read write");
        assert_eq!(tokens.answer["token_type"], "Bearer");
        assert!(tokens.refresh.starts_with("jrt_"), "{:?}", tokens.answer);
        assert!(app.is_active("rs", &tokens.access).await);
    }
    assert_eq!((count(&app, "families"), events(&app, "family_begun")), (2, 2));
    assert_eq!(count(&app, "users where signed_in_at is not null"), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_without_the_refresh_grant_gets_no_refresh_token_and_a_family_as_long_as_its_token()
 {
    let app = with_people("").await;
    let tokens = sign_in(&app, "brief").await;
    assert_eq!((tokens.refresh.as_str(), &tokens.answer["expires_in"]), ("", &600.into()));
    assert!(tokens.answer.get("refresh_token").is_none());
    assert_eq!(count(&app, "families where ends_at - rotated_at = 600000000"), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_wrong_verifier_a_missing_one_or_one_of_wrong_length_spends_nothing() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let (short, long) = ("a".repeat(42), "a".repeat(129));
    for verifier in ["", "wrong-verifier-wrong-verifier-wrong-verifier", &short, &long, "\0", "é"]
    {
        let answer = redeem(&app, "spa", &code, &[("code_verifier", verifier)]).await;
        assert_refused(&answer, 400, "invalid_grant");
    }
    assert_eq!(app.refusals("pkce_missing").await, 1.0);
    assert_eq!(app.refusals("pkce_mismatch").await, 5.0);
    assert_eq!(redeem(&app, "spa", &code, &[]).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn another_client_can_neither_redeem_a_code_nor_burn_it() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    for thief in ["web", "brief"] {
        let changed = [("redirect_uri", redirect_uri("spa"))];
        let changed = changed.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_refused(&redeem(&app, thief, &code, &changed).await, 400, "invalid_grant");
    }
    assert_eq!(app.refusals("code_wrong_client").await, 2.0);
    let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
    assert_refused(&redeem(&app, "brief", &code, &[]).await, 400, "invalid_grant");
    assert!(app.is_active("rs", &tokens.access).await, "nor end what it began");
    app.stop().await;
}

#[actix_web::test]
async fn the_redirect_uri_must_be_the_one_of_the_request_byte_for_byte() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    for other in ["", "https://spa.example.test/cb/", "https://spa.example.test/cb?", "x"] {
        let answer = redeem(&app, "spa", &code, &[("redirect_uri", other)]).await;
        assert_refused(&answer, 400, "invalid_grant");
    }
    assert_eq!(app.refusals("redirect_uri_mismatch").await, 4.0);
    assert_eq!(redeem(&app, "spa", &code, &[]).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_named_no_redirect_uri_needs_none_at_the_token_endpoint() {
    let app = with_people("").await;
    for (named, status) in [("", 200), ("https://spa.example.test/cb", 200), ("https://x", 400)] {
        let code = code(&app, "spa", &[("redirect_uri", "")]).await;
        let answer = redeem(&app, "spa", &code, &[("redirect_uri", named)]).await;
        assert_eq!(answer.status, status, "{named:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_is_no_code_of_ours_is_refused_without_a_word_about_why() {
    let app = with_people("").await;
    let unknown = format!("jac_{}", "A".repeat(43));
    let real = code(&app, "spa", &[]).await;
    for bad in [unknown.as_str(), "x", "\0", "é", &real[..46], &real[4..], &real.to_uppercase()] {
        assert_refused(&redeem(&app, "spa", bad, &[]).await, 400, "invalid_grant");
    }
    assert_refused(&redeem(&app, "spa", "", &[]).await, 400, "invalid_request");
    assert_eq!(app.refusals("code_unknown").await, 7.0);
    assert_eq!(redeem(&app, "spa", &real, &[]).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_code_is_over_after_a_minute_and_not_before() {
    let app = with_people("").await;
    let (one, other) = (code(&app, "spa", &[]).await, code(&app, "spa", &[]).await);
    app.advance(Duration::from_millis(59_999)).await;
    assert_eq!(redeem(&app, "spa", &one, &[]).await.status, 200);
    app.advance(Duration::from_millis(1)).await;
    assert_refused(&redeem(&app, "spa", &other, &[]).await, 400, "invalid_grant");
    assert_eq!(app.refusals("code_expired").await, 1.0);
    app.stop().await;
}

#[actix_web::test]
async fn a_code_that_is_used_twice_ends_what_it_began_and_a_third_use_changes_nothing_more() {
    let app = with_people("").await;
    for (nth, client) in (1..).zip(["spa", "brief"]) {
        let code = code(&app, client, &[]).await;
        let tokens = Tokens::read(&redeem(&app, client, &code, &[]).await);
        assert!(app.is_active("rs", &tokens.access).await);
        for _ in 0..3 {
            assert_refused(&redeem(&app, client, &code, &[]).await, 400, "invalid_grant");
            assert!(!app.is_active("rs", &tokens.access).await);
            assert_eq!(count(&app, "families where ended_by = 'code_used'"), nth);
            assert_eq!(count(&app, "revocations where kind = 'family'"), nth);
            assert_eq!(events(&app, "family_revoked"), nth);
        }
    }
    assert_eq!(app.refusals("code_used").await, 6.0);
    app.stop().await;
}

#[actix_web::test]
async fn a_used_code_ends_what_it_began_also_when_it_would_be_over_by_now() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
    app.advance(Duration::from_secs(120)).await;
    assert_refused(&redeem(&app, "spa", &code, &[]).await, 400, "invalid_grant");
    assert!(!app.is_active("rs", &tokens.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn whoever_hangs_up_in_the_middle_of_a_second_use_does_not_save_the_family() {
    use tokio::io::AsyncWriteExt;
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
    let db = app.running.service.db.clone();
    // Somebody else writes meanwhile, so that the second use waits inside the database.
    let holding = actix_web::rt::spawn(async move {
        let family = uuid::Uuid::nil();
        db.write(async |tx| {
            let act = Revocation {
                target: Target::Family(family),
                issued_before: START,
                expires_at: START + Duration::from_secs(60),
            };
            revocations::append(tx, &[act]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let body = format!("{}&client_id=spa", redemption("spa", &code, &[]));
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n{body}",
        FORM.1,
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(app.public()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // A reset, which is noticed even by who only writes.
    stream.set_zero_linger().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    holding.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!app.is_active("rs", &tokens.access).await);
    assert_eq!(events(&app, "family_revoked"), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_second_use_with_a_wrong_verifier_or_redirect_uri_ends_nothing() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
    let wrong = VERIFIER.replace('d', "e");
    for changed in [("code_verifier", wrong.as_str()), ("code_verifier", ""), ("redirect_uri", "x")]
    {
        assert_refused(&redeem(&app, "spa", &code, &[changed]).await, 400, "invalid_grant");
    }
    assert!(app.is_active("rs", &tokens.access).await);
    assert_eq!(count(&app, "families where revoked_at is null"), 1);
    app.stop().await;
}

#[actix_web::test]
async fn of_twenty_who_redeem_a_code_at_once_exactly_one_gets_tokens_and_then_they_are_dead() {
    for replicas in [1, 2] {
        let plan = Plan { replicas, batching: true, pace: Pace::Still };
        let servers = plan.start_with_people().await;
        let app = &servers[0];
        add_user(app, "alice").await;
        // Fetched at whatever replica it was not allowed at, too.
        let code = code(app, "spa", &[]).await;
        let all = (0..20).map(|n| redeem(servers.nth(n), "spa", &code, &[]));
        let answers = join_all(all).await;
        let good: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(good.len(), 1, "{replicas} replicas");
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            assert_refused(refused, 400, "invalid_grant");
        }
        let mut used = 0.0;
        for one in servers.iter() {
            used += one.refusals("code_used").await;
        }
        assert_eq!(used, 19.0);
        assert_eq!(count(app, "families"), 1);
        assert_eq!(count(app, "families where ended_by = 'code_used'"), 1);
        assert_eq!((events(app, "family_begun"), events(app, "family_revoked")), (1, 1));
        let tokens = Tokens::read(good[0]);
        app.beat().await;
        for one in servers.iter() {
            assert!(!one.is_active("rs", &tokens.access).await);
            let refreshed = one.refresh("spa", &tokens.refresh, "").await;
            assert_refused(&refreshed, 400, "invalid_grant");
        }
        servers.stop().await;
    }
}

#[actix_web::test]
async fn a_lost_answer_of_the_database_loses_no_code_and_ends_no_family() {
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit, Fault::LosesRace] {
        let app = with_people("").await;
        let code = code(&app, "spa", &[]).await;
        app.running.service.db.inject([fault]);
        let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
        assert!(app.is_active("rs", &tokens.access).await, "{fault:?}");
        assert_eq!((count(&app, "families"), events(&app, "family_begun")), (1, 1), "{fault:?}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_lost_answer_while_a_family_is_ended_leaves_it_ended_once() {
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit] {
        let app = with_people("").await;
        let code = code(&app, "spa", &[]).await;
        let tokens = Tokens::read(&redeem(&app, "spa", &code, &[]).await);
        app.running.service.db.inject([fault]);
        assert_refused(&redeem(&app, "spa", &code, &[]).await, 400, "invalid_grant");
        app.beat().await;
        assert!(!app.is_active("rs", &tokens.access).await, "{fault:?}");
        assert_eq!(events(&app, "family_revoked"), 1, "{fault:?}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_code_of_somebody_who_is_switched_off_meanwhile_dies_though_the_account_is_on_again() {
    let app = with_people("").await;
    let (one, other) = (code(&app, "spa", &[]).await, code(&app, "spa", &[]).await);
    let desk = &app.running.desk;
    desk.disable_user("alice", app.clock.now()).await.unwrap();
    assert_refused(&redeem(&app, "spa", &one, &[]).await, 400, "invalid_grant");
    desk.enable_user("alice", app.clock.now()).await.unwrap();
    for code in [&one, &other] {
        assert_refused(&redeem(&app, "spa", code, &[]).await, 400, "invalid_grant");
    }
    assert_eq!((count(&app, "codes"), count(&app, "families")), (0, 0));
    // Memory may have met the account while it was off; and that was at this very instant.
    app.clock.advance(Duration::from_secs(1));
    app.beat().await;
    let anew = sign_in(&app, "spa").await;
    assert!(app.is_active("rs", &anew.access).await, "who signs in anew");
    app.stop().await;
}

#[actix_web::test]
async fn a_code_that_is_there_is_refused_for_what_its_persons_row_says() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let db = &app.running.service.db;
    let id = users::all(db).await.unwrap()[0].user.id;
    let now = app.clock.now();
    // Of a code that came in at the same moment no verb would leave anything to look at.
    db.write(async |tx| users::set_disabled(tx, id, Some(now), now).await).await.unwrap();
    assert_refused(&redeem(&app, "spa", &code, &[]).await, 400, "invalid_grant");
    assert_eq!(app.refusals("subject_disabled").await, 1.0);
    db.write(async |tx| users::set_disabled(tx, id, None, now).await).await.unwrap();
    let later = now + Duration::from_secs(1);
    db.write(async |tx| users::set_valid_from(tx, id, later).await).await.unwrap();
    assert_refused(&redeem(&app, "spa", &code, &[]).await, 400, "invalid_grant");
    assert_eq!(app.refusals("issued_before_watermark").await, 1.0);
    assert_eq!(count(&app, "codes where used_at is null"), 1, "it was not spent");
    app.stop().await;
}

#[actix_web::test]
async fn what_an_operator_took_back_meanwhile_is_not_redeemed() {
    for target in
        [Target::Client("spa".to_owned()), Target::Resource(API.to_owned()), Target::Everything]
    {
        let app = with_people("").await;
        let code = code(&app, "spa", &[]).await;
        let issued_before = app.clock.now() + Duration::from_secs(1);
        let expires_at = app.clock.now() + Duration::from_secs(3600);
        let act = Revocation { target, issued_before, expires_at };
        app.running.service.mirror.writer.write(act).await.unwrap();
        assert_refused(&redeem(&app, "spa", &code, &[]).await, 400, "invalid_grant");
        assert_eq!(app.refusals("issued_before_watermark").await, 1.0);
        assert_eq!(count(&app, "codes where used_at is null"), 1);
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_grant_for_two_resources_yields_tokens_for_one_at_a_time() {
    let app = with_people("").await;
    let both = [("resource", API), ("resource", OTHER)];
    for (named, audience, scope) in [
        (API, API, "read write"),
        (OTHER, OTHER, "list"),
        ("https://API.example.test", API, "read write"),
    ] {
        let code = code(&app, "two", &both).await;
        let answer = redeem(&app, "two", &code, &[("resource", named)]).await;
        let tokens = Tokens::read(&answer);
        assert_eq!(tokens.claims["aud"], audience);
        assert_eq!(tokens.answer["scope"], scope);
    }
    let code = code(&app, "two", &both).await;
    for changed in [
        &[][..],
        &[("resource", "urn:example:bare")],
        &[("resource", "not absolute")],
        &[("resource", API), ("resource", OTHER)],
    ] {
        assert_refused(&redeem(&app, "two", &code, changed).await, 400, "invalid_target");
    }
    assert_eq!(redeem(&app, "two", &code, &[("resource", API)]).await.status, 200, "nothing spent");
    app.stop().await;
}

#[actix_web::test]
async fn a_resource_that_the_person_did_not_allow_is_refused() {
    let app = with_people("").await;
    let code = code(&app, "two", &[("resource", API)]).await;
    let answer = redeem(&app, "two", &code, &[("resource", OTHER)]).await;
    assert_refused(&answer, 400, "invalid_target");
    let tokens = Tokens::read(&redeem(&app, "two", &code, &[]).await);
    assert_eq!(tokens.claims["aud"], API, "the only one needs no name");
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_may_not_use_the_grant_and_a_wrong_secret_come_before_the_code() {
    let app = with_people("").await;
    let code = code(&app, "web", &[]).await;
    let form = redemption("web", &code, &[]);
    assert_refused(&app.token("app", &form).await, 400, "unauthorized_client");
    let wrong = app.token_with("web", "wrong-secret-of-web", &form).await;
    assert_refused(&wrong, 401, "invalid_client");
    let named = format!("{form}&client_id=web");
    let bare = app.post("/oauth2/token", &[], &named).await;
    assert_refused(&bare, 401, "invalid_client");
    assert_eq!(app.token("web", &form).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_code_in_the_query_is_not_read() {
    let app = with_people("").await;
    let code = code(&app, "web", &[]).await;
    let path = format!("/oauth2/token?{}", redemption("web", &code, &[]));
    let credential = basic("web", SECRET);
    let body = form(&[("grant_type", "authorization_code")]);
    let headers = [crate::support::refused::FORM, ("authorization", credential.as_str())];
    let answer = http::send(&app.public(), "POST", &path, &headers, body.as_bytes()).await;
    assert_refused(&answer, 400, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn nothing_that_is_stored_can_be_redeemed_and_old_codes_are_swept_a_day_later() {
    let app = with_people("").await;
    let code = code(&app, "spa", &[]).await;
    let stored = app.database.sql("select cast(network as text) from codes");
    assert_eq!(stored, ["127.0.0.0/24"]);
    redeem(&app, "spa", &code, &[]).await;
    let db = &app.running.service.db;
    let day = Duration::from_secs(24 * 3600 + 60);
    assert_eq!(codes::sweep(db, app.clock.now() + day).await.unwrap(), 0);
    let later = app.clock.now() + day + Duration::from_micros(1);
    assert_eq!(codes::sweep(db, later).await.unwrap(), 1);
    assert_eq!(count(&app, "codes"), 0);
    app.stop().await;
}
