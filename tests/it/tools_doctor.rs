//! `jeton doctor`: it finds what is wrong, says what to do, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jeton::clock::Clock;
use jeton::secret::file::generate_text;
use jeton::store::migrate;
use serde_json::Value;

use crate::support::desk::{ISSUER, desk};
use crate::support::process::jeton;
use crate::support::{TestDatabase, pooler, replica, tls};

/// What the doctor found: sign, check, what, remedy.
struct Visit {
    status: Option<i32>,
    found: Vec<(String, String, String, String)>,
    all: String,
}

impl Visit {
    /// The findings of one check as verdict and text.
    fn of(&self, check: &str) -> Vec<(&str, &str)> {
        let found = self.found.iter().filter(|one| one.1 == check);
        found.map(|one| (one.0.as_str(), one.2.as_str())).collect()
    }

    /// The only finding of a check is this verdict, with this in its text.
    #[track_caller]
    fn only(&self, check: &str, verdict: &str, part: &str) {
        let found = self.of(check);
        assert_eq!(found.len(), 1, "{check}: {}", self.all);
        assert!(found[0].0 == verdict && found[0].1.contains(part), "{check}: {}", self.all);
    }

    /// A finding of a check is this verdict, with this in its text.
    #[track_caller]
    fn has(&self, check: &str, verdict: &str, part: &str) {
        let found = self.of(check);
        let fits = |one: &&(&str, &str)| one.0 == verdict && one.1.contains(part);
        assert!(found.iter().any(|one| fits(&one)), "{check}: {}", self.all);
    }
}

fn visit(database: &TestDatabase, more: &[(&str, &str)]) -> Visit {
    let directory = database.directory.path();
    let mut all = vec![("JETON__ISSUER", ISSUER), ("JETON_DATA_DIR", directory.to_str().unwrap())];
    all.extend(more);
    let environment = replica::environment(&database.url, directory, &all);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let output = jeton(&["doctor", "--json"], &environment);
    let all = String::from_utf8(output.stdout).unwrap();
    let list: Vec<Value> = serde_json::from_str(&all).unwrap_or_default();
    let text = |one: &Value, member| one[member].as_str().unwrap_or_default().to_owned();
    let found = list.iter().map(|one| {
        (text(one, "verdict"), text(one, "check"), text(one, "what"), text(one, "remedy"))
    });
    let found: Vec<_> = found.collect();
    for (verdict, check, what, remedy) in &found {
        assert!(
            verdict == "good" || verdict == "unknown" || !remedy.is_empty() || what.contains("run"),
            "{check} does not say what to do: {what}"
        );
    }
    let bad = found.iter().any(|one| one.0 == "bad");
    assert_eq!(output.status.code(), Some(i32::from(bad)), "{all}");
    let root = fs::read_to_string(directory.join("root-secrets")).unwrap_or_default();
    let root = root.trim().rsplit(' ').next().unwrap_or_default();
    assert!(root.is_empty() || !all.contains(root), "a root secret is shown");
    Visit { status: output.status.code(), found, all }
}

/// A database with an issuer and keys that were made so long ago.
async fn with_keys(database: &TestDatabase, ago: Duration) {
    let desk = desk(database).await;
    let now = Clock::system().now() - ago;
    jeton::store::instance::claim(&desk.db, ISSUER, false, now).await.unwrap();
    desk.maintain(now, true).await.unwrap();
    desk.db.close().await;
}

const DAY: Duration = Duration::from_secs(86_400);

#[actix_web::test]
async fn a_healthy_system_passes_and_nothing_is_changed() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(database.directory.path(), private).unwrap();
    let state = || {
        let text = "select part || number || stamp from versions order by part";
        (database.sql(text), database.sql("select action from audit_events"))
    };
    let before = state();
    let visit = visit(&database, &[]);
    for (verdict, check, what, _) in visit.found.iter().filter(|one| one.1 != "durability") {
        assert_eq!(verdict, "good", "{check}: {what}");
    }
    visit.only("schema", "good", &format!("is at {}", migrate::NEWEST));
    visit.only("keys", "good", "#1 signs, and #2 is next");
    visit.only("root secrets", "good", "mode 600 and holds the ids 1");
    visit.only("writing", "good", "rolled back");
    assert_eq!(visit.of("durability").len(), if database.is_postgres() { 3 } else { 0 });
    assert_eq!(state(), before, "the doctor left a trace");
    // The Postgres of the tests never waits for its disk.
    if database.is_postgres() {
        visit.has("durability", "bad", "fsync is off");
        visit.has("durability", "warning", "synchronous_commit is off");
        visit.has("durability", "warning", "no synchronous standby");
    } else {
        assert_eq!(visit.status, Some(0));
    }
}

