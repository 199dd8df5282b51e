//! `jeton session`: who is signed in where, and the end of that.

use std::time::Duration;

use jeton::domain::Time;
use jeton::keys::TokenType;
use jeton::manage::Desk;
use jeton::manage::revoke::What;
use jeton::manage::sessions::Which;
use jeton::store::{Fault, families};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::START;
use crate::support::desk::desk;
use crate::support::forge;
use crate::support::people::{IDLE, family, sign_in, stored};
use crate::support::process::jeton;
use crate::support::refused::assert_refused;
use crate::support::replica::environment;
use crate::support::sign_in::{add_user, code, redeem, with_people};
use crate::support::{App, TestDatabase};

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn of_user(name: &str) -> Which {
    Which { user: Some(name.to_owned()), ..Which::default() }
}

async fn person(desk: &Desk, name: &str) -> Uuid {
    desk.create_user(name, None, None, START).await.unwrap().subject.parse().unwrap()
}

async fn client(desk: &Desk, id: &str) {
    let description = serde_json::from_value(serde_json::json!({ "id": id })).unwrap();
    desk.create_client(&description, START).await.unwrap();
}

/// Which of these can still be refreshed.
async fn alive(desk: &Desk, ids: &[Uuid], now: Time) -> Vec<bool> {
    let mut alive = Vec::new();
    for id in ids {
        alive.push(stored(desk, *id).await.family.lives(now).is_ok());
    }
    alive
}

#[actix_web::test]
async fn the_list_is_newest_first_and_says_if_there_is_more() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    client(&desk, "other").await;
    let (alice, bob) = (person(&desk, "alice").await, person(&desk, "bob").await);
    let mut ids = Vec::new();
    for (who, client, birth) in
        [(alice, "app", 1), (bob, "app", 2), (alice, "other", 3), (alice, "app", 4)]
    {
        ids.push(sign_in(&desk, who, client, at(birth)).await.to_string());
    }
    let list = async |which: Which, most: u32| {
        let found = desk.sessions(&which, most, at(10)).await.unwrap();
        (found.sessions.into_iter().map(|one| one.id).collect::<Vec<_>>(), found.more)
    };
    let pick = |which: &[usize]| which.iter().map(|n| ids[*n].clone()).collect::<Vec<_>>();
    assert_eq!(list(Which::default(), 10).await, (pick(&[3, 2, 1, 0]), false));
    assert_eq!(list(Which::default(), 4).await, (pick(&[3, 2, 1, 0]), false));
    assert_eq!(list(Which::default(), 2).await, (pick(&[3, 2]), true));
    assert_eq!(list(of_user("alice"), 10).await, (pick(&[3, 2, 0]), false));
    assert_eq!(list(of_user(&bob.to_string()), 10).await, (pick(&[1]), false));
    let at_app = Which { client: Some("app".to_owned()), ..of_user("alice") };
    assert_eq!(list(at_app, 10).await, (pick(&[3, 0]), false));
    let before = Which { before: Some(at(3)), ..Which::default() };
    assert_eq!(list(before, 10).await, (pick(&[1, 0]), false));
    let one = Which { family: Some(ids[1].parse().unwrap()), ..Which::default() };
    assert_eq!(list(one, 10).await, (pick(&[1]), false));

    let view = desk.session(ids[2].parse().unwrap(), at(10)).await.unwrap();
    assert_eq!((view.username.as_deref(), view.client.as_str()), (Some("alice"), "other"));
    assert_eq!((view.state, view.why.as_deref()), ("live", None));
    assert_eq!(view.born_at, Some(at(3).rfc3339()));
    assert_eq!(view.network.as_deref(), Some("192.0.2.0/24"));
    assert!(desk.session(Uuid::from_u128(1), at(10)).await.is_err());
    assert!(desk.sessions(&of_user("nobody"), 10, at(10)).await.is_err());
}

