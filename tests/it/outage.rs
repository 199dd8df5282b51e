//! The database goes away and comes back: its own Postgres, stopped and started for real.

use std::time::{Duration, Instant};

use jeton::clock::Clock;
use jeton::store::{Db, Open, Pooler, StoreError, native};

use crate::support::cluster::Cluster;
use crate::support::replica::{self, Replica};
use crate::support::{database, verify};

/// Asks once, and says what came and how long it took.
async fn ask(replica: &Replica) -> (u16, Duration) {
    let started = Instant::now();
    let answer = replica.try_token().await.unwrap();
    if answer.status == 503 {
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.error().1, "temporarily_unavailable");
    }
    (answer.status, started.elapsed())
}

#[actix_web::test]
async fn a_lost_postgres_is_survived_from_memory_then_refused_at_once_and_recovered_within_5_s() {
    if database::server().is_none() {
        // SQLite is a file of our own: there is no server to lose. `make test` runs this test.
        println!("on SQLite there is no server to stop");
        return;
    }
    database::past_the_pooler("it stops and starts a server of its own");
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    jeton::secret::file::generate(&directory.path().join("root-secrets")).unwrap();
    let more = [("JETON__CLIENTS__MAX_STALENESS", "4s")];
    let process = replica::spawn_on(&cluster.url(), directory.path(), "one", &more);
    let replica = Replica::of(process).await;
    for _ in 0..2 {
        let token = replica.token().await;
        cluster.down();
        let lost = Instant::now();
        let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
        while lost.elapsed() < Duration::from_secs(7) {
            let (status, took) = ask(&replica).await;
            *statuses.entry(status).or_default() += 1;
            assert!(took < Duration::from_secs(1), "an answer took {took:?}");
            assert!(status == 200 || status == 503, "{status}");
            assert!(
                status == 503 || lost.elapsed() < Duration::from_secs(6),
                "served beyond the bound"
            );
            verify::verify(&token, &replica.jwks().await).unwrap();
            assert_eq!((replica.health("ready").await, replica.health("live").await), (200, 200));
        }
        assert!(statuses[&200] > 0 && statuses[&503] > 0, "{statuses:?}");
        cluster.up();
        let back = Instant::now();
        while ask(&replica).await.0 != 200 {
            assert!(back.elapsed() < Duration::from_secs(5), "{}", replica.process.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[actix_web::test]
async fn a_start_waits_for_the_database_with_startup_red_and_then_serves() {
    if database::server().is_none() {
        println!("on SQLite there is no server to wait for");
        return;
    }
    database::past_the_pooler("it stops and starts a server of its own");
    let cluster = Cluster::start();
    cluster.down();
    let directory = tempfile::tempdir().unwrap();
    jeton::secret::file::generate(&directory.path().join("root-secrets")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let operations = free.to_string();
    let more = [("JETON__SERVER__OPERATIONS", operations.as_str())];
    let process = replica::spawn_on(&cluster.url(), directory.path(), "one", &more);
    let startup = || async {
        let path = "/healthz/startup";
        crate::support::http::try_send(&operations, "GET", path, &[], b"").await.map(|a| a.status)
    };
    let started = Instant::now();
    while startup().await.ok() != Some(503) {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", process.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.up();
    let replica = Replica::of(process).await;
    assert_eq!(replica.health("startup").await, 200);
    replica.token().await;
}

#[actix_web::test]
async fn a_standby_that_nobody_may_read_from_is_a_database_out_of_reach_and_no_fault() {
    if database::server().is_none() {
        println!("on SQLite there is no standby");
        return;
    }
    database::past_the_pooler("it has servers of its own");
    let primary = Cluster::start();
    let standby = Cluster::standby_of(&primary.address());
    // Postgres refuses such transactions on a standby, by an error that else means a feature it lacks. A
    // connection of our own does not get as far: it is told our limits first.
    let url = format!("{}?options=-cdefault_transaction_isolation=serializable", standby.url());
    let open = Open { url: &url, connections: 1, pooler: Pooler::Transaction };
    let db = Db::open(&open).await.unwrap();
    let read = native::server_time(&db, &Clock::system()).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
}
