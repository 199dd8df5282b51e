//! `apply` brings a file's wishes about, and never undoes what an operator did meanwhile.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use jeton::domain::{ClientId, Time};
use jeton::manage::apply::{ApplyFile, Generated, Options, Report};
use jeton::manage::{Desk, ManageError};
use jeton::secret::ClientSecret;
use jeton::store::{Fault, secrets};
use serde_json::json;

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::desk::desk;

const FILE: &str = r#"
[[resource]]
id = "https://api.test/"
scopes = ["read", { name = "write", description = "Change" }]

[[resource]]
id = "urn:other"

[[client]]
id = "app"
name = "An app"
secret = "first-secret-of-app"
resources = ["https://api.test/"]

[[client]]
id = "job"
generate_secret = true
resources = ["urn:other"]
"#;

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

fn file(text: &str) -> ApplyFile {
    ApplyFile::parse(text, Path::new("/nonexistent")).unwrap()
}

async fn apply_at(desk: &Desk, text: &str, now: Time) -> Report {
    desk.apply(&file(text), Options::default(), now, |_| Ok(())).await.unwrap()
}

async fn apply(desk: &Desk, text: &str) -> Report {
    apply_at(desk, text, START).await
}

/// Everything that the database holds of what `apply` can touch.
fn contents(database: &TestDatabase) -> Vec<String> {
    let tables = [
        ("resources", "id scopes claims created_at updated_at"),
        (
            "clients",
            "id name auth_method grants resources scopes claims access_token_ttl disabled_at",
        ),
        ("client_secrets", "client_id hint created_at expires_at"),
        ("applied_fields", "kind object_id field digest"),
        ("audit_events", "action at client_id resource detail"),
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

/// Whether a secret opens a client at an instant.
async fn works(desk: &Desk, client: &str, secret: &str, now: Time) -> bool {
    let client = ClientId::parse(client).unwrap();
    let secret = ClientSecret::present(secret).unwrap();
    let digest = desk.secrets.now().current_pepper().digest(&client, &secret);
    let all = secrets::load(&desk.db).await.unwrap();
    all.iter().any(|one| one.client == client && one.is_live(now) && one.digest.matches(&digest))
}

#[actix_web::test]
async fn what_is_applied_twice_changes_nothing_the_second_time() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let first = apply(&desk, FILE).await;
    assert_eq!(first.changes.len(), 4, "{first}");
    let before = contents(&database);
    assert!(before.len() > 20, "{before:?}");
    let second = apply_at(&desk, FILE, at(5)).await;
    assert!(second.is_empty() && second.unchanged == 4, "{second}");
    assert_eq!(contents(&database), before);
}

#[actix_web::test]
async fn a_dry_run_writes_nothing_and_says_what_a_real_run_then_does() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let changed = FILE
        .replace("An app", "Renamed")
        .replace("\"read\", ", "")
        .replace("id = \"job\"", "id = \"late\"");
    let dry = Options { dry_run: true, prune: true };
    let real = Options { dry_run: false, prune: true };
    for text in [FILE, &changed] {
        let before = contents(&database);
        let never = |_: &[Generated]| -> Result<(), String> { panic!("a secret in a dry run") };
        let foretold = desk.apply(&file(text), dry, START, never).await.unwrap();
        assert_eq!(contents(&database), before);
        let done = desk.apply(&file(text), real, START, |_| Ok(())).await.unwrap();
        assert_eq!(foretold.changes, done.changes);
        assert!(!done.is_empty());
        assert_ne!(contents(&database), before);
    }
}