#[actix_web::test]
async fn the_state_of_a_sign_in_is_the_one_that_a_refresh_would_meet() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    for id in ["app", "off", "gone"] {
        client(&desk, id).await;
    }
    let (alice, bob, carol) =
        (person(&desk, "alice").await, person(&desk, "bob").await, person(&desk, "carol").await);
    let state = async |id: Uuid, now: Time| {
        let view = desk.session(id, now).await.unwrap();
        (view.state, view.why.unwrap_or_default())
    };
    let is = |state: &'static str, why: &str| (state, why.to_owned());
    let old = sign_in(&desk, alice, "app", at(1)).await;
    let young = sign_in(&desk, alice, "app", at(50)).await;
    let off = sign_in(&desk, alice, "off", at(50)).await;
    let gone = sign_in(&desk, alice, "gone", at(50)).await;
    let bobs = sign_in(&desk, bob, "app", at(50)).await;
    let carols = sign_in(&desk, carol, "app", at(50)).await;
    let mut short = family(alice, "app", at(50));
    short.family.ends_at = at(60);
    desk.db.write(async |tx| families::add(tx, &short).await).await.unwrap();
    for id in [old, young, off, gone, bobs, carols, short.family.id] {
        assert_eq!(state(id, at(55)).await, is("live", ""));
    }
    desk.disable_client("off", at(70)).await.unwrap();
    desk.delete_client("gone", at(70)).await.unwrap();
    desk.disable_user("bob", at(70)).await.unwrap();
    desk.delete_user("carol", at(70)).await.unwrap();
    desk.revoke(&What::Client("app".to_owned()), Some(at(50)), at(70), false).await.unwrap();
    let one = Which { family: Some(young), ..Which::default() };
    assert_eq!(state(young, at(71)).await, is("live", ""), "born at that very instant");
    desk.revoke_sessions(&one, at(72), false).await.unwrap();
    for (id, expected) in [
        (old, is("revoked", "issued_before_watermark")),
        (young, is("revoked", "operator")),
        (off, is("suspended", "client_disabled")),
        (gone, is("revoked", "client_deleted")),
        (bobs, is("suspended", "subject_disabled")),
        (carols, is("revoked", "user_deleted")),
        (short.family.id, is("ended", "")),
    ] {
        assert_eq!(state(id, at(75)).await, expected);
    }
    assert_eq!(state(off, at(50) + IDLE).await, is("idle", ""));
}

/// An access token of a sign-in, as a refresh at this moment would issue it.
fn access_token(app: &App, subject: Uuid, family: Uuid) -> String {
    let mut claims = forge::claims(app);
    claims["sub"] = json!(subject);
    claims["sid"] = json!(family);
    // Each has a name of its own, or one would be taken for another that was seen before.
    claims["jti"] = json!(forge::encode(&family.as_bytes()[..]));
    forge::signed_by_us(app, TokenType::Access, claims.to_string().as_bytes())
}

#[actix_web::test]
async fn resource_servers_that_ask_see_the_end_of_a_sign_in_and_of_an_account() {
    let app = App::start().await;
    let desk = app.running.desk.clone();
    let alice = person(&desk, "alice").await;
    app.clock.advance(Duration::from_secs(10));
    let one = sign_in(&desk, alice, "app", app.clock.now()).await;
    let two = sign_in(&desk, alice, "app", app.clock.now()).await;
    let tokens = [access_token(&app, alice, one), access_token(&app, alice, two)];
    for token in &tokens {
        assert!(app.is_active("rs", token).await);
    }
    let which = Which { family: Some(one), ..Which::default() };
    desk.revoke_sessions(&which, app.clock.now(), false).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &tokens[0]).await);
    assert!(app.is_active("rs", &tokens[1]).await);

    app.clock.advance(Duration::from_secs(10));
    desk.disable_user("alice", app.clock.now()).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &tokens[1]).await);
    assert!(!app.is_active("rs", &access_token(&app, alice, two)).await, "nor what is refreshed");
    app.clock.advance(Duration::from_secs(10));
    desk.enable_user("alice", app.clock.now()).await.unwrap();
    let three = sign_in(&desk, alice, "app", app.clock.now()).await;
    app.beat().await;
    assert!(app.is_active("rs", &access_token(&app, alice, three)).await, "who signs in anew");
    assert!(app.is_active("rs", &access_token(&app, alice, two)).await, "what was not ended");
    assert!(!app.is_active("rs", &tokens[0]).await, "what was ended");
}

