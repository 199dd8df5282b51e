//! The schema of one version and the binary of another: who starts, who refuses, and who goes on.

use std::time::Duration;

use jeton::store::migrate::{NEWEST, OLDEST, STEPS};

use crate::failures::world::{self, World};
use crate::support::process::{JETON, jeton};
use crate::support::replica::{Replica, environment, spawn};
use crate::support::session::{APPS, refresh_at};
use crate::support::{FIXTURES, Process, SECRET, TestDatabase, http, verify};

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
        let number = step.number;
        database
            .sql(&format!("insert into schema_steps (number, applied_at) values ({number}, 0)"));
    }
}

/// Writes that a step was applied, and whose binaries may serve since.
fn note(database: &TestDatabase, number: i64, serves_from: i64) {
    database.sql(&format!("insert into schema_steps values ({number}, 0, {serves_from})"));
}

/// What a step that a later version may bring does: it only adds.
fn expand(database: &TestDatabase) {
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

/// Asks a server for all that it is there for. Every answer is good, and it logs no error.
async fn works(replica: &Replica, world: &World, refresh: &mut String, round: usize) {
    let public = replica.public.as_str();
    let token = replica.token().await;
    verify::verify(&token, &replica.jwks().await).unwrap();
    let answer = refresh_at(public, "web", refresh, "").await;
    assert_eq!(answer.status, 200, "{round}: {answer:?}");
    answer.json()["refresh_token"].as_str().unwrap().clone_into(refresh);
    let ask = async |path, client, token: &str| {
        http::token(public, path, client, SECRET, &format!("token={token}")).await
    };
    let known = ask("/oauth2/introspect", "rs", &token).await;
    assert_eq!(known.json()["active"], true, "{round}: {known:?}");
    let ended = world.begin("web").await;
    assert_eq!(ask("/oauth2/revoke", "web", &ended).await.status, 200, "{round}");
    assert_eq!(refresh_at(public, "web", &ended, "").await.status, 400, "{round}");
    let said = replica.process.said();
    assert!(!said.contains("\"level\":\"ERROR\""), "{said}");
}

/// A server that migrates nothing, with the apps.
async fn server(database: &TestDatabase, name: &str) -> Replica {
    let directory = database.directory.path();
    let fixtures = directory.join("apps.toml");
    std::fs::write(&fixtures, format!("{FIXTURES}{APPS}")).unwrap();
    let environment = environment(&database.url, directory, &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let args = ["--apply", fixtures.to_str().unwrap()];
    Replica::of(Process::serve(directory, name, &args, &environment)).await
}

/// A server and commands, each started on a schema as it is, do what they are there for.
async fn is_served(database: &TestDatabase, found: i64, doctors_line: &str) {
    let replica = server(database, &format!("on-{found}")).await;
    let world = World::at(&database.url, database.directory.path()).await;
    let mut refresh = world.begin("web").await;
    for round in 0..3 {
        works(&replica, &world, &mut refresh, round).await;
    }
    let (status, said) = run(database, &["client", "disable", "off"]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(database, &["keys", "rotate"]);
    assert!(status == Some(0) || said.contains("already takes over"), "{said}");
    works(&replica, &world, &mut refresh, 3).await;
    let (_, doctor) = run(database, &["doctor"]);
    let line = doctor.lines().find(|line| line.contains("schema")).unwrap_or(&doctor);
    assert!(line.contains(&format!("is at {found}")) && line.contains(doctors_line), "{doctor}");
    let latest = database.sql("select cast(max(number) as text) from schema_steps");
    assert_eq!(latest, [found.to_string()], "nobody migrated");
    world.db.close().await;
}

#[actix_web::test]
async fn every_schema_from_the_oldest_on_is_served_as_it_is_and_migrated_under_a_server_that_runs()
{
    for number in OLDEST..NEWEST {
        let database = TestDatabase::new();
        bring_to(&database, number);
        is_served(&database, number, "!").await;
        let replica = server(&database, "through").await;
        let world = World::at(&database.url, database.directory.path()).await;
        let mut refresh = world.begin("web").await;
        works(&replica, &world, &mut refresh, 0).await;
        let (status, said) = run(&database, &["migrate"]);
        assert!(
            status == Some(0) && said.contains(&format!("applied {:04}", number + 1)),
            "{said}"
        );
        works(&replica, &world, &mut refresh, 1).await;
        world.db.close().await;
        drop(replica);
        is_served(&database, NEWEST, "✓").await;
    }
}

#[actix_web::test]
async fn a_schema_before_the_oldest_is_refused_until_the_step_is_applied_as_the_refusal_says() {
    let database = TestDatabase::new();
    bring_to(&database, OLDEST - 1);
    is_refused(&database, OLDEST - 1, "jeton migrate").await;
    let (status, said) = run(&database, &["migrate"]);
    assert!(status == Some(0) && said.contains(&format!("{NEWEST:04}_")), "{said}");
    let mut server = spawn(&database, "one", &[]);
    server.ready().await;
}

#[actix_web::test]
async fn each_step_writes_down_whose_binaries_may_serve_after_it() {
    let database = TestDatabase::new();
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    let told = database.sql(
        "select cast(number as text) || ' ' || cast(serves_from as text) from schema_steps
         where serves_from is not null order by number",
    );
    // The ledger has room for it since step 5.
    let expected = STEPS.iter().filter(|step| step.number >= 5);
    let expected = expected.map(|step| format!("{} {}", step.number, step.serves_from));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[actix_web::test]
async fn whoever_starts_on_a_newer_schema_serves_it_unless_one_of_its_steps_says_otherwise() {
    let database = TestDatabase::new();
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    expand(&database);
    note(&database, NEWEST + 1, NEWEST);
    note(&database, NEWEST + 2, OLDEST);
    is_served(&database, NEWEST + 2, "let it go on").await;
    let before = database.sql("select number from schema_steps order by number");
    let (status, said) = run(&database, &["migrate"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("nothing to do") && said.contains("lets it serve"), "{said}");
    // A step that takes something away, and says so, counts whatever later ones say; so does one that
    // says nothing at all.
    for serves_from in [(NEWEST + 1).to_string(), (NEWEST + 3).to_string(), "null".to_owned()] {
        let (next, after) = (NEWEST + 3, NEWEST + 4);
        database.sql(&format!("insert into schema_steps values ({next}, 0, {serves_from})"));
        note(&database, after, OLDEST);
        is_refused(&database, after, "newer jeton").await;
        let (status, said) = run(&database, &["migrate"]);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("nothing to do") && said.contains("newer jeton"), "{said}");
        database.sql(&format!("delete from schema_steps where number >= {next}"));
    }
    assert_eq!(database.sql("select number from schema_steps order by number"), before);
}

#[actix_web::test]
async fn a_schema_of_which_something_was_taken_away_is_refused_with_the_remedy_and_no_other_error()
{
    let database = TestDatabase::new();
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    database.sql("alter table instance drop column issuer");
    note(&database, NEWEST + 1, NEWEST + 1);
    is_refused(&database, NEWEST + 1, "newer jeton").await;
}

#[actix_web::test]
async fn who_serves_while_a_newer_version_adds_to_the_schema_goes_on_and_who_restarts_does_too() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let mut replica = world::start(&database.url, directory, "one", &[]).await;
    let world = World::at(&database.url, directory).await;
    let mut refresh = world.begin("web").await;
    // More than once on each side: what was prepared before the step is used after it.
    for round in 0..12 {
        if round == 4 {
            expand(&database);
            note(&database, NEWEST + 1, OLDEST);
        }
        if round == 8 {
            replica.process.signal("TERM");
            assert_eq!(replica.process.ended(Duration::from_secs(20)).await, Some(0));
            replica = world::start(&database.url, directory, "again", &[]).await;
        }
        works(&replica, &world, &mut refresh, round).await;
    }
    assert_eq!(world.events("family_revoked").await, 12);
    world.db.close().await;
}

#[test]
fn of_many_that_meet_at_a_step_that_alters_the_ledger_each_waits_its_turn_and_none_for_another() {
    let database = TestDatabase::new().past_the_pooler("five wait for one another");
    if !database.is_postgres() {
        println!("on SQLite there is one writer");
        return;
    }
    bring_to(&database, 4);
    // Somebody has begun the step and will not finish it: all are there when he goes.
    let mut other = postgres::Client::connect(&database.direct, postgres::NoTls).unwrap();
    let mut begun = other.transaction().unwrap();
    begun.batch_execute("insert into schema_steps (number, applied_at) values (5, 0)").unwrap();
    let migrations: Vec<_> = (0..5)
        .map(|_| {
            let environment = environment(&database.url, database.directory.path(), &[]);
            std::process::Command::new(JETON)
                .arg("migrate")
                .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let waiting = "select 1 from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let started = std::time::Instant::now();
    while database.sql(waiting).len() < 5 {
        assert!(started.elapsed() < Duration::from_secs(20), "they do not come");
    }
    begun.rollback().unwrap();
    let ended: Vec<_> = migrations.into_iter().map(|one| one.wait_with_output().unwrap()).collect();
    assert!(ended.iter().all(|one| one.status.success()), "{ended:?}");
    let applied =
        |one: &&std::process::Output| String::from_utf8_lossy(&one.stdout).contains("applied 0005");
    assert_eq!(ended.iter().filter(applied).count(), 1, "{ended:?}");
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(database.sql(deadlocks), ["0"]);
}
