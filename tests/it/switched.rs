//! Switching an account off is a state: it ends what a person has, at once and everywhere, and it is
//! over as soon as the account is on again, also when the database loses some of it.

use std::time::Duration;

use jeton::domain::{Switched, Time};
use jeton::manage::Desk;
use jeton::secret::{Password, TokenText, code_digest};
use jeton::store::{codes, revocations, users};
use uuid::Uuid;

use crate::support::app::START;
use crate::support::desk::desk;
use crate::support::refused::assert_refused;
use crate::support::session::refresh_at;
use crate::support::sign_in::{Tokens, code, redeem, sign_in, with_people};
use crate::support::{App, TestDatabase};

const MOMENT: Duration = Duration::from_secs(1);

async fn alice(desk: &Desk) -> Uuid {
    desk.user("alice", START).await.unwrap().subject.parse().unwrap()
}

async fn off(app: &App) {
    app.clock.advance(MOMENT);
    app.running.desk.disable_user("alice", app.clock.now()).await.unwrap();
}

async fn on(app: &App) {
    app.clock.advance(MOMENT);
    app.running.desk.enable_user("alice", app.clock.now()).await.unwrap();
}

async fn refreshed(app: &App, token: &str) -> Tokens {
    app.clock.advance(MOMENT);
    Tokens::read(&app.refresh("spa", token, "").await)
}

/// A refresh is refused for this reason, and for the client the sign-in is over.
async fn refused(app: &App, reason: &str, token: &str) {
    let before = app.refusals(reason).await;
    assert_refused(&app.refresh("spa", token, "").await, 400, "invalid_grant");
    assert!(app.refusals(reason).await > before, "{reason}");
}

async fn is_disabled(app: &App) -> bool {
    app.running.desk.user("alice", app.clock.now()).await.unwrap().disabled
}

/// What replicas are told about alice.
fn kinds(app: &App) -> Vec<String> {
    app.database.sql("select kind from revocations where kind like 'subject%' order by v")
}

/// The database is as it was before anybody was switched off or on: an older one was restored, or a
/// standby without the last commits took over.
async fn lose(app: &App, user: &str, families: &str) {
    app.database.change(&format!("update users set {user}, updated_at = created_at")).await;
    app.database.change(&format!("update families set {families}")).await;
    app.database.change("delete from revocations").await;
    app.database.change("update revocation_head set v = 0").await;
}