#[actix_web::test]
async fn exactly_what_was_meant_is_ended_and_a_dry_run_ends_nothing() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    client(&desk, "other").await;
    let (alice, bob) = (person(&desk, "alice").await, person(&desk, "bob").await);
    let mut ids = Vec::new();
    for (who, client, birth) in [
        (alice, "app", 1),
        (alice, "app", 100),
        (alice, "other", 1),
        (bob, "app", 1),
        (bob, "other", 100),
    ] {
        ids.push(sign_in(&desk, who, client, at(birth)).await);
    }
    let before = |which: Which| Which { before: Some(at(100)), ..which };
    let at_client = |id: &str| Which { client: Some(id.to_owned()), ..Which::default() };
    let (mut acts, mut rows) = (0, 0);
    for (which, count, left) in [
        (
            before(Which { client: Some("app".to_owned()), ..of_user("alice") }),
            1,
            [false, true, true, true, true],
        ),
        (before(at_client("app")), 1, [false, true, true, false, true]),
        (Which { family: Some(ids[4]), ..Which::default() }, 1, [false, true, true, false, false]),
        (Which { family: Some(ids[4]), ..Which::default() }, 0, [false, true, true, false, false]),
        (of_user("alice"), 2, [false; 5]),
        (at_client("app"), 0, [false; 5]),
    ] {
        let was = alive(&desk, &ids, at(200)).await;
        let dry = desk.revoke_sessions(&which, at(200), true).await.unwrap();
        assert_eq!((dry.sessions, dry.obeyed_within), (count, None), "{which:?}");
        assert_eq!(alive(&desk, &ids, at(200)).await, was, "{which:?}");
        let done = desk.revoke_sessions(&which, at(200), false).await.unwrap();
        assert_eq!((done.sessions, done.obeyed_within.as_deref()), (count, Some("2s")));
        assert_eq!(alive(&desk, &ids, at(200)).await, left, "{which:?}");
        acts += usize::try_from(count).unwrap();
        rows += usize::from(count > 0);
        let family = "select key from revocations where kind = 'family'";
        assert_eq!(database.sql(family).len(), acts);
        let trail = "select 1 from audit_events where action = 'sessions_revoked'";
        assert_eq!(database.sql(trail).len(), rows, "one for each that did something");
    }
    let ahead = Which { before: Some(at(201)), ..Which::default() };
    assert!(desk.revoke_sessions(&ahead, at(200), false).await.is_err(), "what is yet to begin");
    // Nothing ends because nobody is called so: whoever mistyped it must not think that it is done.
    for (which, named) in [
        (at_client("nope"), "nope"),
        (Which { family: Some(Uuid::nil()), ..Which::default() }, "00000000-0000"),
    ] {
        for dry_run in [true, false] {
            let said = desk.revoke_sessions(&which, at(200), dry_run).await.unwrap_err();
            assert!(said.to_string().contains(named), "{said}");
        }
    }
}

#[actix_web::test]
async fn what_has_just_come_to_its_end_is_taken_back_while_its_last_token_may_live() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let alice = person(&desk, "alice").await;
    for _ in 0..2 {
        let mut short = family(alice, "app", at(1));
        short.family.ends_at = at(50);
        desk.db.write(async |tx| families::add(tx, &short).await).await.unwrap();
    }
    let one = desk.sessions(&of_user("alice"), 1, at(60)).await.unwrap().sessions.remove(0);
    let which = Which { family: Some(one.id.parse().unwrap()), ..Which::default() };
    let done = desk.revoke_sessions(&which, at(60), false).await.unwrap();
    assert_eq!(done.sessions, 1);
    assert_eq!(database.sql("select key from revocations"), [one.id]);
    let over = at(50 + 3600);
    assert_eq!(desk.revoke_sessions(&of_user("alice"), over, false).await.unwrap().sessions, 0);
}