#[actix_web::test]
async fn where_there_is_nothing_yet_every_check_says_why_it_did_not_run_and_nothing_is_made() {
    let database = TestDatabase::new();
    let file = database.directory.path().join("jeton.db");
    let without_schema = visit(&database, &[]);
    assert!(!file.exists(), "looking made a database");
    if database.is_postgres() {
        without_schema.only("schema", "bad", "is at 0");
        without_schema.only("keys", "unknown", "no tables");
        without_schema.only("pooler", "good", "");
    } else {
        without_schema.only("database file", "bad", "No such file");
        without_schema.only("keys", "unknown", "does not answer");
    }
    let db = desk(&database).await.db;
    db.close().await;
    let fresh = visit(&database, &[]);
    fresh.only("issuer", "warning", "nobody's");
    fresh.only("keys", "warning", "none yet");
    fresh.only("secret ids", "good", "");
}

#[actix_web::test]
async fn a_database_that_is_away_stops_no_other_check_and_its_password_is_not_shown() {
    let database = TestDatabase::new();
    let url = "postgres://u:hunter2@127.0.0.1:1/jeton";
    let away = visit(&database, &[("JETON__DATABASE__URL", url)]);
    away.only("database", "bad", "out of reach");
    away.only("root secrets", "good", "");
    for check in ["clock", "schema", "issuer", "writing", "pooler", "secret ids", "keys"] {
        away.only(check, "unknown", "");
    }
    assert!(!away.all.contains("hunter2"), "{}", away.all);
    let wrong = visit(&database, &[("JETON__KEYS__LEAD", "soon"), ("JETON__KEYS__LAED", "1h")]);
    wrong.has("configuration", "bad", "keys.lead");
    wrong.has("configuration", "bad", "keys.laed");
    wrong.only("keys", "unknown", "configuration");
}

#[actix_web::test]
async fn a_schema_of_another_version_and_a_database_of_another_issuer_are_told() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    database.sql("insert into schema_steps (number, applied_at) values (9000, 0) returning 1");
    let visit = visit(&database, &[("JETON__ISSUER", "https://other.example")]);
    visit.only("schema", "bad", "is at 9000");
    visit.only("issuer", "bad", "https://other.example");
    // The keys are looked at for whom they belong to.
    visit.only("keys", "good", "#1 signs");
}

#[actix_web::test]
async fn root_secrets_that_rows_need_and_the_file_lacks_are_named_by_id() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    let file = database.directory.path().join("root-secrets");
    let set = |text: &str, mode| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let right = fs::read_to_string(&file).unwrap();
    set(&generate_text().replacen('1', "9", 1), 0o600);
    let other = visit(&database, &[]);
    other.only("secret ids", "bad", "lacks id 1 of 2 rows in signing_keys");
    other.has("keys", "bad", "no key signs");

    set(&right, 0o600);
    database.sql("insert into root_secrets (id, compromised_at) values (1, 5) returning 1");
    visit(&database, &[]).only("secret ids", "bad", "id 1 is known to be stolen");
    database.sql("delete from root_secrets returning 1");

    set(&right, 0o604);
    let open = visit(&database, &[]);
    open.only("root secrets", "bad", "chmod 600");
    open.only("keys", "unknown", "root secrets");
    set(&right, 0o660);
    visit(&database, &[]).only("root secrets", "warning", "group may write");
    fs::remove_file(&file).unwrap();
    let gone = visit(&database, &[]);
    gone.only("root secrets", "bad", "there is no file");
    gone.only("secret ids", "bad", "lacks id 1");
    gone.only("writing", "good", "");
}

#[actix_web::test]
async fn keys_that_do_not_prove_themselves_and_rotations_that_nobody_makes_are_found() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    database.sql("update signing_keys set held = true where epoch = 1 returning 1");
    let planted = visit(&database, &[("JETON__KEYS__ALGORITHMS", "ES256,RS256")]);
    planted.has("keys", "bad", "its MAC is wrong");
    planted.has("keys", "bad", "ES256: no key signs until");
    planted.has("keys", "warning", "RS256: the line has no key yet");

    let stopped = TestDatabase::new();
    with_keys(&stopped, DAY * 31).await;
    let late = visit(&stopped, &[]);
    late.only("keys", "warning", "none is next");
    late.only("rotation", "bad", "1 keys should have been made");
    let dead = TestDatabase::new();
    with_keys(&dead, DAY * 100).await;
    visit(&dead, &[]).has("keys", "bad", "no key signs");
}

#[actix_web::test]
async fn files_that_others_may_open_are_told() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    let directory = database.directory.path();
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(directory, 0o755);
    visit(&database, &[]).only("data directory", "warning", "mode 755");
    if !database.is_postgres() {
        let file = directory.join("jeton.db");
        set(&file, 0o644);
        visit(&database, &[]).only("database file", "bad", "all users may read");
        set(&file, 0o666);
        visit(&database, &[]).only("database file", "bad", "all users may write");
        set(directory, 0o700);
        visit(&database, &[]).only("database file", "good", "");
    }
}

