//! How a replica learns what was taken back, and what it does when its database forgets it.

use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::{Revocation, Target, Time, TokenId};
use jeton::store::{Fault, revocations};
use serde_json::json;

use crate::support::{API, App, FIXTURES, app, forge};

/// An act, until an hour after the beginning.
fn act(target: Target, issued_before: Time) -> Revocation {
    Revocation { target, issued_before, expires_at: app::START + Duration::from_secs(3600) }
}

/// Writes acts as another replica or an operator does.
async fn append(app: &App, acts: &[Revocation]) {
    app.running.desk.db.write(async |tx| revocations::append(tx, acts).await).await.unwrap();
}

/// One act on the token named by `n`, which nobody has.
fn about_nobody(n: u8) -> Revocation {
    act(Target::Token(TokenId::new(app::START, [n; 9])), app::START)
}

fn rows(app: &App) -> Vec<String> {
    app.database.sql("select kind || ' ' || key from revocations order by v")
}

async fn run(app: &App, sql: &str) {
    app.database.change(sql).await;
}

async fn metric(app: &App, name: &str) -> f64 {
    let text = app.metrics().await;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[actix_web::test]
async fn a_watermark_takes_back_what_was_born_before_it_and_spares_the_rest_of_its_second() {
    for target in [
        Target::Client("app".to_owned()),
        Target::Subject("app".to_owned()),
        Target::Resource(API.to_owned()),
        Target::Everything,
    ] {
        let app = App::start().await;
        app.clock.advance(Duration::from_millis(100));
        let before = app.access_token("app", "").await;
        app.clock.advance(Duration::from_millis(100));
        let mark = app.clock.now();
        let at = app.access_token("app", "").await;
        app.clock.advance(Duration::from_millis(100));
        let after = app.access_token("app", "").await;
        assert_eq!(forge::payload(&before)["iat"], forge::payload(&after)["iat"], "one second");
        let other = app.access_token("rich", "").await;
        append(&app, &[act(target.clone(), mark)]).await;
        app.beat().await;
        assert!(!app.is_active("rs", &before).await, "{target:?}");
        assert!(app.is_active("rs", &at).await, "{target:?}");
        assert!(app.is_active("rs", &after).await, "{target:?}");
        assert!(app.is_active("other-rs", &other).await, "born after it all");
    }
}

#[actix_web::test]
async fn a_watermark_is_about_its_own_and_about_nobody_else() {
    let app = App::start().await;
    let (mine, narrow) = (app.access_token("app", "").await, app.access_token("narrow", "").await);
    let rich = app.access_token("rich", "").await;
    app.clock.advance(Duration::from_millis(1));
    append(&app, &[act(Target::Client("app".to_owned()), app.clock.now())]).await;
    app.beat().await;
    assert!(!app.is_active("rs", &mine).await);
    assert!(app.is_active("rs", &narrow).await && app.is_active("other-rs", &rich).await);
    append(&app, &[act(Target::Resource(API.to_owned()), app.clock.now())]).await;
    app.beat().await;
    assert!(!app.is_active("rs", &narrow).await && app.is_active("other-rs", &rich).await);
    let kid = forge::header(&rich)["kid"].as_str().unwrap().to_owned();
    append(&app, &[act(Target::Key(kid), Time::from_micros(0))]).await;
    app.beat().await;
    assert!(!app.is_active("other-rs", &rich).await, "whatever its key signed");
}

#[actix_web::test]
async fn a_token_of_a_family_is_as_old_as_its_family() {
    let app = App::start().await;
    app.clock.advance(Duration::from_secs(10));
    let family = jeton::store::audit::row_id(app.clock.now());
    app.clock.advance(Duration::from_secs(10));
    let mark = app.clock.now();
    app.clock.advance(Duration::from_secs(10));
    let mut claims = forge::claims(&app);
    let plain = sign(&app, &claims);
    claims["sid"] = json!(family);
    claims["jti"] = "AAAAAAAAAAAAAAAAAAAAAQ".into();
    let refreshed = sign(&app, &claims);
    assert!(app.is_active("rs", &plain).await && app.is_active("rs", &refreshed).await);
    append(&app, &[act(Target::Subject("app".to_owned()), mark)]).await;
    app.beat().await;
    assert!(app.is_active("rs", &plain).await, "it has no family: its own birth counts");
    assert!(!app.is_active("rs", &refreshed).await, "refreshed since, and its family is older");
    claims["sid"] = json!(jeton::store::audit::row_id(app.clock.now()));
    claims["jti"] = "AAAAAAAAAAAAAAAAAAAAAg".into();
    let fresh = sign(&app, &claims);
    assert!(app.is_active("rs", &fresh).await);
    append(&app, &[act(Target::Family(claims["sid"].as_str().unwrap().parse().unwrap()), mark)])
        .await;
    app.beat().await;
    assert!(!app.is_active("rs", &fresh).await, "its family was taken back, whenever it was born");
}

fn sign(app: &App, claims: &serde_json::Value) -> String {
    forge::signed_by_us(app, jeton::keys::TokenType::Access, claims.to_string().as_bytes())
}

#[actix_web::test]
async fn a_row_that_vanishes_below_the_cursor_changes_nothing() {
    let app = App::start().await;
    let (one, two) = (app.access_token("app", "").await, app.access_token("app", "").await);
    for token in [&one, &two] {
        assert_eq!(app.revoke("app", token).await.status, 200);
    }
    app.beat().await;
    run(&app, "delete from revocations where v = 1").await;
    app.beat().await;
    assert!(!app.is_active("rs", &one).await && !app.is_active("rs", &two).await);
    assert_eq!(rows(&app).len(), 1);
    assert!(metric(&app, "jeton_revocations_restored_total").await < 0.1);
    append(&app, &[about_nobody(1)]).await;
    app.beat().await;
    assert!(!app.is_active("rs", &one).await, "and later acts do not bring it back");
}

#[actix_web::test]
async fn when_the_row_at_the_cursor_is_gone_everything_known_is_obeyed_and_written_again() {
    let app = App::start().await;
    let (one, two) = (app.access_token("app", "").await, app.access_token("app", "").await);
    let kept = app.access_token("app", "").await;
    for token in [&one, &two] {
        assert_eq!(app.revoke("app", token).await.status, 200);
    }
    app.beat().await;
    let before = rows(&app);
    run(&app, "delete from revocations where v = 2").await;
    assert!(!app.is_active("rs", &two).await);
    app.beat().await;
    assert!(!app.is_active("rs", &one).await && !app.is_active("rs", &two).await);
    assert!(app.is_active("rs", &kept).await);
    assert_eq!(rows(&app), before);
    assert!((metric(&app, "jeton_revocations_restored_total").await - 1.0).abs() < 0.1);
    let trail =
        "select cast(detail as text) from audit_events where action = 'revocations_restored'";
    assert_eq!(app.database.sql(trail).len(), 1);
    app.beat().await;
    assert!((metric(&app, "jeton_revocations_restored_total").await - 1.0).abs() < 0.1, "once");
}

#[actix_web::test]
async fn a_restored_backup_brings_no_revoked_token_back_to_life() {
    let app = App::start().await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let token = app.access_token("app", "").await;
        assert_eq!(app.revoke("app", &token).await.status, 200);
        tokens.push(token);
    }
    app.clock.advance(Duration::from_millis(1));
    let marked = app.access_token("narrow", "").await;
    app.clock.advance(Duration::from_millis(1));
    append(&app, &[act(Target::Client("narrow".to_owned()), app.clock.now())]).await;
    app.beat().await;
    let all = {
        let mut all = rows(&app);
        all.sort();
        all
    };
    assert_eq!(all.len(), 6);
    // The backup: two acts, and one that this replica never saw.
    run(&app, "delete from revocations where v > 2").await;
    run(&app, "update revocation_head set v = 2").await;
    let unseen = app.access_token("app", "").await;
    let jti = forge::payload(&unseen)["jti"].as_str().unwrap().to_owned();
    append(&app, &[act(Target::Token(TokenId::parse(&jti).unwrap()), app::START)]).await;
    app.beat().await;
    for token in &tokens {
        assert!(!app.is_active("rs", token).await);
    }
    assert!(!app.is_active("rs", &marked).await);
    assert!(!app.is_active("rs", &unseen).await, "what the backup knew and we did not");
    let mut again = rows(&app);
    again.retain(|row| *row != format!("token {jti}"));
    again.sort();
    assert_eq!(again, all);
    assert!((metric(&app, "jeton_revocations_restored_total").await - 4.0).abs() < 0.1);
    let database = app.stop().await;
    assert_eq!(database.sql("select kind from revocations").len(), 7, "for those who come later");
}

