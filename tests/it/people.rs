//! `jeton user`: people come, are switched off and on, get passwords, and go.

use std::time::Duration;

use jeton::domain::Time;
use jeton::hashing::Hashing;
use jeton::manage::revoke::What;
use jeton::manage::{Desk, ManageError};
use jeton::secret::Password;
use jeton::store::{Fault, instance, users};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::desk::desk;
use crate::support::people::{ABSOLUTE, IDLE, family, plant_code, sign_in, stored};
use crate::support::process::{jeton, jeton_reading};
use crate::support::replica::environment;

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn chosen(text: &str) -> Password {
    Password::choose(text).unwrap()
}

async fn person(desk: &Desk, name: &str) -> Uuid {
    let new = desk.create_user(name, None, Some(chosen("correct horse")), START).await.unwrap();
    assert!(new.password.is_none(), "a chosen one is not repeated");
    new.subject.parse().unwrap()
}

async fn client(desk: &Desk, id: &str) {
    let description = serde_json::from_value(serde_json::json!({ "id": id })).unwrap();
    desk.create_client(&description, START).await.unwrap();
}

/// Whether a password opens an account.
async fn opens(desk: &Desk, id: Uuid, password: &str) -> bool {
    let hash = users::get(&desk.db, id).await.unwrap().unwrap().password.map(|hash| hash.0);
    let pool = Hashing::new(1).unwrap();
    pool.verify(Zeroizing::new(password.to_owned()), hash).await.unwrap()
}

fn acts(database: &TestDatabase) -> Vec<String> {
    database.sql(
        "select kind || ' ' || key || ' ' || cast(issued_before as text) || ' ' ||
                cast(expires_at as text)
         from revocations order by v",
    )
}

/// The act that takes everything of a person back, at an instant.
fn act(subject: Uuid, at: Time) -> String {
    act_of("subject", subject, at)
}

fn act_of(kind: &str, subject: Uuid, at: Time) -> String {
    let forget = at + Duration::from_secs(3600 + 60);
    format!("{kind} {subject} {} {}", at.micros(), forget.micros())
}

fn trail(database: &TestDatabase) -> Vec<String> {
    database.sql("select action from audit_events order by at, id")
}

fn codes(database: &TestDatabase) -> usize {
    database.sql("select client_id from codes").len()
}

#[actix_web::test]
async fn a_generated_password_is_shown_once_and_kept_as_a_hash_alone() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let new = desk.create_user(" Alice ", None, None, START).await.unwrap();
    let password = new.password.unwrap();
    let id: Uuid = new.subject.parse().unwrap();
    assert_eq!((new.username.as_str(), id.get_version_num()), ("alice", 4), "it tells nothing");
    assert!(opens(&desk, id, password.expose()).await && !opens(&desk, id, "another one").await);
    let hash = database.sql("select password_hash from users").remove(0);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let mut said = database.sql("select cast(detail as text) from audit_events");
    said.push(format!("{:?}", users::all(&desk.db).await.unwrap()));
    for text in said {
        assert!(!text.contains(password.expose()) && !text.contains(&hash), "{text}");
        assert!(text.contains("subject") || text.contains("alice"), "{text}");
    }
    assert_eq!(trail(&database), ["user_created"]);
    let view = desk.user("ALICE", START).await.unwrap();
    assert_eq!(
        (view.subject.clone(), view.has_password, view.live_sessions),
        (new.subject, true, 0)
    );
    assert_eq!(desk.user(&view.subject, START).await.unwrap().username, "alice");
}

#[actix_web::test]
async fn a_name_and_a_subject_belong_to_one_person() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let id = Uuid::from_u128(7);
    desk.create_user("alice", Some(id), None, START).await.unwrap();
    for (name, id, told) in
        [("ALICE", None, "\"alice\""), ("bob", Some(id), "00000000-0000-0000-0000-000000000007")]
    {
        let outcome = desk.create_user(name, id, None, START).await;
        let Err(ManageError::Exists { kind: "user", .. }) = &outcome else { panic!("{outcome:?}") };
        assert!(outcome.unwrap_err().to_string().contains(told));
    }
    for wrong in ["", "two words", "0190163d-8694-739b-aea5-966c26f8ad91"] {
        let outcome = desk.create_user(wrong, None, None, START).await;
        assert!(matches!(outcome, Err(ManageError::Invalid(_))), "{wrong:?}: {outcome:?}");
    }
    assert_eq!(desk.users(START).await.unwrap().len(), 1);
    let said = desk.disable_user("bob", START).await.unwrap_err().to_string();
    assert_eq!(said, "there is no user \"bob\"; `jeton user list` shows them all");
}

