//! What a review found once must not come back: each of these was a way to lose a secret, a key, or
//! the whole service.

use jeton::clock::Clock;
use jeton::keys::{PrivateKey, PublicJwk};
use jeton::manage::apply::ApplyFile;

use crate::support::process::jeton;
use crate::support::{App, FIXTURES, TestDatabase, app, replica};

fn environment(database: &TestDatabase, more: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    replica::environment(&database.url, database.directory.path(), more)
}

fn run(arguments: &[&str], environment: &[(&'static str, String)]) -> std::process::Output {
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    jeton(arguments, &environment)
}

#[actix_web::test]
async fn a_planted_key_that_looks_spent_is_never_vouched_for_and_never_published() {
    let app = App::start().await;
    let theirs = PrivateKey::generate(jeton::domain::Algorithm::Es256).unwrap();
    let public = PublicJwk::of(&theirs).unwrap();
    let (kid, jwk) = (public.thumbprint(), public.canonical());
    let bytes = if app.database.is_postgres() { "'\\x01'" } else { "x'01'" };
    let no = if app.database.is_postgres() { "false" } else { "0" };
    let planted = format!(
        "insert into signing_keys (kid, algorithm, epoch, public_jwk, sealed, secret_id, mac,
             created_at, publish_at, activate_at, sign_until, remove_at, longest_token, held)
         values ('{kid}', 'ES256', 0, '{jwk}', {bytes}, 1, {bytes}, 0, 0, 0, 1,
                 4102444800000000, 0, {no})"
    );
    app.database.change(&planted).await;
    app.database
        .change("update versions set number = number + 1, stamp = 7 where part = 'keys'")
        .await;
    app.beat().await;
    app.beat().await;
    let jwks = app.get("/.well-known/jwks.json").await;
    assert!(!String::from_utf8(jwks.body).unwrap().contains(&kid));
    let sealed = format!("select kid from signing_keys where kid = '{kid}' and sealed is not null");
    assert_eq!(app.database.sql(&sealed).len(), 1, "it was amended, and so vouched for");
}

#[actix_web::test]
async fn a_row_of_a_newer_version_does_not_take_the_others_with_it() {
    let app = App::start().await;
    app.database
        .change("update clients set grants = '[\"urn:new\"]' where id in ('idle', 'off')")
        .await;
    app.database
        .change("update versions set number = number + 1, stamp = 7 where part = 'directory'")
        .await;
    app.beat().await;
    assert_eq!(app.token("app", "grant_type=client_credentials").await.status, 200);
    assert_eq!(app.token("idle", "grant_type=client_credentials").await.status, 401);
    // Operators can still get at it.
    app.running.desk.delete_client("off", app::START).await.unwrap();
    assert!(app.database.sql("select id from clients where id = 'off'").is_empty());
}

#[test]
fn a_mistake_in_a_file_is_named_without_its_value() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jeton.toml");
    std::fs::write(&file, "[database]\nurl = \"postgres://u:hunter2@db/jeton\n").unwrap();
    let refused = run(&["migrate", "--config", file.to_str().unwrap()], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("line 2") && !said.contains("hunter2"), "{said}");

    for text in ["secret = 82374982374982374", "generate_secret = \"82374982374982374\""] {
        let text = format!("[[client]]\nid = \"app\"\n{text}\n");
        let said = ApplyFile::parse(&text, directory.path()).unwrap_err().to_string();
        assert!(said.contains("app") && said.contains("expected"), "{said}");
        assert!(!said.contains("8237498"), "{said}");
    }
    let text = "[[client]]\nid = \"app\"\nsecret = \"do-not-show-this-one\"\n";
    let shown = format!("{:?}", ApplyFile::parse(text, directory.path()).unwrap());
    assert!(!shown.contains("do-not-show"), "{shown}");
}

#[actix_web::test]
async fn a_command_that_only_looks_claims_no_database() {
    let database = TestDatabase::new();
    let environment = environment(&database, &[]);
    assert!(run(&["migrate"], &environment).status.success());
    assert!(run(&["client", "list"], &environment).status.success());
    let fixtures = replica::fixtures(database.directory.path());
    assert!(run(&["apply", "-f", &fixtures, "--dry-run"], &environment).status.success());
    assert!(database.sql("select issuer from instance").is_empty());
    assert!(run(&["apply", "-f", &fixtures], &environment).status.success());
    assert_eq!(database.sql("select issuer from instance"), [replica::ISSUER]);
}

#[actix_web::test]
async fn one_connection_is_enough_to_apply_and_to_serve() {
    let database = TestDatabase::new();
    let clock = Clock::manual(app::START);
    let running = app::start(&database, "[database]\npool = 1\n", FIXTURES, &clock).await.unwrap();
    running.stop(std::future::pending()).await;
}

#[test]
fn a_database_that_is_away_is_said_within_seconds_and_a_wrong_one_at_once() {
    let directory = tempfile::tempdir().unwrap();
    jeton::secret::file::generate(&directory.path().join("root-secrets")).unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://nobody@{nobody}/nothing");
    let environment = replica::environment(&url, directory.path(), &[]);
    let refused = run(&["client", "list"], &environment);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("waiting for the database") && said.contains("gave up"), "{said}");
}

#[test]
fn an_empty_database_url_is_a_mistake_and_not_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap().to_owned();
    let environment = [("JETON__DATABASE__URL", String::new()), ("JETON_DATA_DIR", data)];
    let refused = run(&["migrate"], &environment);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("database.url"), "{refused:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[actix_web::test]
async fn a_secret_that_stands_where_an_id_should_is_not_logged() {
    let database = TestDatabase::new();
    let mut replica = replica::start(&database, "one", &[]).await;
    let form = "grant_type=client_credentials";
    for misplaced in ["jcs_PD0nb_r_0zw0WwvAuhvM6toy9ap6RPkw8pHwHn97bsU", "a-chosen-secret-of-mine"]
    {
        let answer =
            crate::support::http::token(&replica.public, "/oauth2/token", misplaced, "x", form)
                .await;
        assert_eq!(answer.status, 401);
    }
    replica.process.signal("TERM");
    replica.process.ended(std::time::Duration::from_secs(10)).await;
    let said = replica.process.said();
    assert!(said.contains("client_unknown"));
    assert!(!said.contains("jcs_") && !said.contains("a-chosen-secret"), "{said}");
}

#[actix_web::test]
async fn a_start_with_the_wrong_root_secret_names_the_ids_and_serves_nothing() {
    let database = TestDatabase::new();
    drop(replica::start(&database, "one", &[]).await);
    let file = database.directory.path().join("root-secrets");
    let other = jeton::secret::file::generate_text().replacen("1 ", "2 ", 1);
    std::fs::write(&file, other.as_str()).unwrap();
    let refused = run(&["serve"], &environment(&database, &[]));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("holds the ids 2") && said.contains("root secret 1"), "{said}");
}