#[actix_web::test]
async fn what_the_database_lost_is_obeyed_even_while_it_cannot_be_written_again() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    append(&app, &[act(Target::Client("app".to_owned()), app::START + Duration::from_micros(1))])
        .await;
    app.beat().await;
    assert!(!app.is_active("rs", &token).await);
    app.running.desk.db.inject([Fault::CutBeforeCommit; 4]);
    run(&app, "delete from revocations").await;
    run(&app, "update revocation_head set v = 0").await;
    let started = std::time::Instant::now();
    let mut unwritten = 0;
    while started.elapsed() < Duration::from_secs(8) && rows(&app).is_empty() {
        app.clock.advance(Duration::from_secs(3));
        assert!(!app.is_active("rs", &token).await, "{:?}", started.elapsed());
        unwritten += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(unwritten > 1);
    assert_eq!(rows(&app), ["client app"]);
    assert!(!app.is_active("rs", &token).await);
}

#[actix_web::test]
async fn an_emptied_outbox_is_filled_again_and_new_acts_find_their_place_in_it() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert_eq!(app.revoke("app", &token).await.status, 200);
    append(&app, &(1..40).map(about_nobody).collect::<Vec<_>>()).await;
    app.beat().await;
    run(&app, "delete from revocations").await;
    run(&app, "update revocation_head set v = 0").await;
    // Before this replica has noticed: an act that takes a number of those that are gone.
    let next = app.access_token("app", "").await;
    assert_eq!(app.revoke("app", &next).await.status, 200);
    app.beat().await;
    assert!(!app.is_active("rs", &token).await && !app.is_active("rs", &next).await);
    assert_eq!(rows(&app).len(), 41);
    let numbers =
        app.database.sql("select cast(v as text) from revocations order by revocations.v");
    let head = app.database.sql("select cast(v as text) from revocation_head");
    assert_eq!(numbers.last(), head.first());
    assert!((metric(&app, "jeton_revocations_restored_total").await - 40.0).abs() < 0.1);
    let later = app.access_token("app", "").await;
    append(
        &app,
        &[act(Target::Client("app".to_owned()), app.clock.now() + Duration::from_micros(1))],
    )
    .await;
    app.beat().await;
    assert!(!app.is_active("rs", &later).await, "the poller goes on from where it is");
}