#[actix_web::test]
async fn who_is_switched_off_can_do_nothing_and_whoever_was_not_ended_goes_on_afterwards() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    let (alice, bob) = (person(&desk, "alice").await, person(&desk, "bob").await);
    let kept = sign_in(&desk, alice, "app", at(1)).await;
    let others = sign_in(&desk, bob, "app", at(1)).await;
    for (who, used) in [(alice, false), (alice, true), (bob, false)] {
        plant_code(&database, who, used);
    }
    // It loses a race twice, and still everything happens once.
    desk.db.inject([Fault::LosesRace; 2]);
    let view = desk.disable_user("alice", at(10)).await.unwrap();
    assert!(view.disabled && view.live_sessions == 0, "{view:?}");
    assert_eq!(stored(&desk, kept).await.family.suspended_at, Some(at(10)));
    assert_eq!(stored(&desk, others).await.family.suspended_at, None);
    assert_eq!(codes(&database), 2, "hers that was redeemed, and his");
    let mut told = vec![act_of("subject_disabled", alice, at(10))];
    assert_eq!(acts(&database), told);
    let redeemed = desk.db.write(async |tx| users::signed_in(tx, alice, at(2), at(11)).await);
    assert!(!redeemed.await.unwrap());

    // Again: since when stays, and replicas are told once more.
    let again = desk.disable_user("alice", at(20)).await.unwrap();
    assert_eq!(again.disabled_at, Some(at(10).rfc3339()));
    told.push(act_of("subject_disabled", alice, at(20)));
    assert_eq!(acts(&database), told);

    let enabled = desk.enable_user("alice", at(30)).await.unwrap();
    assert!(!enabled.disabled && enabled.live_sessions == 1, "{enabled:?}");
    told.push(act_of("subject_enabled", alice, at(30)));
    assert_eq!(acts(&database), told);
    assert_eq!(stored(&desk, kept).await.family.lives(at(31)), Ok(()));
    desk.enable_user("alice", at(40)).await.unwrap();
    let expected = ["user_disabled", "user_disabled", "user_enabled", "user_enabled"];
    assert_eq!(trail(&database)[trail(&database).len() - 4..], expected);
}

#[actix_web::test]
async fn a_new_password_ends_every_sign_in_unless_they_are_to_be_kept() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    let alice = person(&desk, "alice").await;
    let family = sign_in(&desk, alice, "app", at(1)).await;
    plant_code(&database, alice, false);
    desk.set_password("alice", Some(chosen("a second one")), true, at(10)).await.unwrap();
    assert!(opens(&desk, alice, "a second one").await);
    assert!(!opens(&desk, alice, "correct horse").await);
    assert_eq!(stored(&desk, family).await.family.revoked_at, None);
    assert_eq!((codes(&database), acts(&database)), (1, Vec::new()));

    let new = desk.set_password("alice", None, false, at(20)).await.unwrap();
    assert!(opens(&desk, alice, new.password.unwrap().expose()).await);
    let ended = stored(&desk, family).await;
    assert_eq!(ended.family.revoked_at, Some(at(20)));
    assert_eq!(ended.ended_by.as_deref(), Some("password_changed"));
    assert_eq!((codes(&database), acts(&database)), (0, vec![act(alice, at(20))]));
    // Whoever proved the old password just before gets nothing for it.
    let late = desk.db.write(async |tx| users::signed_in(tx, alice, at(19), at(21)).await);
    assert!(!late.await.unwrap());
    let anew = desk.db.write(async |tx| users::signed_in(tx, alice, at(22), at(22)).await);
    assert!(anew.await.unwrap());
    // Being switched on again does not bring back what was ended.
    desk.disable_user("alice", at(30)).await.unwrap();
    desk.enable_user("alice", at(31)).await.unwrap();
    assert!(stored(&desk, family).await.family.lives(at(32)).is_err());
}

#[actix_web::test]
async fn who_was_deleted_is_gone_and_the_next_of_that_name_is_somebody_else() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    client(&desk, "app").await;
    let alice = person(&desk, "alice").await;
    let family = sign_in(&desk, alice, "app", at(1)).await;
    plant_code(&database, alice, false);
    desk.delete_user("alice", at(10)).await.unwrap();
    assert_eq!(stored(&desk, family).await.ended_by.as_deref(), Some("user_deleted"));
    assert_eq!((codes(&database), acts(&database)), (0, vec![act(alice, at(10))]));
    assert!(desk.delete_user("alice", at(11)).await.is_err());
    assert_ne!(person(&desk, "alice").await, alice);
    let detail =
        database.sql("select cast(detail as text) from audit_events where action = 'user_deleted'");
    let detail: Value = serde_json::from_str(&detail[0]).unwrap();
    assert_eq!(detail, serde_json::json!({ "sessions": 1, "subject": alice.to_string() }));
}