#[actix_web::test]
async fn who_was_switched_off_and_on_again_has_working_tokens_of_an_old_sign_in_at_once() {
    let settings = "issuer = \"https://id.example.test\"\n";
    let app = with_people(settings).await;
    let other = App::beside(&app, settings).await;
    let first = sign_in(&app, "spa").await;
    let older = refreshed(&app, &first.refresh).await;
    off(&app).await;
    app.beat().await;
    for replica in [&app, &other] {
        assert!(!replica.is_active("rs", &older.access).await, "while the account is off");
    }
    refused(&other, "subject_disabled", &older.refresh).await;
    on(&app).await;
    // Nobody has waited for a poll: the one that did not do it asks before it refuses.
    let answer = refresh_at(&other.public(), "spa", &older.refresh, "").await;
    let newer = Tokens::read(&answer);
    assert!(other.is_active("rs", &newer.access).await, "on the replica that refreshed");
    app.beat().await;
    for replica in [&app, &other] {
        assert!(replica.is_active("rs", &newer.access).await, "refreshed from an old sign-in");
        assert!(replica.is_active("rs", &older.access).await, "older than the switching off");
    }
    other.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_token_that_came_to_its_end_while_the_account_was_off_does_not_come_to_life() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    off(&app).await;
    let life = first.answer["expires_in"].as_u64().unwrap();
    app.clock.advance(Duration::from_secs(life));
    on(&app).await;
    app.beat().await;
    assert!(!app.is_active("rs", &first.access).await);
    let newer = refreshed(&app, &first.refresh).await;
    assert!(app.is_active("rs", &newer.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn what_is_revoked_while_the_account_is_off_stays_so_when_it_is_on_again() {
    let app = with_people("").await;
    let tokens = sign_in(&app, "spa").await;
    let other = sign_in(&app, "spa").await;
    off(&app).await;
    app.beat().await;
    for token in [&tokens.access, &other.refresh] {
        let form = format!("token={token}&client_id=spa");
        assert_eq!(app.post("/oauth2/revoke", &[], &form).await.status, 200);
    }
    on(&app).await;
    app.beat().await;
    assert!(!app.is_active("rs", &tokens.access).await);
    assert!(!app.is_active("rs", &other.access).await);
    assert_refused(&app.refresh("spa", &other.refresh, "").await, 400, "invalid_grant");
    refreshed(&app, &tokens.refresh).await;
    app.stop().await;
}

#[actix_web::test]
async fn an_account_that_is_switched_off_again_is_off_even_if_the_clock_stands_or_steps_back() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    desk.create_user("alice", None, None, START).await.unwrap();
    let alice = alice(&desk).await.to_string();
    let state = async || -> Switched {
        let all = desk.db.write(async |tx| revocations::switched(tx).await).await.unwrap();
        all.get(&alice).copied().unwrap_or_default()
    };
    // The third of them is an hour ahead of those that follow.
    let clock = [5, 5, 3600, 6, 6, 2, 1].map(|at| START + Duration::from_secs(at));
    let mut last = None;
    for (n, now) in clock.into_iter().enumerate() {
        let is_off = n % 2 == 0;
        if is_off {
            desk.disable_user("alice", now).await.unwrap();
        } else {
            desk.enable_user("alice", now).await.unwrap();
        }
        // A change that an earlier clock says nothing of moves no instant back.
        let chosen = Password::choose("another password of alice").unwrap();
        let earlier = START + Duration::from_secs(9 + n as u64);
        desk.set_password("alice", Some(chosen), false, earlier).await.unwrap();
        let now = state().await;
        assert_eq!(now.is_off(), is_off, "{n}: {now:?}");
        let at: Option<Time> = now.off_at.max(now.on_at);
        assert!(at > last, "{n}: {now:?}");
        last = at;
    }
}

#[actix_web::test]
async fn what_a_new_password_took_back_stays_so_when_the_account_is_switched_on() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    app.clock.advance(MOMENT);
    let chosen = Password::choose("another password of alice").unwrap();
    let now = app.clock.now();
    app.running.desk.set_password("alice", Some(chosen), false, now).await.unwrap();
    off(&app).await;
    on(&app).await;
    app.beat().await;
    assert!(!app.is_active("rs", &first.access).await);
    refused(&app, "refresh_family_revoked", &first.refresh).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_code_dies_when_the_account_was_off_meanwhile_also_where_the_database_has_it_again() {
    let app = with_people("").await;
    let code_before = code(&app, "spa", &[]).await;
    let (db, digest) = (&app.running.desk.db, code_digest(&TokenText::new(&code_before)).unwrap());
    let stored = codes::get(db, &digest).await.unwrap().unwrap();
    off(&app).await;
    assert_eq!(codes::get(db, &digest).await.unwrap(), None);
    on(&app).await;
    app.beat().await;
    db.write(async |tx| codes::add(tx, &digest, &stored).await).await.unwrap();
    assert_refused(&redeem(&app, "spa", &code_before, &[]).await, 400, "invalid_grant");
    assert!(app.refusals("issued_before_watermark").await > 0.5);
    let anew = sign_in(&app, "spa").await;
    assert!(app.is_active("rs", &anew.access).await, "who signs in anew");
    app.stop().await;
}

#[actix_web::test]
async fn an_account_that_was_switched_off_in_what_was_lost_is_off_again_and_can_be_switched_on() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    off(&app).await;
    let since = app.clock.now();
    app.beat().await;
    app.clock.advance(MOMENT);
    lose(&app, "disabled_at = null", "suspended_at = null").await;
    // From the first moment on, though the rows say something else.
    refused(&app, "subject_disabled", &first.refresh).await;
    app.beat().await;
    assert!(is_disabled(&app).await);
    let id = alice(&app.running.desk).await;
    let account = users::get(&app.running.desk.db, id).await.unwrap().unwrap();
    assert_eq!(account.user.disabled_at, Some(since));
    let family = app.family(app.read(&first.refresh).family).await;
    assert_eq!(family.family.suspended_at, Some(since));
    assert_eq!((family.family.revoked_at, family.ended_by), (None, None), "it has not ended");
    assert_eq!(kinds(&app), ["subject_disabled"]);
    assert!(!app.is_active("rs", &first.access).await);
    on(&app).await;
    app.beat().await;
    assert!(app.is_active("rs", &first.access).await);
    let newer = refreshed(&app, &first.refresh).await;
    assert!(app.is_active("rs", &newer.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn an_account_that_was_switched_on_in_what_was_lost_is_on_again_and_nobody_is_logged_out() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    off(&app).await;
    let since = app.clock.now().micros();
    on(&app).await;
    app.beat().await;
    let (user, families) = (format!("disabled_at = {since}"), format!("suspended_at = {since}"));
    lose(&app, &user, &families).await;
    let mut waited = 0;
    let answer = loop {
        let answer = app.refresh("spa", &first.refresh, "").await;
        if answer.status != 503 {
            break answer;
        }
        waited += 1;
        assert!(waited < 100);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let newer = Tokens::read(&answer);
    assert!(waited > 0, "until the row has it back");
    assert!(!is_disabled(&app).await);
    app.beat().await;
    assert!(app.is_active("rs", &newer.access).await && app.is_active("rs", &first.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn switching_on_that_was_lost_does_not_undo_a_later_switching_off() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    off(&app).await;
    let since = app.clock.now().micros();
    app.beat().await;
    on(&app).await;
    app.beat().await;
    // The other history: she was never switched on, and then switched off once more.
    app.database.change("delete from revocations where kind = 'subject_enabled'").await;
    app.database.change("update revocation_head set v = v - 1").await;
    app.database
        .change(&format!("update users set disabled_at = {since}, updated_at = {since}"))
        .await;
    app.database.change(&format!("update families set suspended_at = {since}")).await;
    off(&app).await;
    app.beat().await;
    let mut all = kinds(&app);
    all.sort();
    assert_eq!(all, ["subject_disabled", "subject_disabled", "subject_enabled"]);
    assert!(is_disabled(&app).await);
    assert!(!app.is_active("rs", &first.access).await);
    refused(&app, "subject_disabled", &first.refresh).await;
    on(&app).await;
    app.beat().await;
    assert!(app.is_active("rs", &first.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn switching_off_that_was_lost_does_not_undo_a_later_switching_on() {
    let app = with_people("").await;
    let first = sign_in(&app, "spa").await;
    off(&app).await;
    app.beat().await;
    lose(&app, "disabled_at = null", "suspended_at = null").await;
    on(&app).await;
    app.beat().await;
    assert!(!is_disabled(&app).await);
    assert!(app.is_active("rs", &first.access).await);
    let newer = refreshed(&app, &first.refresh).await;
    assert!(app.is_active("rs", &newer.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn whoever_gets_the_subject_of_somebody_who_was_switched_off_begins_switched_on() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let id = Uuid::from_u128(7);
    let ahead = START + Duration::from_secs(3600);
    desk.create_user("alice", Some(id), None, START).await.unwrap();
    desk.disable_user("alice", ahead).await.unwrap();
    desk.delete_user("alice", START).await.unwrap();
    let is_off = async || {
        let all = desk.db.write(async |tx| revocations::switched(tx).await).await.unwrap();
        all[&id.to_string()].is_off()
    };
    assert!(is_off().await);
    desk.create_user("alice", Some(id), None, START).await.unwrap();
    assert!(!is_off().await);
    desk.disable_user("alice", START).await.unwrap();
    assert!(is_off().await, "and can be switched off like anybody");
}
