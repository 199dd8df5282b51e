//! `[[user]]` in the file of `apply`: people come from it, and what operators did to them stays.

use std::path::Path;
use std::time::Duration;

use jeton::domain::Time;
use jeton::hashing::Hashing;
use jeton::manage::apply::{ApplyFile, Options, Report};
use jeton::manage::{Desk, ManageError};
use jeton::secret::{Password, SecretId, Vault, file as root_file};
use jeton::store::users;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::desk::{ISSUER, desk};
use crate::support::people::{sign_in, stored};

const FILE: &str = r#"
[[client]]
id = "app"
auth_method = "none"

[[user]]
username = "Alice"
password = "first password of alice"

[[user]]
username = "bob"
"#;

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn parsed(text: &str) -> ApplyFile {
    ApplyFile::parse(text, Path::new("/nonexistent")).unwrap()
}

async fn apply(desk: &Desk, text: &str, now: Time) -> Report {
    desk.apply(&parsed(text), Options::default(), now, |_| Ok(())).await.unwrap()
}

async fn prune(desk: &Desk, text: &str, now: Time) -> Report {
    let options = Options { dry_run: false, prune: true };
    desk.apply(&parsed(text), options, now, |_| Ok(())).await.unwrap()
}

/// Everything that the database holds of people.
fn contents(database: &TestDatabase) -> Vec<String> {
    let tables = [
        ("users", "username password_hash disabled_at valid_from updated_at"),
        ("families", "client_id suspended_at revoked_at ended_by"),
        ("applied_fields", "kind object_id field digest"),
        ("audit_events", "action at detail"),
        ("revocations", "kind key v"),
    ];
    let rows = tables.iter().flat_map(|(table, columns)| {
        let columns: Vec<_> = columns
            .split(' ')
            .map(|column| format!("coalesce(cast({column} as text), '-')"))
            .collect();
        database.sql(&format!("select {} from {table} order by 1", columns.join(" || ' ' || ")))
    });
    rows.collect()
}

async fn subject(desk: &Desk, name: &str) -> Uuid {
    desk.user(name, START).await.unwrap().subject.parse().unwrap()
}

/// Whether a password opens an account.
async fn opens(desk: &Desk, name: &str, password: &str) -> bool {
    let id = subject(desk, name).await;
    let hash = users::get(&desk.db, id).await.unwrap().unwrap().password.map(|hash| hash.0);
    let pool = Hashing::new(1).unwrap();
    pool.verify(Zeroizing::new(password.to_owned()), hash).await.unwrap()
}

#[actix_web::test]
async fn people_come_from_the_file_once_and_a_dry_run_says_so_before() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let before = contents(&database);
    let dry = Options { dry_run: true, prune: true };
    let foretold = desk.apply(&parsed(FILE), dry, START, |_| Ok(())).await.unwrap();
    assert_eq!(contents(&database), before);
    let first = apply(&desk, FILE, START).await;
    assert_eq!(foretold.changes, first.changes);
    let said = first.to_string();
    assert!(said.contains("+ user alice\n+ user bob\n! user bob: without a password"), "{said}");
    assert!(opens(&desk, "alice", "first password of alice").await);
    assert!(!opens(&desk, "bob", "").await && !desk.user("bob", START).await.unwrap().has_password);

    let before = contents(&database);
    let second = apply(&desk, FILE, at(5)).await;
    assert!(second.is_empty() && second.unchanged == 3, "{second}");
    assert_eq!(contents(&database), before, "no hash was made anew");
}

