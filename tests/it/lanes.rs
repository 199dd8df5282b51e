//! Connections that are set aside for single threads: nothing waits there, and nothing is lost there.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use jeton::domain::ClientId;
use jeton::store::advance::{self, Advance};
use jeton::store::{Db, Lane, On, Open, Pooler, Statement, StoreError, audit, families};
use uuid::Uuid;

use crate::support::TestDatabase;
use crate::support::app::{App, START};
use crate::support::desk::desk;
use crate::support::proxy::{Link, Proxy};
use crate::support::session::{random_id, signed_in};

/// How many connections the code under test has.
const CONNECTIONS: &str = "select cast(count(*) as text) from pg_stat_activity
                           where datname = current_database() and application_name = 'jeton'";

/// A database with so many families, if it has lanes.
async fn with_lanes(count: usize) -> Option<(TestDatabase, Db, Vec<Uuid>)> {
    let database = TestDatabase::new().past_the_pooler("lanes are connections of our own");
    if !database.is_postgres() {
        println!("SQLite has one writer, and nothing to set aside");
        return None;
    }
    desk(&database).await;
    let db = opened(&database.url).await;
    let all: Vec<_> = (0..count).map(|_| audit::row_id(START)).collect();
    let begin = db.write(async |tx| {
        for id in &all {
            families::add(tx, &signed_in("spa", random_id(), *id, START)).await?;
        }
        Ok(())
    });
    begin.await.unwrap();
    Some((database, db, all))
}

/// How many lanes keep their connections.
fn kept(db: &Db) -> usize {
    format!("{:?}", db.lanes()).matches("kept: Some").count()
}

async fn opened(url: &str) -> Db {
    Db::open(&Open { url, connections: 8, pooler: Pooler::None }).await.unwrap()
}

fn step(id: Uuid, from: u32) -> Advance {
    Advance {
        id,
        from,
        to: from + 1,
        now: START,
        attempt: rand::random(),
        client: ClientId::parse("spa").unwrap(),
        key_thumbprint: None,
    }
}

async fn generation(db: &Db, id: Uuid) -> u32 {
    families::get(db, id).await.unwrap().unwrap().family.generation
}

fn is_contended<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Contended))
}

#[actix_web::test]
async fn on_a_lane_nobody_waits_for_a_row_and_a_group_that_would_writes_nothing() {
    let Some((database, db, all)) = with_lanes(2).await else { return };
    let [held, free] = all[..] else { panic!("{all:?}") };
    let lane = db.lanes().remove(0);
    let steps = [step(held, 0), step(free, 0)];
    let act = format!("update families set idle = idle where id = '{held}'");
    let holder = database.hold(vec![act], Duration::from_secs(3)).await;
    let began = Instant::now();
    assert!(is_contended(&advance::alone_on(&lane, &steps[0]).await));
    assert!(is_contended(&advance::together_on(&lane, &steps).await));
    assert!(began.elapsed() < Duration::from_secs(2), "it waited");
    assert_eq!(generation(&db, free).await, 0);
    // Without a lane the held one is passed by, and the other goes on.
    let passed = advance::together(&db, &steps).await.unwrap();
    assert!(matches!(&passed[..], [Ok(None), Ok(Some(family))] if family.id == free), "{passed:?}");
    holder.join().unwrap();
    // The lane is as good as before.
    let steps = [step(held, 0), step(free, 1)];
    let taken = advance::together_on(&lane, &steps).await.unwrap();
    assert!(taken.iter().all(|one| matches!(one, Ok(Some(_)))), "{taken:?}");
    assert!(advance::alone_on(&lane, &step(held, 1)).await.unwrap().is_some());
    assert_eq!(generation(&db, held).await, 2);
}