#[actix_web::test]
async fn what_an_operator_did_survives_the_next_run_with_the_same_file() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE).await;
    desk.disable_client("app", at(1)).await.unwrap();
    let rotated = desk.rotate_secret("app", at(2)).await.unwrap().client_secret.unwrap();
    // A whole branch of the file: the client, and the resource that only it used.
    desk.delete_client("job", at(3)).await.unwrap();
    desk.delete_resource("urn:other", at(3)).await.unwrap();
    let before = contents(&database);

    let report = apply_at(&desk, FILE, at(4)).await;
    assert!(report.is_empty(), "{report}");
    assert!(report.to_string().contains("deleted by an operator"), "{report}");
    assert_eq!(contents(&database), before);
    let app = desk.client("app").await.unwrap();
    assert!(app.disabled && app.secrets.len() == 2);
    assert!(works(&desk, "app", rotated.expose(), at(5 + 24 * 3600)).await);
    assert!(!works(&desk, "app", "first-secret-of-app", at(5 + 24 * 3600)).await);

    // The remedy that the note names: once without it, and then with it.
    let (without, _) = FILE.split_once("[[client]]\nid = \"job\"").unwrap();
    let without = without.replace("[[resource]]\nid = \"urn:other\"\n", "");
    apply_at(&desk, &without, at(6)).await;
    let report = apply_at(&desk, FILE, at(7)).await;
    assert_eq!(report.changes.len(), 2, "{report}");
    assert!(desk.client("job").await.is_ok() && desk.client("app").await.unwrap().disabled);
}

#[actix_web::test]
async fn a_field_that_the_file_changes_is_written_and_the_others_stay_as_an_operator_has_them() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE).await;
    let by_hand = "name = 'By hand', access_token_ttl = 60000000";
    database.sql(&format!("update clients set {by_hand} where id = 'app' returning 1"));
    let changed = FILE.replace("[\"https://api.test/\"]", "[\"https://api.test/\", \"urn:other\"]");
    let report = apply_at(&desk, &changed, at(1)).await;
    let shown = report.to_string();
    assert!(shown.contains("~ client app: resources") && !shown.contains("name"), "{shown}");
    let app = desk.client("app").await.unwrap();
    assert_eq!((app.name.as_str(), app.access_token_ttl.as_deref()), ("By hand", Some("1m")));
    assert_eq!(app.resources, ["https://api.test/", "urn:other"]);
    // Once the file changes that field as well, the file wins.
    apply_at(&desk, &changed.replace("An app", "By file"), at(2)).await;
    let app = desk.client("app").await.unwrap();
    assert_eq!((app.name.as_str(), app.access_token_ttl.as_deref()), ("By file", Some("1m")));
}

#[actix_web::test]
async fn a_changed_secret_leaves_the_old_one_a_day_and_an_omitted_one_keeps_it() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE).await;
    let day = 24 * 3600;
    let changed = FILE.replace("first-secret-of-app", "second-secret-of-app");
    let report = apply_at(&desk, &changed, at(10)).await;
    assert_eq!(report.to_string(), "~ client app: secret\n4 unchanged");
    for (secret, when, expected) in [
        ("second-secret-of-app", 10, true),
        ("second-secret-of-app", 10 + 9 * day, true),
        ("first-secret-of-app", 9 + day, true),
        ("first-secret-of-app", 10 + day, false),
    ] {
        assert_eq!(works(&desk, "app", secret, at(when)).await, expected, "{secret} at {when}");
    }
    let omitted = changed.replace("secret = \"second-secret-of-app\"\n", "");
    let report = apply_at(&desk, &omitted, at(20)).await;
    assert!(report.is_empty(), "{report}");
    assert!(works(&desk, "app", "second-secret-of-app", at(9 * day)).await);
    // A third makes the first one go: never more than two work at once.
    apply_at(&desk, &FILE.replace("first-secret", "third-secret"), at(30)).await;
    assert!(!works(&desk, "app", "first-secret-of-app", at(31)).await);
    assert_eq!(desk.client("app").await.unwrap().secrets.len(), 2);
}