#[actix_web::test]
async fn an_act_finds_its_place_behind_a_head_that_lags() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    append(&app, &[about_nobody(1)]).await;
    app.beat().await;
    // A head that lags behind its acts, as no commit of ours leaves it: a number that is taken must
    // neither hold acts up nor let one be dropped in silence.
    run(&app, "update revocation_head set v = 0").await;
    assert_eq!(app.revoke("app", &token).await.status, 200);
    assert!(!app.is_active("rs", &token).await);
    assert_eq!(rows(&app).len(), 2);
}

#[actix_web::test]
async fn an_act_of_a_kind_that_only_a_newer_version_knows_is_skipped_and_kept() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let id = if app.database.is_postgres() {
        "'00000000-0000-0000-0000-000000000001'"
    } else {
        "x'00000000000000000000000000000001'"
    };
    let end = (app::START + Duration::from_secs(3600)).micros();
    run(
        &app,
        &format!(
            "insert into revocations (id, v, stamp, kind, key, issued_before, expires_at)
             values ({id}, 1, 7, 'tenant', 'x', 0, {end})"
        ),
    )
    .await;
    run(&app, "update revocation_head set v = 1").await;
    app.beat().await;
    // A poller that had stumbled over it would not make this fresh.
    app.clock.advance(Duration::from_secs(3));
    assert!(app.is_active("rs", &token).await);
    assert_eq!(app.revoke("app", &token).await.status, 200);
    app.beat().await;
    assert!(!app.is_active("rs", &token).await, "what comes after it is read");
    assert_eq!(rows(&app).len(), 2);
    assert!(metric(&app, "jeton_revocations_restored_total").await < 0.1);
}

