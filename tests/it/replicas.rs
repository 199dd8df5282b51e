//! Several processes on one database, and processes that die.

use std::time::{Duration, Instant};

use crate::support::process::{JETON, jeton};
use crate::support::replica::{self, environment, fixtures};
use crate::support::{Process, TestDatabase, verify};

/// Timing in which a line rotates every few seconds.
const FAST: &[(&str, &str)] = &[
    ("JETON__KEYS__PERIOD", "3s"),
    ("JETON__KEYS__LEAD", "2s"),
    ("JETON__KEYS__MAX_AGE", "1s"),
    ("JETON__KEYS__SKEW", "1s"),
    ("JETON__KEYS__ALLOW_UNSAFE_TIMING", "true"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL", "2s"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL_MAX", "2s"),
];

#[actix_web::test]
async fn five_migrations_at_once_apply_each_step_once_and_all_succeed() {
    let database = TestDatabase::new();
    let environment = environment(&database.url, database.directory.path(), &[]);
    let started: Vec<_> = (0..5)
        .map(|_| {
            std::process::Command::new(JETON)
                .arg("migrate")
                .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended: Vec<_> = started.into_iter().map(|one| one.wait_with_output().unwrap()).collect();
    let said: Vec<_> = ended.iter().map(|one| String::from_utf8_lossy(&one.stdout)).collect();
    assert!(ended.iter().all(|one| one.status.success()), "{ended:?}");
    let steps = jeton::store::migrate::STEPS.len();
    assert_eq!(said.iter().filter(|text| text.contains("applied 0001")).count(), 1, "{said:?}");
    assert_eq!(database.sql("select number from schema_steps").len(), steps);
}

#[actix_web::test]
async fn replicas_that_start_together_agree_on_keys_clients_and_documents() {
    let database = TestDatabase::new();
    let processes: Vec<_> =
        (0..3).map(|n| replica::spawn(&database, &format!("r{n}"), &[])).collect();
    let mut replicas = Vec::new();
    for process in processes {
        replicas.push(replica::Replica::of(process).await);
    }
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let first = replicas[0].jwks().await;
    assert_eq!(first["keys"].as_array().unwrap().len(), 2);
    for one in &replicas {
        assert_eq!(one.jwks().await, first);
        let token = one.token().await;
        for other in &replicas {
            verify::verify(&token, &other.jwks().await).unwrap();
        }
    }
    assert_eq!(database.sql("select kid from signing_keys").len(), 2);
    assert_eq!(database.sql("select hint from client_secrets where client_id = 'app'").len(), 1);
}

#[actix_web::test]
async fn a_start_that_somebody_holds_up_goes_on_when_it_is_let() {
    let database = TestDatabase::new();
    // Somebody else makes the ledger of the schema, and takes longer than any transaction waits.
    let ledger = "create table schema_steps (
        number bigint primary key not null, applied_at bigint not null
    )";
    let holder = database.hold(vec![ledger.to_owned()], Duration::from_secs(12)).await;
    let mut second = replica::spawn(&database, "second", &[]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(second.said().contains("the start waits for the database"), "{}", second.said());
    second.ready().await;
    tokio::task::spawn_blocking(move || holder.join().unwrap()).await.unwrap();
}

#[actix_web::test]
async fn an_operators_act_is_obeyed_by_every_replica_within_two_seconds() {
    let database = TestDatabase::new();
    let one = replica::start(&database, "one", &[]).await;
    let two = replica::start(&database, "two", &[]).await;
    assert_eq!(two.try_token().await.unwrap().status, 200);
    let environment = environment(&database.url, database.directory.path(), &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let done = jeton(&["client", "disable", "app"], &environment);
    assert!(done.status.success(), "{done:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for replica in [&one, &two] {
        let refused = replica.try_token().await.unwrap();
        assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    }
}

#[actix_web::test]
async fn a_killed_server_loses_nothing_it_acknowledged() {
    let database = TestDatabase::new();
    let environment = environment(&database.url, database.directory.path(), &[]);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut replica = replica::start(&database, "one", &[]).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let id = format!("kept-{round}");
        let made = jeton(&["--json", "client", "create", &id], &environment);
        assert!(made.status.success(), "{made:?}");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        acknowledged.push((id, made["client_secret"].as_str().unwrap().to_owned()));
        replica.process.kill();
        replica = replica::start(&database, "one", &[]).await;
        for (id, secret) in &acknowledged {
            let answer = crate::support::http::token(
                &replica.public,
                "/oauth2/token",
                id,
                secret,
                "grant_type=client_credentials",
            )
            .await;
            // Known and authenticated; it may use no resource, and that is the next check.
            assert_eq!(answer.error(), (400, "invalid_target".to_owned()));
        }
    }
}

/// I8: whatever moment a process dies at, after the restart every key that was ever used verifies
/// what it signed, and the line goes on.
#[actix_web::test]
async fn fifty_kills_in_the_middle_of_rotations_break_no_token_and_no_line() {
    let database = TestDatabase::new();
    let directory = database.directory.path().to_owned();
    let fixtures = fixtures(&directory);
    let mut alive: Vec<(Instant, String)> = Vec::new();
    let mut served = 0;
    for round in 0..50u64 {
        // Every other round dies around a commit; the rest at a moment of its own choosing.
        let point = match round % 4 {
            1 => format!("before-commit:{}", 1 + round % 5),
            3 => format!("after-commit:{}", 1 + round % 5),
            _ => "never:0".to_owned(),
        };
        let mut more = FAST.to_vec();
        more.push(("JETON_FAILPOINT", &point));
        let environment = environment(&database.url, &directory, &more);
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let args = ["--migrate", "--apply", fixtures.as_str()];
        let mut process = Process::serve(&directory, "victim", &args, &environment);
        if process.try_ready().await.is_none() {
            continue;
        }
        served += 1;
        let replica = replica::Replica::of(process).await;
        let until = Instant::now() + Duration::from_millis(100 + (round * 137) % 600);
        while Instant::now() < until {
            alive.retain(|(made, _)| made.elapsed() < Duration::from_millis(1500));
            let Ok(answer) = replica.try_token().await else { break };
            let token = answer.json()["access_token"].as_str().map(str::to_owned);
            let Some(token) = token else { panic!("{answer:?} {}", replica.process.said()) };
            alive.push((Instant::now(), token));
            let jwks = crate::support::http::try_send(
                &replica.public,
                "GET",
                "/.well-known/jwks.json",
                &[],
                b"",
            );
            let Ok(jwks) = jwks.await else { break };
            for (_, token) in &alive {
                verify::verify(token, &jwks.json()).unwrap();
            }
        }
    }
    assert!(!alive.is_empty() && served > 20, "it served in {served} rounds");
    let replica = replica::start(&database, "last", FAST).await;
    verify::verify(&replica.token().await, &replica.jwks().await).unwrap();
    let halves = "select kid from signing_keys where sealed is null and sign_until > ";
    let now = jeton::clock::Clock::system().now().micros();
    assert!(database.sql(&format!("{halves}{now}")).is_empty(), "a key was destroyed too early");
    let twins = "select algorithm from signing_keys group by algorithm, epoch having count(*) > 1";
    assert!(database.sql(twins).is_empty());
}