#[actix_web::test]
async fn a_secret_is_generated_once_and_kept_before_anything_is_written() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let lost = |_: &[Generated]| Err("the disk is full".to_owned());
    let before = contents(&database);
    let outcome = desk.apply(&file(FILE), Options::default(), START, lost).await;
    assert!(outcome.unwrap_err().to_string().contains("the disk is full"));
    assert_eq!(contents(&database), before, "nothing is applied");

    let kept = std::cell::RefCell::new(Vec::new());
    let keep = |generated: &[Generated]| {
        let all =
            generated.iter().map(|one| (one.client.to_string(), one.secret.expose().to_owned()));
        kept.borrow_mut().extend(all);
        Ok(())
    };
    desk.apply(&file(FILE), Options::default(), START, keep).await.unwrap();
    let secrets = kept.take();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].0, "job");
    assert!(works(&desk, "job", &secrets[0].1, START).await);
    desk.apply(&file(FILE), Options::default(), at(1), keep).await.unwrap();
    assert!(kept.take().is_empty(), "it acts where there is no secret, and nowhere else");
}

#[actix_web::test]
async fn of_a_run_that_is_repeated_the_secret_that_works_is_among_those_kept() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    desk.db.inject([Fault::LosesRace; 2]);
    let kept = std::cell::RefCell::new(Vec::new());
    let calls = Cell::new(0);
    let keep = |generated: &[Generated]| {
        calls.set(calls.get() + 1);
        let all = generated.iter().map(|one| one.secret.expose().to_owned());
        *kept.borrow_mut() = all.collect();
        Ok(())
    };
    desk.apply(&file(FILE), Options::default(), START, keep).await.unwrap();
    assert_eq!(calls.get(), 3);
    let kept = kept.take();
    assert!(works(&desk, "job", &kept[0], START).await);
}

#[actix_web::test]
async fn pruning_deletes_what_apply_made_and_nothing_else() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE).await;
    let by_hand = json!({ "id": "by-hand", "resources": ["urn:other"] });
    let by_hand = serde_json::from_value(by_hand).unwrap();
    desk.create_client(&by_hand, START).await.unwrap();
    let (without, _) = FILE.split_once("[[client]]\nid = \"job\"").unwrap();
    let report = apply(&desk, without).await;
    assert!(report.is_empty(), "without prune nothing goes: {report}");

    let prune = Options { dry_run: false, prune: true };
    let report = desk.apply(&file(without), prune, START, |_| Ok(())).await.unwrap();
    assert_eq!(report.to_string(), "- client job\n3 unchanged");
    let ids: Vec<_> = desk.clients().await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(ids, ["app", "by-hand"]);
    // A resource that somebody else's client still uses stays, and the run says why.
    let none = without.replace("[[resource]]\nid = \"urn:other\"\n", "");
    let before = contents(&database);
    let outcome = desk.apply(&file(&none), prune, START, |_| Ok(())).await;
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("urn:other") && said.contains("by-hand"), "{said}");
    assert_eq!(contents(&database), before);
    desk.delete_client("by-hand", START).await.unwrap();
    let report = desk.apply(&file(&none), prune, START, |_| Ok(())).await.unwrap();
    assert_eq!(report.to_string(), "- resource urn:other\n2 unchanged");
}