#[actix_web::test]
async fn many_are_ended_in_pages_whatever_happens_to_the_answers() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    let (alice, bob) = (person(&desk, "alice").await, person(&desk, "bob").await);
    let kept = sign_in(&desk, bob, "app", at(1)).await;
    desk.db
        .write(async |tx| {
            for second in 0..1201 {
                families::add(tx, &family(alice, "app", at(second))).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    desk.db.inject([Fault::LosesRace, Fault::CutBeforeCommit, Fault::CutAfterCommit]);
    let done = desk.revoke_sessions(&of_user("alice"), at(2000), false).await.unwrap();
    assert_eq!(done.sessions, 1201);
    let trail = "select action from audit_events where action = 'sessions_revoked'";
    assert_eq!(database.sql(trail).len(), 2, "the page whose answer was lost had written one");
    let left = "select client_id from families where revoked_at is null";
    assert_eq!(database.sql(left), ["app"]);
    assert!(stored(&desk, kept).await.family.lives(at(2000)).is_ok());
    let numbers =
        database.sql("select cast(v as text) from revocations where kind = 'family' order by v");
    assert_eq!(numbers.len(), 1201);
    let forget = at(2000 + 3660).micros();
    let ends = format!("select count(*) from revocations where expires_at = {forget}");
    assert_eq!(database.sql(&ends), ["1201"]);
    let again = desk.revoke_sessions(&of_user("alice"), at(2001), false).await.unwrap();
    assert_eq!(again.sessions, 0);
}

#[actix_web::test]
async fn the_command_wants_to_know_which_and_says_what_it_did() {
    let database = TestDatabase::new();
    let environment = environment(&database.url, database.directory.path(), &[]);
    let run = |args: &[&str]| {
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let done = jeton(args, &environment);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    assert_eq!(run(&["migrate"]).0, Some(0));
    let (_, out, _) = run(&["user", "create", "alice", "--json"]);
    let made: Value = serde_json::from_str(&out).unwrap();
    let alice: Uuid = made["subject"].as_str().unwrap().parse().unwrap();
    assert_eq!(run(&["client", "create", "app"]).0, Some(0));
    let db = database.open().await;
    let now = jeton::clock::Clock::system().now();
    for _ in 0..3 {
        let stored = family(alice, "app", now);
        db.write(async |tx| families::add(tx, &stored).await).await.unwrap();
    }
    let (status, out, err) = run(&["session", "list", "--limit", "2"]);
    assert_eq!((status, out.lines().count()), (Some(0), 3), "{out}");
    assert!(
        out.contains("alice") && out.contains("live") && err.contains("there are more"),
        "{err}"
    );
    let (_, out, _) = run(&["session", "list", "--user", "alice", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (list["sessions"].as_array().unwrap().len(), &list["more"]),
        (3, &Value::from(false))
    );
    let id = list["sessions"][0]["id"].as_str().unwrap();
    let (status, out, _) = run(&["session", "show", id]);
    assert!(status == Some(0) && out.contains("Browser/1"), "{out}");

    assert_eq!(run(&["session", "revoke"]).0, Some(2), "which, it must be told");
    assert_eq!(run(&["session", "revoke", "--dry-run"]).0, Some(2));
    let (status, out, err) = run(&["session", "revoke", "--user", "alice", "--dry-run"]);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out.trim(), "would end 3 sessions. Nothing was done");
    let (_, out, _) = run(&["session", "revoke", "--family", id]);
    assert!(out.starts_with("ended 1 session. ") && out.contains("within 2s"), "{out}");
    let (_, out, _) = run(&["session", "revoke", "--client", "app", "--before", "0s", "--json"]);
    let ended: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(ended["sessions"], 2);
    let (_, out, _) = run(&["session", "revoke", "--user", "alice"]);
    assert_eq!(out.trim(), "no session was to be ended");
    let (status, _, err) = run(&["session", "revoke", "--user", "nobody"]);
    assert!(status == Some(1) && err.contains("no user \"nobody\""), "{err}");
    let (_, out, _) = run(&["session", "list"]);
    assert_eq!(out.matches("revoked: operator").count(), 3, "{out}");
}

#[actix_web::test]
async fn whoever_is_signing_in_while_all_sign_ins_of_a_person_end_is_not_in_afterwards() {
    let app = with_people("").await;
    // The password was right before that, and the code is written after it.
    let now = app.clock.now() + Duration::from_secs(5);
    app.running.desk.revoke_sessions(&of_user("alice"), now, false).await.unwrap();
    let trail = "select cast(detail as text) from audit_events where action = 'sessions_revoked'";
    let trail = app.database.sql(trail);
    let detail: Value = serde_json::from_str(&trail[0]).unwrap();
    assert_eq!((trail.len(), &detail["sessions"], &detail["codes"]), (1, &json!(0), &json!(0)));
    let code_of = async || code(&app, "spa", &[]).await;
    assert_refused(&redeem(&app, "spa", &code_of().await, &[]).await, 400, "invalid_grant");
    app.clock.advance(Duration::from_secs(6));
    assert_eq!(redeem(&app, "spa", &code_of().await, &[]).await.status, 200, "from then on");
    app.stop().await;
}

#[actix_web::test]
async fn what_was_allowed_and_not_fetched_yet_ends_with_the_sign_ins_of_its_person_or_client() {
    let app = with_people("").await;
    add_user(&app, "bob").await;
    let of_client = |name: &str| Which { client: Some(name.to_owned()), ..Which::default() };
    let mut codes = 0;
    for (which, dies) in [
        (of_user("alice"), true),
        (of_client("spa"), true),
        (of_user("bob"), false),
        (of_client("web"), false),
    ] {
        app.clock.advance(Duration::from_secs(6));
        let code = code(&app, "spa", &[]).await;
        // Whoever redeems it looked at the clock before that.
        let now = app.clock.now() + Duration::from_secs(5);
        let would = app.running.desk.revoke_sessions(&which, now, true).await.unwrap();
        let ended = app.running.desk.revoke_sessions(&which, now, false).await.unwrap();
        assert_eq!((would.codes, ended.codes), (u64::from(dies), u64::from(dies)), "{which:?}");
        let answer = redeem(&app, "spa", &code, &[]).await;
        assert_eq!(answer.status, if dies { 400 } else { 200 }, "{which:?}: {answer:?}");
        let trail =
            "select cast(detail as text) from audit_events where action = 'sessions_revoked'";
        let noted = app
            .database
            .sql(trail)
            .iter()
            .filter(|one| one.replace(' ', "").contains("\"codes\":1"))
            .count();
        codes += usize::from(dies);
        assert_eq!(noted, codes, "{which:?}");
    }
    app.stop().await;
}
