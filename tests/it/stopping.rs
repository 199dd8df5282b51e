//! SIGTERM: what is under way is finished, what was noted is written, and whoever keeps a connection is
//! told to take the next request elsewhere.

use std::time::Duration;

use crate::support::http::{self, Kept};
use crate::support::replica::{self, Replica};
use crate::support::{SECRET, TestDatabase, basic};

const FORM: &str = "grant_type=client_credentials&scope=read";

fn head() -> String {
    format!("POST /oauth2/token HTTP/1.1\r\nauthorization: {}\r\n", basic("app", SECRET))
}

async fn stopping_after(delay: &str) -> (TestDatabase, Replica) {
    let database = TestDatabase::new();
    let more = [("JETON__SERVER__DRAIN_DELAY", delay)];
    let replica = replica::start(&database, "one", &more).await;
    (database, replica)
}

#[actix_web::test]
async fn while_it_drains_each_answer_is_the_last_of_its_connection() {
    let (_database, mut replica) = stopping_after("3s").await;
    let mut kept = Kept::to(&replica.public);
    for _ in 0..3 {
        let answer = kept.send(&head(), FORM).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, ""));
    }
    replica.process.signal("TERM");
    while replica.health("ready").await == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..3 {
        let answer = kept.send(&head(), FORM).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    }
    assert_eq!(kept.made, 3, "the first connection carried everything until the first goodbye");
    assert_eq!(replica.process.ended(Duration::from_secs(20)).await, Some(0));
}

#[actix_web::test]
async fn a_request_under_way_is_answered_before_the_process_ends_and_idle_connections_do_not_keep_it()
 {
    let (_database, mut replica) = stopping_after("0s").await;
    let mut idle = Kept::to(&replica.public);
    assert_eq!(idle.send(&head(), FORM).await.unwrap().status, 200);
    let mut slow = Kept::to(&replica.public);
    slow.pause = Duration::from_millis(1500);
    let asked = actix_web::rt::spawn(async move { slow.send(&head(), FORM).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    replica.process.signal("TERM");
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
    assert_eq!(replica.process.ended(Duration::from_secs(10)).await, Some(0));
}

#[actix_web::test]
async fn what_was_noted_just_before_the_end_is_in_the_trail() {
    let database = TestDatabase::new();
    let mut expected = 0;
    // The job that writes notes may come by in time once, but not each time.
    for _ in 0..3 {
        let mut replica = replica::start(&database, "one", &[]).await;
        let guess = || http::token(&replica.public, "/oauth2/token", "app", "a-wrong-secret", FORM);
        for _ in 0..5 {
            assert_eq!(guess().await.status, 401);
        }
        replica.process.signal("TERM");
        assert_eq!(replica.process.ended(Duration::from_secs(10)).await, Some(0));
        expected += 1;
        let runs = "select action from audit_events where action = 'client_auth_failed_run'";
        assert_eq!(database.sql(runs).len(), expected);
    }
}