#[actix_web::test]
async fn every_mistake_is_named_at_once_and_nothing_is_written() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let text = r#"
[[resource]]
id = "https://a.test/"
scopes = ["openid", "two words", "fine"]
claims = { sub = "me" }
[[resource]]
id = "not a uri"
[[resource]]
id = "https://b.test/"
[[resource]]
id = "HTTPS://B.test"
[[client]]
id = "0190163d-8694-739b-aea5-966c26f8ad91"
[[client]]
id = "one"
resources = ["urn:nowhere"]
access_token_ttl = "2h"
scopes = ["absent"]
algorithm = "RS256"
[[client]]
id = "two"
secret = "short"
claims = { iss = "me" }
access_token_ttl = "10"
[[client]]
id = "public"
auth_method = "none"
grants = ["client_credentials"]
secret = "a-public-client-has-none"
[[client]]
id = "twice"
secret = "correct-horse-battery"
[[client]]
id = "twice"
secret = "correct-horse-battery"
grants = ["password"]
"#;
    let before = contents(&database);
    let outcome = desk.apply(&file(text), Options::default(), START, |_| Ok(())).await;
    let Err(ManageError::Invalid(mistakes)) = outcome else { panic!("{outcome:?}") };
    for (object, key) in [
        ("resource \"https://a.test/\"", "scopes: \"openid\" is reserved"),
        ("resource \"https://a.test/\"", "scopes: a scope is"),
        ("resource \"https://a.test/\"", "claims: "),
        ("resource \"not a uri\"", "id: "),
        ("resource \"HTTPS://B.test\"", "twice"),
        ("client \"0190163d-8694-739b-aea5-966c26f8ad91\"", "id: "),
        ("client \"one\"", "resources: there is no resource \"urn:nowhere\""),
        ("client \"one\"", "access_token_ttl: "),
        ("client \"one\"", "scopes: "),
        ("client \"one\"", "algorithm: "),
        ("client \"two\"", "secret: "),
        ("client \"two\"", "claims: "),
        ("client \"two\"", "access_token_ttl: "),
        ("client \"public\"", "grants: "),
        ("client \"public\"", "secret: "),
        ("client \"twice\"", "twice"),
        ("client \"twice\"", "grants: \"password\""),
    ] {
        let named = mistakes.iter().any(|one| one.starts_with(object) && one.contains(key));
        assert!(named, "{object} {key}: {mistakes:#?}");
    }
    assert_eq!(contents(&database), before);
}

#[test]
fn a_file_that_cannot_be_read_names_every_entry_and_no_secret() {
    let text = "
[[client]]
id = \"one\"
sceret = \"hunter2-hunter2-hunter2\"
[[client]]
id = \"two\"
secret = [\"hunter2-hunter2-hunter2\"]
[[resource]]
scopes = [\"read\"]
[[client]]
id = \"three\"
secret_file = \"nowhere\"
";
    let refused = |text: &str| {
        let said = ApplyFile::parse(text, Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
        said
    };
    let said = refused(text);
    for part in ["client \"one\"", "sceret", "client \"two\"", "resource number 1", "`id`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(refused(&text[text.find("[[client]]\nid = \"three\"").unwrap()..]).contains("nowhere"));
    let cut = refused("[[client]]\nid = \"one\"\nsecret = \"hunter2-hunter2");
    assert!(cut.contains("line 3"), "{cut}");
    assert!(refused("[[user]]\nid = \"hunter2\"").contains("user"));
}

#[actix_web::test]
async fn no_secret_occurs_in_a_report_in_the_audit_trail_or_in_an_error() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let kept = std::cell::RefCell::new(vec!["first-secret-of-app".to_owned()]);
    let keep = |generated: &[Generated]| {
        kept.borrow_mut().extend(generated.iter().map(|one| one.secret.expose().to_owned()));
        Ok(())
    };
    let report = desk.apply(&file(FILE), Options::default(), START, keep).await.unwrap();
    let mut said = vec![report.to_string(), format!("{report:?}"), json!(report).to_string()];
    let second = "second-secret-of-app";
    let changed = FILE.replace("first-secret-of-app", second);
    let report = desk.apply(&file(&changed), Options::default(), at(1), keep).await.unwrap();
    said.extend([report.to_string(), format!("{report:?}"), json!(report).to_string()]);
    for wrong in ["hunter2", "hunter2 with spaces in it", "hunter2-and-é-in-it-as-well"] {
        let text = FILE.replace("first-secret-of-app", wrong);
        let outcome = desk.apply(&file(&text), Options::default(), at(2), keep).await;
        let error = outcome.unwrap_err();
        said.extend([error.to_string(), format!("{error:?}")]);
    }
    said.extend(database.sql("select cast(detail as text) from audit_events"));
    said.extend(database.sql("select digest from applied_fields"));
    said.extend(database.sql("select hint from client_secrets"));
    let mut secrets = kept.take();
    secrets.extend([second.to_owned(), "hunter2".to_owned()]);
    assert_eq!(secrets.len(), 4);
    for secret in &secrets {
        let leak = said.iter().find(|text| text.contains(secret.as_str()));
        assert!(leak.is_none(), "{leak:?}");
    }
    assert!(said.len() > 20);
}