#[actix_web::test]
async fn on_postgres_a_role_that_may_not_write_is_found() {
    let database = TestDatabase::new().past_the_pooler("the pooler does not know its role");
    if !database.is_postgres() {
        return;
    }
    with_keys(&database, DAY).await;
    let role = format!("reader_{}", std::process::id());
    database.sql(&format!("create role {role} login"));
    database.sql(&format!("grant select on all tables in schema public to {role}"));
    let url = database.url.replace("postgres@", &format!("{role}@"));
    let visit = visit(&database, &[("JETON__DATABASE__URL", &url)]);
    visit.only("writing", "bad", "permission denied");
    visit.only("keys", "good", "");
    database.sql(&format!("drop owned by {role}"));
    database.sql(&format!("drop role {role}"));
}

#[actix_web::test]
async fn on_postgres_a_clock_that_is_off_is_found() {
    let database = TestDatabase::new().past_the_pooler("it changes what new connections are told");
    if !database.is_postgres() {
        return;
    }
    with_keys(&database, DAY).await;
    let name = database.url.rsplit('/').next().unwrap();
    database.sql(&format!("alter database {name} set search_path = public, pg_catalog"));
    for (ahead, verdict) in [("5 s", "bad"), ("-2 h", "bad"), ("100 ms", "good")] {
        database.sql(&format!(
            "create or replace function public.clock_timestamp() returns timestamptz language sql
             as $$ select pg_catalog.clock_timestamp() + interval '{ahead}' $$"
        ));
        visit(&database, &[]).only("clock", verdict, "differ by");
    }
}

#[actix_web::test]
async fn on_postgres_a_pooler_that_moves_connections_is_noticed() {
    let database = TestDatabase::new().past_the_pooler("it brings a pooler of its own");
    if !database.is_postgres() {
        return;
    }
    with_keys(&database, DAY).await;
    let through = pooler::start(&database.url).await;
    let run = async |configured| {
        // The pooler lives on this thread, so the doctor must not block it.
        let (url, directory) = (through.clone(), database.directory.path().to_owned());
        let visit = tokio::task::spawn_blocking(move || {
            let more = [
                ("JETON__ISSUER", ISSUER),
                ("JETON__DATABASE__URL", url.as_str()),
                ("JETON__DATABASE__POOLER", configured),
            ];
            let environment = replica::environment(&url, &directory, &more);
            let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
            String::from_utf8(jeton(&["doctor"], &environment).stdout).unwrap()
        });
        visit.await.unwrap()
    };
    let unknown = run("none").await;
    let line = unknown.lines().find(|line| line.starts_with("✗ pooler")).unwrap_or(&unknown);
    assert!(line.contains("→ set database.pooler to \"transaction\""), "{unknown}");
    let known = run("transaction").await;
    for sign in ["✓ pooler", "✓ writing", "✓ keys", "✓ rotation"] {
        assert!(known.contains(sign), "{sign}: {known}");
    }
}

#[test]
fn it_says_how_long_a_certificate_lasts_and_whom_it_is_for() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let [crt, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name).display().to_string());
    let here = [
        ("JETON__ISSUER", "https://localhost"),
        ("JETON__SERVER__TLS__CERTIFICATE", crt.as_str()),
        ("JETON__SERVER__TLS__KEY", key.as_str()),
    ];
    let with = |host: &'static str| {
        let mut all = here;
        all[0].1 = host;
        visit(&database, &all)
    };
    with("https://localhost").only("certificate", "bad", "tls.crt");
    tls::put(directory, &tls::make(1, 30));
    with("https://localhost").only("certificate", "good", "is for localhost");
    with("https://id.example.com").only("certificate", "bad", "the issuer is on id.example.com");
    tls::put(directory, &tls::make(1, 3));
    with("https://localhost").only("certificate", "warning", "is for localhost");
    tls::put(directory, &tls::make(1, -1));
    with("https://localhost").only("certificate", "bad", "ends");
    assert!(visit(&database, &[]).of("certificate").is_empty());
}

#[actix_web::test]
async fn a_recovery_that_is_open_is_told_until_it_is_closed() {
    let database = TestDatabase::new();
    with_keys(&database, DAY).await;
    visit(&database, &[]).only("recovery", "good", "none is open");
    let desk = desk(&database).await;
    let now = Clock::system().now();
    desk.recover(now - DAY, now, false).await.unwrap();
    visit(&database, &[]).only("recovery", "warning", "is believed");
    desk.close_recovery(now).await.unwrap();
    visit(&database, &[]).only("recovery", "good", "none is open");
    desk.db.close().await;
}