#[actix_web::test]
async fn two_lanes_that_take_the_same_step_take_it_once() {
    let Some((_database, db, all)) = with_lanes(20).await else { return };
    let lanes = db.lanes();
    let [one, other] = [lanes.first().unwrap(), lanes.last().unwrap()];
    for from in 0..50 {
        // In two orders, so that each might wait for what the other has.
        let steps: Vec<_> = all.iter().map(|id| step(*id, from)).collect();
        let backwards: Vec<_> = all.iter().rev().map(|id| step(*id, from)).collect();
        let take =
            async |lane: &Lane, steps: &[Advance]| match advance::together_on(lane, steps).await {
                Err(StoreError::Contended) => advance::together(&db, steps).await.unwrap(),
                outcomes => outcomes.unwrap(),
            };
        let (first, second) = tokio::join!(take(one, &steps), take(other, &backwards));
        let taken = first.iter().chain(&second).filter(|one| matches!(one, Ok(Some(_)))).count();
        // What both passed by, because the other held it, is taken next time.
        assert!(taken <= all.len(), "{taken} steps of {}", all.len());
        for id in &all {
            if generation(&db, *id).await == from {
                assert!(advance::alone(&db, &step(*id, from)).await.unwrap().is_some());
            }
            assert_eq!(generation(&db, *id).await, from + 1);
        }
    }
}

#[actix_web::test]
async fn what_a_cut_connection_did_is_unknown_and_the_lane_is_left_alone_for_a_while() {
    let Some((database, db, all)) = with_lanes(1).await else { return };
    let lane = db.lanes().remove(0);
    let sql = "select cast(1 as bigint) from pg_sleep(10)";
    let slow = Statement { name: "SLOW", on: On::Postgres, sql };
    let cutting = actix_web::rt::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        database.sql(
            "select cast(pg_terminate_backend(pid) as text) from pg_stat_activity
             where datname = current_database() and query like '%pg_sleep(10)'",
        );
        database
    });
    let cut = lane.write_alone::<(i64,)>(&slow, &[]).await;
    assert!(matches!(cut, Err(StoreError::Unknown)), "{cut:?}");
    let database = cutting.await.unwrap();
    assert!(is_contended(&advance::alone_on(&lane, &step(all[0], 0)).await), "it was used again");
    assert_eq!(generation(&db, all[0]).await, 0);
    // It is the same lane, whoever asks for it; one that has not failed is used.
    assert!(is_contended(&advance::alone_on(&db.lanes()[0], &step(all[0], 0)).await));
    let other = opened(&database.url).await;
    assert!(advance::alone_on(&other.lanes()[0], &step(all[0], 0)).await.unwrap().is_some());
}

