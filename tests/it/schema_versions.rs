//! The schema of one version and the binary of another: who starts, who refuses, and who goes on.

use std::time::Duration;

use jeton::store::migrate::{NEWEST, OLDEST, STEPS};

use crate::failures::world::{self, World};
use crate::support::process::jeton;
use crate::support::replica::{environment, spawn};
use crate::support::session::refresh_at;
use crate::support::{Process, SECRET, TestDatabase, http};

/// Applies the steps up to this one, as a binary that knew no more would have.
fn bring_to(database: &TestDatabase, number: i64) {
    if let Some(file) = database.url.strip_prefix("sqlite:") {
        // Empty, it is an empty database.
        std::fs::File::create(file).unwrap();
    }
    database.sql(
        "create table schema_steps (number bigint primary key not null, applied_at bigint not null)",
    );
    for step in STEPS.iter().take_while(|step| step.number <= number) {
        database.sql(if database.is_postgres() { step.postgres } else { step.sqlite });
        database.sql(&format!("insert into schema_steps values ({}, 0)", step.number));
    }
}

/// A step that a later version may bring: it only adds.
fn add_a_step(database: &TestDatabase) {
    let (tables, kind) = if database.is_postgres() {
        (
            "select table_name::text from information_schema.tables where table_schema = 'public'",
            "bigint",
        )
    } else {
        (
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'",
            "integer",
        )
    };
    let tables = database.sql(tables);
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables.iter().filter(|table| *table != "schema_steps") {
        database.sql(&format!("alter table {table} add column of_a_later_version {kind}"));
    }
    database.sql("create table of_a_later_version (id bigint primary key not null)");
    database.sql(&format!("insert into schema_steps values ({}, 0)", NEWEST + 1));
}

/// A command on a database: its exit status, and all it said.
fn run(database: &TestDatabase, args: &[&str]) -> (Option<i32>, String) {
    let environment = environment(&database.url, database.directory.path(), &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let done = jeton(args, &environment);
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

/// Starts a server that migrates nothing, and waits for its end.
async fn serve(database: &TestDatabase) -> (Option<i32>, String) {
    let directory = database.directory.path();
    let environment = environment(&database.url, directory, &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut server = Process::serve(directory, "refused", &[], &environment);
    (server.ended(Duration::from_secs(20)).await, server.said())
}

/// A server and every command refuse, name both versions, and say what to do.
async fn is_refused(database: &TestDatabase, found: i64, remedy: &str) {
    for (status, said) in [serve(database).await, run(database, &["client", "list"])] {
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains(&format!("schema {found}")) && said.contains(remedy), "{said}");
    }
    let (_, doctor) = run(database, &["doctor"]);
    assert!(doctor.contains(&format!("is at {found}")) && doctor.contains(remedy), "{doctor}");
}

#[actix_web::test]
async fn a_schema_one_step_behind_is_refused_until_the_step_is_applied_as_the_refusal_says() {
    let database = TestDatabase::new();
    assert_eq!(OLDEST, NEWEST, "an older schema is served now: then let this test show that");
    bring_to(&database, NEWEST - 1);
    is_refused(&database, NEWEST - 1, "jeton migrate").await;
    let (status, said) = run(&database, &["migrate"]);
    assert!(status == Some(0) && said.contains(&format!("applied {NEWEST:04}")), "{said}");
    let mut server = spawn(&database, "one", &[]);
    server.ready().await;
}

#[actix_web::test]
async fn who_serves_while_a_newer_version_adds_to_the_schema_goes_on_and_who_starts_then_refuses() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let server = world::start(&database.url, directory, "one", &[]).await;
    let world = World::at(&database.url, directory).await;
    let public = server.public.clone();
    let mut refresh = world.begin("web").await;
    // More than once on each side: what was prepared before the step is used after it.
    for round in 0..10 {
        if round == 5 {
            add_a_step(&database);
        }
        let token = server.token().await;
        let answer = refresh_at(&public, "web", &refresh, "").await;
        assert_eq!(answer.status, 200, "{round}: {answer:?}");
        refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
        let ask = async |path, client, token: &str| {
            http::token(&public, path, client, SECRET, &format!("token={token}")).await
        };
        let known = ask("/oauth2/introspect", "rs", &token).await;
        assert_eq!(known.json()["active"], true, "{round}: {known:?}");
        let ended = world.begin("web").await;
        assert_eq!(ask("/oauth2/revoke", "web", &ended).await.status, 200, "{round}");
        assert_eq!(refresh_at(&public, "web", &ended, "").await.status, 400, "{round}");
    }
    assert_eq!(world.events("family_revoked").await, 10);
    assert!(!server.process.said().contains("\"level\":\"ERROR\""), "{}", server.process.said());
    world.db.close().await;
    drop(server);
    is_refused(&database, NEWEST + 1, "newer jeton").await;
}
