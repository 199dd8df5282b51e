//! The ways of starting a server, and of ending one.

use std::time::Duration;

use crate::support::process::{address, jeton, jeton_reading};
use crate::support::replica;
use crate::support::{FIXTURES, Process, SECRET, TestDatabase, http, verify};

#[actix_web::test]
async fn an_ephemeral_server_serves_another_projects_test_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = directory.path().join("test.toml");
    std::fs::write(&fixtures, FIXTURES).unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let args = ["--ephemeral", "--apply", fixtures.to_str().unwrap()];
    let environment = [("TMPDIR", temporary.to_str().unwrap())];
    let mut process = Process::serve(directory.path(), "ephemeral", &args, &environment);
    let ready = process.ready().await;
    let address = address(&ready["token_endpoint"]);
    let answer =
        http::token(&address, "/oauth2/token", "app", SECRET, "grant_type=client_credentials")
            .await;
    let jwks = http::send(&address, "GET", "/.well-known/jwks.json", &[], b"").await.json();
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let (_, claims) = verify::verify(&token, &jwks).unwrap();
    assert_eq!(claims["iss"], ready["issuer"]);
    process.signal("TERM");
    assert_eq!(process.ended(Duration::from_secs(10)).await, Some(0));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[actix_web::test]
async fn dev_mode_makes_everything_it_needs_and_prints_lines_that_work() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let environment = [
        ("JETON__SERVER__PUBLIC", "127.0.0.1:0"),
        ("JETON__SERVER__OPERATIONS", "127.0.0.1:0"),
        ("JETON_DATA_DIR", data.to_str().unwrap()),
    ];
    let mut process = Process::serve(directory.path(), "dev", &["--dev"], &environment);
    let ready = process.ready().await;
    let secret = std::fs::read_to_string(data.join("demo-client-secret")).unwrap();
    let form = "grant_type=client_credentials&scope=read+write";
    let answer =
        http::token(&address(&ready["public"]), "/oauth2/token", "demo", &secret, form).await;
    assert_eq!(answer.status, 200);
    process.signal("INT");
    assert_eq!(process.ended(Duration::from_secs(10)).await, Some(0));

    let files = ["demo-client-secret", "demo-password", "root-secrets"].map(|name| data.join(name));
    for file in files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let url = format!("sqlite:{}", data.join("jeton.db").display());
    let people = jeton(&["user", "list"], &environment);
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("demo") && people.contains("enabled"), "{people}");
    let demo = std::fs::read_to_string(data.join("demo-password")).unwrap();
    let again =
        jeton_reading(&demo, &["user", "set-password", "demo", "--password-stdin"], &environment);
    assert!(again.status.success(), "{again:?}");
    let plain = [
        ("JETON__DATABASE__URL", url.as_str()),
        ("JETON__ISSUER", ready["issuer"].as_str().unwrap()),
        ("JETON__SERVER__PUBLIC", "127.0.0.1:0"),
        ("JETON__SERVER__OPERATIONS", "127.0.0.1:0"),
        ("JETON_DATA_DIR", data.to_str().unwrap()),
    ];
    let refused = jeton(&["serve"], &plain);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("serve --dev"), "{refused:?}");
}

#[test]
fn dev_mode_refuses_whatever_is_not_this_machine_only() {
    let directory = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("JETON__DATABASE__URL", "postgres://localhost/x"),
        ("JETON__ISSUER", "https://id.example"),
        ("JETON__SERVER__PUBLIC", "0.0.0.0:8080"),
        ("JETON__SERVER__OPERATIONS", "0.0.0.0:9090"),
    ] {
        let data = directory.path().to_str().unwrap();
        let refused = jeton(&["serve", "--dev"], &[(key, value), ("JETON_DATA_DIR", data)]);
        assert_eq!(refused.status.code(), Some(78), "{key}: {refused:?}");
    }
}

#[test]
fn a_server_without_an_issuer_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let refused = jeton(&["serve"], &[("JETON_DATA_DIR", data)]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78));
    assert!(said.contains("issuer") && said.contains("serve --dev"), "{said}");
}