#[actix_web::test]
async fn what_a_lane_keeps_is_given_back_when_nobody_refreshes() {
    let database = TestDatabase::new().past_the_pooler("lanes are connections of our own");
    let app = App::with_apps_on(database, "").await;
    let (_, token) = app.begin("spa").await;
    let db = &app.running.desk.db;
    assert_eq!(kept(db), 0);
    assert_eq!(app.refresh("spa", &token, "").await.status, 200);
    // At once it is still kept, where there are lanes.
    assert_eq!(kept(db), db.lanes().len().min(1));
    app.beat().await;
    assert_eq!(kept(db), 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_lane_that_cannot_be_had_writes_nothing_and_is_not_tried_for_a_while() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let url = format!("postgres://jeton@{}/jeton", silent.local_addr().unwrap());
    let lane = opened(&url).await.lanes().remove(0);
    for _ in 0..3 {
        assert!(is_contended(&advance::alone_on(&lane, &step(Uuid::nil(), 0)).await));
    }
    assert!(silent.accept().is_ok());
    assert!(silent.accept().is_err(), "it was tried again");
}

#[actix_web::test]
async fn a_lane_that_is_refused_a_connection_leaves_it_to_the_pool_and_is_not_tried_for_a_while() {
    let Some((database, db, all)) = with_lanes(1).await else { return };
    // Whatever the reason: those who have a connection have it still.
    let (gone, _) = database.url.rsplit_once('/').unwrap();
    db.reconnect(&format!("{gone}/jeton_is_not_there")).unwrap();
    let lane = db.lanes().remove(0);
    for _ in 0..3 {
        assert!(is_contended(&advance::alone_on(&lane, &step(all[0], 0)).await));
    }
    db.reconnect(&database.url).unwrap();
    let late = advance::alone_on(&lane, &step(all[0], 0)).await;
    assert!(is_contended(&late), "it was tried again: {late:?}");
    assert!(advance::alone(&db, &step(all[0], 0)).await.unwrap().is_some());
}

#[actix_web::test]
async fn a_lane_whose_peer_fell_silent_makes_another_connection() {
    let Some((database, _, all)) = with_lanes(1).await else { return };
    let (proxy, url) = Proxy::before(&database.url).await;
    let db = opened(&url).await;
    let lanes = db.lanes();
    let [kept, sends] = &lanes[..] else {
        return println!("one core has one lane, and this takes two");
    };
    for (from, lane) in (0..).zip(&lanes) {
        assert!(advance::alone_on(lane, &step(all[0], from)).await.unwrap().is_some());
    }
    proxy.set(Link::Hanging);
    db.reconnect(&database.url).unwrap();
    // One sends, hears nothing, and has to say so. Its connection is gone when it is used again.
    let unheard = advance::alone_on(sends, &step(all[0], 2)).await;
    assert!(matches!(unheard, Err(StoreError::Unknown)), "{unheard:?}");
    assert!(is_contended(&advance::alone_on(sends, &step(all[0], 2)).await));
    // The other one kept its connection too long by now, and is told nothing by it.
    assert!(advance::alone_on(kept, &step(all[0], 2)).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(advance::alone_on(sends, &step(all[0], 3)).await.unwrap().is_some());
}

#[actix_web::test]
async fn a_refresh_whose_lane_was_cut_goes_another_way() {
    let database = TestDatabase::new().past_the_pooler("lanes are connections of our own");
    let app = App::with_apps_on(database, "").await;
    let (_, mut token) = app.begin("spa").await;
    for _ in 0..5 {
        if app.database.is_postgres() {
            app.database.sql(
                "select cast(pg_terminate_backend(pid, 5000) as text) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()",
            );
        }
        let mut tries = 0;
        token = loop {
            let answer = app.refresh("spa", &token, "").await;
            if answer.status == 200 {
                break answer.json()["refresh_token"].as_str().unwrap().to_owned();
            }
            assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body));
            tries += 1;
            assert!(tries < 20, "it does not come back");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
    }
    app.stop().await;
}

#[actix_web::test]
async fn lanes_are_a_part_of_the_connections_that_there_may_be() {
    let Some((database, db, all)) = with_lanes(1).await else { return };
    let lanes = db.lanes();
    assert!((1..=2).contains(&lanes.len()), "{}", lanes.len());
    for (from, lane) in (0..).zip(&lanes) {
        assert!(advance::alone_on(lane, &step(all[0], from)).await.unwrap().is_some());
    }
    let reads = (0..40).map(|_| families::get(&db, all[0]));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
    let count: usize = database.sql(CONNECTIONS)[0].parse().unwrap();
    let (open, _) = db.connections();
    assert!(count > lanes.len() && count <= 8 && open as usize <= 8, "{count}, {open}");
    // What a lane keeps counts as idle, and is in nobody's way when all are closed.
    assert_eq!(kept(&db), lanes.len());
    let until = Instant::now() + Duration::from_secs(5);
    while db.connections().1 < open as usize {
        assert!(Instant::now() < until, "{:?}", db.connections());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), db.close()).await.unwrap();
    let late = advance::alone_on(&lanes[0], &step(all[0], 9)).await;
    assert!(is_contended(&late), "{late:?}");
    let single = if available_parallelism().unwrap().get() > 1 { 7 } else { 3 };
    for (connections, pooler) in [(single, Pooler::None), (16, Pooler::Transaction)] {
        let open = Open { url: &database.url, connections, pooler };
        assert!(Db::open(&open).await.unwrap().lanes().is_empty(), "{connections} {pooler:?}");
    }
}

#[test]
fn what_a_lane_keeps_may_be_dropped_when_there_is_no_runtime_any_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = runtime.block_on(async {
        let (database, db, all) = with_lanes(1).await?;
        let lane = db.lanes().remove(0);
        let taken = advance::alone_on(&lane, &step(all[0], 0)).await.unwrap();
        assert!(taken.is_some());
        Some((database, db, lane))
    });
    drop(runtime);
    let Some((database, db, lane)) = kept else { return };
    drop((db, lane));
    let until = Instant::now() + Duration::from_secs(5);
    while database.sql(CONNECTIONS) != ["0"] {
        assert!(Instant::now() < until, "a connection is still there");
    }
}