#[actix_web::test]
async fn the_list_counts_the_sign_ins_that_can_be_refreshed_and_no_others() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    for id in ["app", "other", "gone"] {
        client(&desk, id).await;
    }
    instance::claim(&desk.db, desk.issuer.as_str(), false, START).await.unwrap();
    let (alice, bob) = (person(&desk, "alice").await, person(&desk, "bob").await);
    let count = async |now: Time| {
        let users = desk.users(now).await.unwrap();
        assert_eq!(desk.user("alice", now).await.unwrap().live_sessions, users[0].live_sessions);
        (users[0].live_sessions, users[1].live_sessions)
    };
    for (who, client, birth) in [
        (alice, "app", 0),
        (alice, "app", 100),
        (alice, "other", 0),
        (alice, "gone", 0),
        (bob, "app", 100),
    ] {
        sign_in(&desk, who, client, at(birth)).await;
    }
    let mut short = family(alice, "app", at(0));
    short.family.ends_at = at(50);
    desk.db.write(async |tx| jeton::store::families::add(tx, &short).await).await.unwrap();
    assert_eq!(count(at(40)).await, (5, 1));
    assert_eq!(count(at(50)).await, (4, 1), "one has come to its end");
    desk.delete_client("gone", at(60)).await.unwrap();
    assert_eq!(count(at(61)).await, (3, 1));
    let what = What::Client("app".to_owned());
    desk.revoke(&what, Some(at(50)), at(120), false).await.unwrap();
    assert_eq!(count(at(121)).await, (2, 1), "what the client had before");
    desk.revoke(&What::Everything, Some(at(100)), at(130), false).await.unwrap();
    assert_eq!(count(at(131)).await, (1, 1), "what anybody had before");
    assert_eq!(count(at(100) + IDLE).await, (0, 0), "nobody refreshed");
    assert_eq!(count(at(100) + ABSOLUTE).await, (0, 0));
}

/// The command line of an operator at a migrated database.
fn operator(database: &TestDatabase) -> impl Fn(&str, &[&str]) -> (Option<i32>, String, String) {
    let environment = environment(&database.url, database.directory.path(), &[]);
    let run = move |input: &str, args: &[&str]| {
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let done = if input.is_empty() {
            jeton(args, &environment)
        } else {
            jeton_reading(input, args, &environment)
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    assert_eq!(run("", &["migrate"]).0, Some(0));
    run
}

#[actix_web::test]
async fn the_command_takes_passwords_from_files_and_standard_input_and_repeats_none() {
    let database = TestDatabase::new();
    let run = operator(&database);
    let (status, out, _) = run("", &["user", "create", "alice"]);
    let shown = out.lines().find_map(|line| line.strip_prefix("password  ")).unwrap().to_owned();
    assert!(status == Some(0) && shown.len() == 29 && out.contains("this once"), "{out}");

    let (status, out, err) =
        run("пароль-пароль\r\n", &["user", "create", "bob", "--password-stdin"]);
    assert_eq!(status, Some(0), "{err}");
    assert!(!out.contains("пароль") && out.contains("subject"), "{out}");
    let file = database.directory.path().join("password");
    std::fs::write(&file, "from a file, with spaces \n").unwrap();
    let file = file.to_str().unwrap();
    let id = "5f0c6a4e-3f2b-4d0e-9c55-2f9f0a6f3a11";
    let (status, out, err) =
        run("", &["user", "create", "carol", "--id", id, "--password-file", file, "--json"]);
    assert_eq!(status, Some(0), "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(made, serde_json::json!({ "username": "carol", "subject": id }));

    for (input, told) in [
        ("hunter2\n", "at least 12 characters"),
        ("two lines\nof hunter2\n", "control characters"),
        (&"hunter2".repeat(40), "at most 256 bytes"),
    ] {
        let (status, out, err) = run(input, &["user", "set-password", "bob", "--password-stdin"]);
        assert_eq!(status, Some(1), "{out}");
        assert!(err.contains(told) && !format!("{out}{err}").contains("hunter2"), "{err}");
    }
    let (status, ..) =
        run("", &["user", "create", "dora", "--password-stdin", "--password-file", file]);
    assert_eq!(status, Some(2));

    let (_, out, _) = run("", &["user", "list"]);
    assert!(out.contains("LIVE SESSIONS") && out.lines().count() == 4, "{out}");
    let (_, out, _) = run("", &["user", "list", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|one| &one["username"]).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert!(!out.contains("argon2") && !out.contains(&shown), "{out}");

    let (status, out, _) = run("", &["user", "disable", "Bob"]);
    assert!(status == Some(0) && out.contains("disabled"), "{out}");
    let (status, out, err) = run("", &["user", "enable", "bob"]);
    assert!(status == Some(0) && out.contains("enabled"), "{out}");
    assert_eq!(err, "", "nothing is left over that would have to be waited for");
    let (status, out, _) = run("", &["user", "delete", "bob"]);
    assert_eq!((status, out.trim()), (Some(0), "deleted bob"));
    let (status, _, err) = run("", &["user", "show", "bob"]);
    assert!(status == Some(1) && err.contains("jeton user list"), "{err}");
    let db = database.open().await;
    let account = users::get(&db, id.parse().unwrap()).await.unwrap().unwrap();
    let pool = Hashing::new(1).unwrap();
    let typed = Zeroizing::new("from a file, with spaces ".to_owned());
    let stored = account.password.map(|hash| hash.0);
    assert!(pool.verify(typed, stored).await.unwrap(), "nothing is done to it");
}