#[actix_web::test]
async fn what_an_operator_did_to_people_survives_the_next_run_with_the_same_file() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE, START).await;
    let alice = subject(&desk, "alice").await;
    let new = Password::choose("what the operator set").unwrap();
    desk.set_password("alice", Some(new), false, at(1)).await.unwrap();
    let family = sign_in(&desk, alice, "app", at(2)).await;
    desk.disable_user("alice", at(3)).await.unwrap();
    desk.delete_user("bob", at(4)).await.unwrap();
    let before = contents(&database);
    let report = apply(&desk, FILE, at(5)).await;
    assert!(report.is_empty(), "{report}");
    assert!(report.to_string().contains("! user bob: deleted by an operator"), "{report}");
    assert_eq!(contents(&database), before);
    assert!(opens(&desk, "alice", "what the operator set").await);

    // Once the file changes the password the file wins; that she is switched off is not in it.
    let changed = FILE.replace("first password", "other password");
    let report = apply(&desk, &changed, at(6)).await;
    assert!(report.to_string().contains("~ user alice: password\n"), "{report}");
    assert!(opens(&desk, "alice", "other password of alice").await);
    assert!(desk.user("alice", at(6)).await.unwrap().disabled);
    let ended = stored(&desk, family).await;
    assert_eq!(ended.ended_by.as_deref(), Some("password_changed"));
    let acts = database.sql("select key from revocations where kind = 'subject' order by v");
    assert_eq!(acts.last(), Some(&alice.to_string()));
    // Without one the present one stays, and so it does when the file names it again.
    let omitted = changed.replace("password = \"other password of alice\"\n", "");
    for text in [&omitted, &changed] {
        let before = database.sql("select password_hash from users");
        assert!(apply(&desk, text, at(7)).await.is_empty());
        assert_eq!(database.sql("select password_hash from users"), before);
    }
}

#[actix_web::test]
async fn a_password_that_opens_the_account_already_is_no_change() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let known = Password::choose("first password of alice").unwrap();
    desk.create_user("alice", None, Some(known), START).await.unwrap();
    let hash = database.sql("select password_hash from users");
    let report = apply(&desk, FILE, at(1)).await;
    assert!(!report.to_string().contains("alice"), "{report}");
    assert_eq!(database.sql("select password_hash from users"), [hash[0].as_str(), ""]);
}

#[actix_web::test]
async fn pruning_deletes_people_whom_apply_made_and_nobody_else() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE, START).await;
    desk.create_user("carol", None, None, START).await.unwrap();
    let alice = subject(&desk, "alice").await;
    let family = sign_in(&desk, alice, "app", at(1)).await;
    let without = FILE.split_once("[[user]]").unwrap().0;
    assert!(apply(&desk, without, at(2)).await.is_empty(), "without prune nobody goes");
    let report = prune(&desk, without, at(3)).await;
    assert_eq!(report.to_string(), "- user alice\n- user bob\n1 unchanged");
    let left: Vec<_> =
        desk.users(at(4)).await.unwrap().into_iter().map(|one| one.username).collect();
    assert_eq!(left, ["carol"]);
    assert_eq!(stored(&desk, family).await.ended_by.as_deref(), Some("user_deleted"));
    let acts = database.sql("select key from revocations where kind = 'subject'");
    assert!(acts.contains(&alice.to_string()) && acts.len() == 2, "{acts:?}");
    // The same name again is somebody else.
    apply(&desk, FILE, at(5)).await;
    assert_ne!(subject(&desk, "alice").await, alice);
}

#[actix_web::test]
async fn a_hash_from_elsewhere_is_taken_over_if_it_is_strong_enough() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let pool = Hashing::new(1).unwrap();
    let phc = pool.hash(Zeroizing::new("brought along".to_owned())).await.unwrap();
    let file = |hash: &str| format!("[[user]]\nusername = \"dora\"\npassword_hash = '{hash}'\n");
    apply(&desk, &file(&phc), START).await;
    assert!(opens(&desk, "dora", "brought along").await);
    assert!(apply(&desk, &file(&phc), at(1)).await.is_empty());
    let other = pool.hash(Zeroizing::new("brought later".to_owned())).await.unwrap();
    assert!(!apply(&desk, &file(&other), at(2)).await.is_empty());
    assert!(opens(&desk, "dora", "brought later").await);
    for (wrong, told) in [
        ("hunter2hunter2", "no whole PHC string"),
        (&phc.replace("argon2id", "argon2i"), "argon2id"),
        (&phc.replace("m=19456", "m=8192"), "too weak"),
        ("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", "hash"),
    ] {
        let text = file(wrong);
        let refused = desk.apply(&parsed(&text), Options::default(), at(3), |_| Ok(())).await;
        let Err(ManageError::Invalid(mistakes)) = refused else { panic!("{refused:?}") };
        let [only] = &mistakes[..] else { panic!("{mistakes:?}") };
        assert!(
            only.starts_with("user \"dora\": password_hash: ") && only.contains(told),
            "{only}"
        );
        assert!(!only.contains("hunter2"), "{only}");
    }
}