#[actix_web::test]
async fn more_acts_than_fit_one_page_are_all_read() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let many: Vec<_> = (0..2 * jeton::store::poll::PAGE as u64 + 10)
        .map(|n| {
            let mut random = [0; 9];
            random[..8].copy_from_slice(&n.to_be_bytes());
            act(Target::Token(TokenId::new(app::START, random)), app::START)
        })
        .collect();
    append(&app, &many).await;
    let jti = forge::payload(&token)["jti"].as_str().unwrap().to_owned();
    append(&app, &[act(Target::Token(TokenId::parse(&jti).unwrap()), app::START)]).await;
    // Memory that is too old is renewed by one poll, and that has to come to the end.
    app.clock.advance(Duration::from_secs(3));
    assert!(!app.is_active("rs", &token).await);
    assert_eq!(app.running.service.mirror.acts.len(), many.len() + 1);
}

#[actix_web::test]
async fn acts_that_are_over_are_swept_and_forgotten_and_the_newest_row_stays() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    assert_eq!(app.revoke("app", &token).await.status, 200);
    append(&app, &[about_nobody(1), about_nobody(2)]).await;
    app.beat().await;
    assert_eq!(app.running.service.mirror.acts.len(), 3);
    let db = &app.running.desk.db;
    assert_eq!(revocations::sweep(db, app::START).await.unwrap(), 0, "all still count");
    let end = app::START + Duration::from_secs(660);
    assert_eq!(revocations::sweep(db, end).await.unwrap(), 0, "not at its end");
    assert_eq!(revocations::sweep(db, end + Duration::from_micros(1)).await.unwrap(), 1);
    assert_eq!(rows(&app).len(), 2);
    assert_eq!(revocations::sweep(db, app::START + Duration::from_secs(9999)).await.unwrap(), 1);
    assert_eq!(rows(&app).len(), 1, "readers find their place by the newest");
    // The cursor stood at the newest; what was swept below it is not taken for lost.
    app.beat().await;
    assert!(metric(&app, "jeton_revocations_restored_total").await < 0.1);
    let acts = &app.running.service.mirror.acts;
    acts.forget(app::START + Duration::from_secs(3600));
    assert_eq!(acts.len(), 2, "up to a second longer");
    acts.forget(app::START + Duration::from_secs(3601));
    assert!(acts.is_empty());
}

#[actix_web::test]
async fn the_server_itself_sweeps_what_is_over_by_more_than_the_margin() {
    let app = App::start().await;
    let until = |n, seconds| Revocation {
        expires_at: app::START + Duration::from_secs(seconds),
        ..about_nobody(n)
    };
    append(&app, &[until(1, 5), until(2, 59), until(3, 61), until(4, 500), until(5, 5)]).await;
    let issuer = format!("issuer = \"{}\"\n", app.running.issuer.as_str());
    let mut database = app.stop().await;
    // The first beat of a server looks for what can go, and then each thirtieth.
    for (later, left, swept) in [(0, 5, 0.0), (119, 4, 1.0), (120, 3, 1.0), (1000, 1, 2.0)] {
        let clock = Clock::manual(app::START + Duration::from_secs(later));
        let running = app::start(&database, &issuer, FIXTURES, &clock).await.unwrap();
        let app = App { running, clock, database };
        assert_eq!(rows(&app).len(), left, "after {later} s");
        let counted = metric(&app, r#"jeton_swept_rows_total{table="revocations"}"#).await;
        assert!((counted - swept).abs() < 0.1, "{counted} counted after {later} s");
        assert!(metric(&app, "jeton_revocations_restored_total").await < 0.1);
        database = app.stop().await;
    }
}