#[actix_web::test]
async fn three_that_apply_at_once_all_succeed_and_yield_one_state() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let run = || async { apply(&desk, FILE).await };
    let (one, two, three) = tokio::join!(run(), run(), run());
    let wrote = [&one, &two, &three].into_iter().filter(|report| !report.is_empty()).count();
    assert_eq!(wrote, 1, "{one}\n{two}\n{three}");
    for (table, rows) in [("clients", "2"), ("resources", "2"), ("client_secrets", "2")] {
        assert_eq!(database.sql(&format!("select count(*) from {table}")), [rows], "{table}");
    }
    let created = "select count(*) from audit_events where action = 'client_created'";
    assert_eq!(database.sql(created), ["2"]);
}

#[actix_web::test]
async fn a_rotation_that_is_tried_again_takes_back_the_secret_that_nobody_got() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, FILE).await;
    let lost = desk.rotate_secret("app", at(10)).await.unwrap().client_secret.unwrap();
    let kept = desk.rotate_secret("app", at(20)).await.unwrap().client_secret.unwrap();
    assert!(works(&desk, "app", "first-secret-of-app", at(21)).await, "the one at work went");
    assert!(works(&desk, "app", kept.expose(), at(21)).await);
    assert!(!works(&desk, "app", lost.expose(), at(21)).await);
}

#[actix_web::test]
async fn every_key_of_a_client_is_accepted_and_comes_back() {
    let file = r#"
        [[resource]]
        id = "https://api.example.test/"
        scopes = ["read", { name = "write", description = "Change your things" }]

        [[client]]
        id = "app"
        name = "Example app"
        secret = "first-secret-of-app"
        auth_method = "client_secret_basic"
        grants = ["client_credentials"]
        redirect_uris = ["http://127.0.0.1:8765/cb"]
        resources = ["https://api.example.test/"]
        default_resource = "https://api.example.test/"
        scopes = ["read", "write"]
        default_scopes = ["read"]
        introspects = ["https://api.example.test/"]
        access_token_ttl = "10m"
        algorithm = "ES256"
        refresh_retry = "until_used"
        refresh_idle = "7d"
        refresh_absolute = "30d"
        refresh_families = 5
        first_party = true
    "#;
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    apply(&desk, file).await;
    let app = desk.client("app").await.unwrap();
    assert_eq!((app.refresh_retry, app.first_party), (Some("until_used"), true));
    let lives = (app.refresh_idle.as_deref(), app.refresh_absolute.as_deref());
    assert_eq!((lives, app.refresh_families), ((Some("7d"), Some("30d")), Some(5)));
    assert_eq!(app.redirect_uris, ["http://127.0.0.1:8765/cb"]);
    assert_eq!(app.introspects, ["https://api.example.test/"]);
    let again = apply(&desk, file).await;
    assert!(again.is_empty(), "{again}");

    let public = file
        .replace("secret = \"first-secret-of-app\"", "")
        .replace("client_secret_basic", "none")
        .replace("[\"client_credentials\"]", "[]");
    let refused = ApplyFile::parse(&public, Path::new(".")).unwrap();
    let refused = desk.apply(&refused, Options::default(), at(1), |_| Ok(())).await.unwrap_err();
    assert!(refused.to_string().contains("refresh_retry"), "{refused}");
}
