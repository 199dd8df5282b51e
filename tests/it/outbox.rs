//! The order of the outbox: numbers in the order of commits, whoever is late, and however many come
//! at once.

use std::sync::Arc;
use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::{Facts, Inactive, Revocation, Target, Time, TokenId};
use jeton::manage::Desk;
use jeton::mirror::{Mirror, Poller, Writer};
use jeton::store::{Db, StoreError, poll, revocations};

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::desk::{ISSUER, desk, desk_with};

fn id(n: u32) -> TokenId {
    let mut random = [0; 9];
    random[..4].copy_from_slice(&n.to_be_bytes());
    TokenId::new(START, random)
}

fn act(n: u32) -> Revocation {
    Revocation {
        target: Target::Token(id(n)),
        issued_before: Time::from_micros(0),
        expires_at: Clock::system().now() + Duration::from_secs(3600),
    }
}

fn token(n: u32) -> Facts {
    Facts {
        id: id(n),
        birth: START,
        issued: START,
        family: None,
        subject: "app".to_owned(),
        client: "app".to_owned(),
        resource: "urn:r".to_owned(),
        kid: "kid".to_owned(),
    }
}

/// A replica without a server: its memory, and what keeps that fresh.
fn replica(desk: &Desk) -> (Arc<Mirror>, Poller) {
    let mirror = Arc::new(Mirror::default());
    let secrets = Arc::clone(&desk.secrets);
    let clock = Clock::system();
    let poller = Poller::new(desk.db.clone(), clock, Arc::clone(&mirror), secrets, ISSUER);
    (mirror, poller)
}

async fn numbers(db: &Db) -> Vec<i64> {
    let acts = poll::poll(db, &Clock::system(), None).await.unwrap().acts;
    acts.iter().map(|placed| placed.at.v).collect()
}

