//! The file of `serve --apply` in the life of a server: applied again when it changes, and never a
//! reason to stop.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use jeton::app::{self, ApplySource, Setup};
use jeton::clock::Clock;

use crate::support::app::{START, settings};
use crate::support::refused::GRANT;
use crate::support::{App, FIXTURES, SECRET, TestDatabase};

/// A client whose secret lies in a file of its own.
const LATER: &str = "\n[[client]]\nid = \"later\"\nsecret_file = \"secrets/later\"\nresources = \
                     [\"https://api.example.test/\"]\n";

/// Tests ask again and again with a secret that is not right yet.
const SETTINGS: &str = "[limits]\nfailures = \"off\"\nfailures_per_client = \"off\"\n";

async fn serving(database: TestDatabase, file: &Path) -> App {
    let clock = Clock::manual(START);
    let apply = vec![ApplySource::File(file.to_owned())];
    let setup = Setup { is_dev: false, migrate: true, apply };
    let settings = settings(&database, SETTINGS).unwrap();
    let running = app::start(settings, setup, clock.clone()).await.unwrap();
    App { running, clock, database }
}

/// Waits until a client gets an answer of this status with a secret.
async fn answers(app: &App, client: &str, secret: &str, status: u16) {
    let started = Instant::now();
    loop {
        let found = app.token_with(client, secret, GRANT).await.status;
        if found == status {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{client}: {found}, not {status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until trying to apply the file has failed at least so often.
async fn failed(app: &App, times: u32) {
    let started = Instant::now();
    let counter = r#"jeton_apply_file_total{outcome="failed"} "#;
    let counted = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(counter));
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    while counted(&app.metrics().await) < times {
        assert!(started.elapsed() < Duration::from_secs(30), "no failure was counted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[actix_web::test]
async fn a_bad_file_keeps_what_was_applied_and_counts_once_it_is_mended() {
    let database = TestDatabase::new();
    let file = database.directory.path().join("clients.toml");
    fs::write(&file, FIXTURES).unwrap();
    let app = serving(database, &file).await;
    assert!(app.metrics().await.contains(r#"jeton_apply_file_total{outcome="applied"} 1"#));
    for bad in ["[[client]\n", "[[client]]\nid = \"x\"\nno_such_key = 1\n"] {
        fs::write(&file, bad).unwrap();
        failed(&app, 1).await;
        assert_eq!(app.token("app", GRANT).await.status, 200, "{bad:?}");
    }
    // Its secret is not there yet: it comes later, and the file is not touched again.
    fs::write(&file, format!("{FIXTURES}{LATER}")).unwrap();
    failed(&app, 2).await;
    assert_eq!(app.token_with("later", SECRET, GRANT).await.status, 401);
    fs::create_dir(file.with_file_name("secrets")).unwrap();
    fs::write(file.with_file_name("secrets").join("later"), SECRET).unwrap();
    answers(&app, "later", SECRET, 200).await;
    assert_eq!(app.token("app", GRANT).await.status, 200);
}

#[actix_web::test]
async fn a_mounted_directory_that_is_swapped_is_applied_without_a_restart() {
    let database = TestDatabase::new();
    let mount = database.directory.path().join("mount");
    // As an orchestrator does it: each version is a directory, and a link names the present one.
    let publish = |version: &str, secret: &str| {
        let (directory, link) = (mount.join(version), mount.join("next"));
        fs::create_dir_all(directory.join("secrets")).unwrap();
        fs::write(directory.join("clients.toml"), format!("{FIXTURES}{LATER}")).unwrap();
        fs::write(directory.join("secrets/later"), secret).unwrap();
        symlink(version, &link).unwrap();
        fs::rename(link, mount.join("now")).unwrap();
    };
    publish("one", SECRET);
    let app = serving(database, &mount.join("now/clients.toml")).await;
    answers(&app, "later", SECRET, 200).await;
    publish("two", "another-secret-that-is-long");
    answers(&app, "later", "another-secret-that-is-long", 200).await;
    assert_eq!(app.token("app", GRANT).await.status, 200);
}

#[actix_web::test]
async fn a_file_that_did_not_change_is_not_applied_again() {
    let database = TestDatabase::new();
    let file = database.directory.path().join("clients.toml");
    fs::write(&file, FIXTURES).unwrap();
    let app = serving(database, &file).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(app.metrics().await.contains(r#"jeton_apply_file_total{outcome="applied"} 1"#));
}