#[actix_web::test]
async fn a_changed_issuer_and_a_missing_schema_are_refused_with_the_remedy() {
    let database = TestDatabase::new();
    let environment = |issuer: &'static str| {
        replica::environment(&database.url, database.directory.path(), &[("JETON__ISSUER", issuer)])
    };
    let run = |args: &[&str], issuer| {
        let environment = environment(issuer);
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        jeton(args, &environment)
    };
    let refused = run(&["serve"], replica::ISSUER);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("jeton migrate"), "{refused:?}");

    drop(replica::start(&database, "one", &[]).await);
    let refused = run(&["serve"], "http://127.0.0.1:9999");
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(replica::ISSUER), "{refused:?}");
}

#[actix_web::test]
async fn sigterm_turns_readiness_red_and_still_serves_until_the_drain_is_over() {
    let database = TestDatabase::new();
    let more = [("JETON__SERVER__DRAIN_DELAY", "2s")];
    let mut replica = replica::start(&database, "one", &more).await;
    assert_eq!(replica.health("ready").await, 200);
    replica.process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(replica.health("ready").await, 503);
    assert_eq!(replica.health("live").await, 200);
    replica.token().await;
    assert_eq!(replica.process.ended(Duration::from_secs(10)).await, Some(0));
}

#[actix_web::test]
async fn no_secret_and_no_token_is_ever_logged() {
    let database = TestDatabase::new();
    let more = [("JETON__LOG__LEVEL", "trace"), ("JETON__LOG__FORMAT", "json")];
    let mut replica = replica::start(&database, "one", &more).await;
    let token = replica.token().await;
    let wrong = "wrong-secret-that-must-not-be-logged";
    let form = "grant_type=client_credentials&scope=nothing&client_secret_hint=canary-parameter";
    for (client, secret) in [("app", wrong), ("canary-client", wrong), ("app", SECRET)] {
        http::token(&replica.public, "/oauth2/token?canary=query", client, secret, form).await;
    }
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    http::send(&replica.public, "GET", "/canary-path", &[("traceparent", trace)], b"").await;
    replica.process.signal("TERM");
    replica.process.ended(Duration::from_secs(10)).await;
    let said = replica.process.said();
    let signature = token.rsplit('.').next().unwrap();
    let root = std::fs::read_to_string(database.directory.path().join("root-secrets")).unwrap();
    let root = root.trim().rsplit(' ').next().unwrap().to_owned();
    let password = database.url.clone();
    for canary in [SECRET, wrong, signature, &root, "canary-parameter", "canary-path", &password] {
        assert!(!said.contains(canary), "{canary} is in the log");
    }
    let lines: Vec<serde_json::Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line.get("request").is_some())
        .collect();
    let granted = lines.iter().find(|line| line["outcome"] == "granted").unwrap();
    for field in ["request", "route", "client", "kid", "jti", "auth_micros", "sign_micros"] {
        assert!(!granted[field].is_null(), "{field}: {granted}");
    }
    let refused = lines.iter().filter(|line| line["outcome"] == "refused");
    let reasons: Vec<_> = refused.map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["client_auth_failed", "client_unknown", "scope_not_allowed"]);
    assert!(lines.iter().any(|line| line["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[test]
fn a_generated_secret_is_written_once_to_a_new_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let file = directory.join("clients.toml");
    std::fs::write(&file, "[[client]]\nid = \"made\"\ngenerate_secret = true\n").unwrap();
    let out = directory.join("secrets.json");
    let environment = replica::environment(&database.url, directory, &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let (file, to) = (file.to_str().unwrap(), out.to_str().unwrap());
    assert!(jeton(&["migrate"], &environment).status.success());

    let refused = jeton(&["apply", "-f", file], &environment);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--secrets-out"), "{refused:?}");
    assert!(database.sql("select id from clients").is_empty(), "all or nothing");

    for _ in 0..2 {
        let applied = jeton(&["apply", "-f", file, "--secrets-out", to], &environment);
        assert!(applied.status.success(), "{applied:?}");
    }
    let line: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(line["client_id"], "made");
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(database.sql("select hint from client_secrets").len(), 1);

    // A write that broke off leaves an empty file; it does not delete what was made.
    std::fs::write(file, "# nothing\n").unwrap();
    let pruned = jeton(&["apply", "-f", file, "--prune"], &environment);
    assert_eq!(pruned.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&pruned.stderr).contains("describes nothing"), "{pruned:?}");
    assert_eq!(database.sql("select id from clients").len(), 1);
}