#[actix_web::test]
async fn an_act_that_commits_late_is_read_by_those_who_have_read_on_meanwhile() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (mirror, mut poller) = replica(&desk);
    // The first takes its number and then takes its time; the second comes meanwhile.
    let late = desk.db.clone();
    let late = actix_web::rt::spawn(async move {
        late.write(async |tx| {
            revocations::append(tx, &[act(1)]).await?;
            tokio::time::sleep(Duration::from_millis(800)).await;
            Ok(())
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let other = desk_with(&database, database.open().await).db;
    let quick = actix_web::rt::spawn(async move {
        other.write(async |tx| revocations::append(tx, &[act(2)]).await).await
    });
    for _ in 0..5 {
        poller.poll().await.unwrap();
        let seen = [1, 2].map(|n| mirror.acts.verdict(&token(n)).is_some());
        assert!(seen != [false, true], "the second was readable before the first had its place");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    late.await.unwrap().unwrap();
    quick.await.unwrap().unwrap();
    poller.poll().await.unwrap();
    for n in [1, 2] {
        assert_eq!(mirror.acts.verdict(&token(n)), Some(Inactive::TokenRevoked), "{n}");
    }
    assert_eq!(numbers(&desk.db).await, [1, 2]);
}

#[actix_web::test]
async fn an_act_that_is_rolled_back_leaves_no_number_behind_and_is_obeyed_by_nobody() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (mirror, mut poller) = replica(&desk);
    let undone = desk.db.write(async |tx| {
        revocations::append(tx, &[act(1)]).await?;
        Err::<(), _>(StoreError::Conflict)
    });
    assert!(undone.await.is_err());
    desk.db.write(async |tx| revocations::append(tx, &[act(2)]).await).await.unwrap();
    poller.poll().await.unwrap();
    assert_eq!(mirror.acts.verdict(&token(1)), None);
    assert_eq!(mirror.acts.verdict(&token(2)), Some(Inactive::TokenRevoked));
    assert_eq!(numbers(&desk.db).await, [1]);
}

#[actix_web::test]
async fn ten_thousand_acts_at_once_on_two_replicas_are_all_durable_and_all_obeyed() {
    const EACH: u32 = 2000; // Five rounds on two replicas.
    let database = TestDatabase::new();
    let one = desk(&database).await;
    let two = desk_with(&database, database.open().await);
    let mut replicas = Vec::new();
    for desk in [&one, &two] {
        let (mirror, poller) = replica(desk);
        actix_web::rt::spawn(Writer::run(Arc::clone(&mirror), desk.db.clone(), Clock::system()));
        replicas.push((mirror, poller));
    }
    for round in 0..5 {
        let rush = |at: u32, mirror: &Arc<Mirror>| {
            let mirror = Arc::clone(mirror);
            actix_web::rt::spawn(async move {
                let first = (round * 2 + at) * EACH;
                let acts = (first..first + EACH).map(|n| mirror.writer.write(act(n)));
                futures_util::future::join_all(acts).await
            })
        };
        let rushes = [rush(0, &replicas[0].0), rush(1, &replicas[1].0)];
        for rush in rushes {
            assert!(rush.await.unwrap().iter().all(Result::is_ok));
        }
    }
    let total = 10 * EACH;
    for (mirror, poller) in &mut replicas {
        poller.poll().await.unwrap();
        assert_eq!(mirror.acts.len(), total as usize);
        assert!((0..total).all(|n| mirror.acts.verdict(&token(n)).is_some()));
    }
    let rows = database.sql("select v from revocations order by v");
    assert_eq!(rows.len(), total as usize);
    assert_eq!(rows.last().unwrap(), &total.to_string(), "no number is left out");
}

#[actix_web::test]
async fn an_answer_that_is_lost_is_no_act_that_is_lost() {
    use jeton::store::Fault;
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (mirror, mut poller) = replica(&desk);
    actix_web::rt::spawn(Writer::run(Arc::clone(&mirror), desk.db.clone(), Clock::system()));
    for (n, fault) in
        [(1, Fault::CutAfterCommit), (2, Fault::CutBeforeCommit), (3, Fault::LosesRace)]
    {
        desk.db.inject([fault]);
        mirror.writer.write(act(n)).await.unwrap();
        assert!(mirror.acts.verdict(&token(n)).is_some(), "obeyed at once: {fault:?}");
    }
    poller.poll().await.unwrap();
    assert_eq!(database.sql("select v from revocations").len(), 3);
}

#[actix_web::test]
async fn an_act_that_the_database_loses_before_its_own_writer_has_read_it_is_written_again() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (mirror, mut poller) = replica(&desk);
    actix_web::rt::spawn(Writer::run(Arc::clone(&mirror), desk.db.clone(), Clock::system()));
    mirror.writer.write(act(1)).await.unwrap();
    poller.poll().await.unwrap();
    // The second is acknowledged, and gone with a failover before anybody has read it: the place of
    // the first, where the reader stands, is as it was.
    mirror.writer.write(act(2)).await.unwrap();
    database.change("delete from revocations where v = 2").await;
    database.change("update revocation_head set v = 1").await;
    assert_eq!(poller.poll().await.unwrap().restored, 1);
    assert_eq!(numbers(&desk.db).await, [1, 2]);
    assert!(mirror.acts.verdict(&token(2)).is_some());
    assert_eq!(poller.poll().await.unwrap().restored, 0, "once");
}

#[actix_web::test]
async fn an_act_that_was_read_before_its_writer_says_that_it_wrote_it_is_not_taken_for_lost() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (mirror, mut poller) = replica(&desk);
    // A poll comes between the commit and the writer's next line, and brings another act besides.
    desk.db.write(async |tx| revocations::append(tx, &[act(1), act(2)]).await).await.unwrap();
    poller.poll().await.unwrap();
    mirror.acts.wrote(&[act(1)], Clock::system().tick());
    assert_eq!(poller.poll().await.unwrap().restored, 0);
    assert_eq!(numbers(&desk.db).await, [1, 2]);
}

#[actix_web::test]
async fn a_head_that_moved_back_holds_no_act_up() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    for n in 1..=3 {
        desk.db.write(async |tx| revocations::append(tx, &[act(n)]).await).await.unwrap();
    }
    database.change("update revocation_head set v = 0").await;
    let (mirror, mut poller) = replica(&desk);
    poller.poll().await.unwrap();
    desk.db.write(async |tx| revocations::append(tx, &[act(4)]).await).await.unwrap();
    poller.poll().await.unwrap();
    assert_eq!(numbers(&desk.db).await, [1, 2, 3, 4]);
    assert!(mirror.acts.verdict(&token(4)).is_some());
}

#[test]
fn a_million_acts_that_count_are_told_from_those_that_do_not_and_are_forgotten_in_time() {
    let mut revoked = jeton::domain::Revoked::default();
    let mut one = act(0);
    for n in 0..1_000_000 {
        one.target = Target::Token(id(n));
        revoked.add(&one);
    }
    assert_eq!(revoked.len(), 1_000_000);
    for n in (0..1_000_000).step_by(997) {
        assert!(revoked.verdict(&token(n)).is_some());
        assert!(revoked.verdict(&token(1_000_000 + n)).is_none());
    }
    revoked.forget(one.expires_at + Duration::from_secs(2));
    assert!(revoked.is_empty());
}