#[actix_web::test]
async fn every_mistake_about_people_is_named_and_no_password() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let text = r#"
[[user]]
username = "two words"
[[user]]
username = "short"
password = "hunter2"
[[user]]
username = "both"
password = "hunter2-hunter2"
password_hash = "hunter2-hunter2"
[[user]]
username = "twice"
[[user]]
username = "TWICE"
"#;
    let before = contents(&database);
    let outcome = desk.apply(&parsed(text), Options::default(), START, |_| Ok(())).await;
    let Err(ManageError::Invalid(mistakes)) = outcome else { panic!("{outcome:?}") };
    for told in [
        "user \"two words\": username: ",
        "user \"short\": password: a password has at least 12 characters",
        "user \"both\": password: give one of ",
        "user \"TWICE\": it occurs twice",
    ] {
        assert!(mistakes.iter().any(|one| one.starts_with(told)), "{told}: {mistakes:#?}");
    }
    assert!(!format!("{mistakes:?}{:?}", parsed(text).users).contains("hunter2"));
    assert_eq!(contents(&database), before);
    for (line, told) in [
        ("disabled = true", "disabled"),
        ("password_file = \"nowhere\"", "nowhere"),
        ("password = [\"hunter2-hunter2\"]", "password"),
    ] {
        let text = format!("[[user]]\nusername = \"eve\"\n{line}\n");
        let said = ApplyFile::parse(&text, Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(said.starts_with("user \"eve\": ") && said.contains(told), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[actix_web::test]
async fn a_password_file_is_one_line_and_nothing_of_it_is_kept_in_the_clear() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let password = "from a file, with spaces ";
    std::fs::write(database.directory.path().join("alice"), format!("{password}\n")).unwrap();
    let text = "[[user]]\nusername = \"alice\"\npassword_file = \"alice\"\n";
    let file = ApplyFile::parse(text, database.directory.path()).unwrap();
    let report = desk.apply(&file, Options::default(), START, |_| Ok(())).await.unwrap();
    assert!(opens(&desk, "alice", password).await);
    let hash = database.sql("select password_hash from users").remove(0);
    let mut said = vec![report.to_string(), json!(report).to_string(), format!("{file:?}")];
    said.extend(database.sql("select digest from applied_fields"));
    said.extend(database.sql("select cast(detail as text) from audit_events"));
    for text in &said {
        assert!(!text.contains(password.trim()) && !text.contains(&hash), "{text}");
    }
    assert!(said.len() >= 6);
}

#[actix_web::test]
async fn a_promoted_root_secret_changes_no_password_and_a_lost_one_brings_none_back() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE, START).await;
    let tag = "select digest from applied_fields where kind = 'user' and field = 'password'";
    assert!(database.sql(tag)[0].starts_with("1:"));
    let path = database.directory.path().join("root-secrets");
    root_file::add(&path, SecretId(2)).unwrap();
    root_file::promote(&path, SecretId(2)).unwrap();
    let reopen = |desk: &Desk| Desk {
        secrets: std::sync::Arc::new(Vault::open(path.clone(), ISSUER).unwrap()),
        ..desk.clone()
    };
    let desk = reopen(&desk);
    let before = database.sql("select password_hash from users");
    assert!(apply(&desk, FILE, at(1)).await.is_empty());
    assert_eq!(database.sql("select password_hash from users"), before);
    assert!(database.sql(tag)[0].starts_with("2:"), "it is remembered under the new one");

    let new = Password::choose("what the operator set").unwrap();
    desk.set_password("alice", Some(new), false, at(2)).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    root_file::generate(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("1 ", "9 ", 1)).unwrap();
    let desk = reopen(&desk);
    let report = apply(&desk, FILE, at(3)).await;
    assert!(report.is_empty() && report.to_string().contains("cannot be told"), "{report}");
    assert!(opens(&desk, "alice", "what the operator set").await);
    assert!(database.sql(tag)[0].starts_with("9:"));
    let report = apply(&desk, FILE, at(4)).await;
    assert!(report.is_empty() && !report.to_string().contains("cannot be told"), "{report}");
}
