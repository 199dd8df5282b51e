//! Two servers that have one connection to Postgres between them, by way of PgBouncer: each transaction
//! of one meets what those of the other left behind.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;
use jeton::store::Pooler;

use crate::failures::world::{self, World};
use crate::support::http::token;
use crate::support::pooler::PgBouncer;
use crate::support::replica::{Replica, environment};
use crate::support::session::refresh_at;
use crate::support::{SECRET, TestDatabase, process};

/// How often each caller signs in.
const ROUNDS: usize = 4;

/// Somebody who asks the two in turns: what one has written the other must read.
struct Caller {
    servers: [String; 2],
    world: Rc<World>,
    turn: usize,
    asked: usize,
}

impl Caller {
    /// The server whose turn it is.
    fn next(&mut self) -> String {
        self.turn += 1;
        self.asked += 1;
        self.servers[self.turn % 2].clone()
    }

    /// A sign-in that is refreshed here and there, and taken back.
    async fn round(&mut self) {
        let mut refresh = self.world.begin("web").await;
        let mut access = String::new();
        for _ in 0..4 {
            let answer = refresh_at(&self.next(), "web", &refresh, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let body = answer.json();
            body["refresh_token"].as_str().unwrap().clone_into(&mut refresh);
            body["access_token"].as_str().unwrap().clone_into(&mut access);
        }
        let form = "grant_type=client_credentials&scope=read";
        let answer = token(&self.next(), "/oauth2/token", "app", SECRET, form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(self.is_active(&access).await);
        let form = format!("token={refresh}");
        let answer = token(&self.next(), "/oauth2/revoke", "web", SECRET, &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = refresh_at(&self.next(), "web", &refresh, "").await;
        assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
        let revoked = Instant::now();
        // Two in a row, so both know.
        while self.is_active(&access).await || self.is_active(&access).await {
            assert!(revoked.elapsed() < Duration::from_secs(5), "it is active still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_active(&mut self, access: &str) -> bool {
        let form = format!("token={access}");
        let answer = token(&self.next(), "/oauth2/introspect", "rs", SECRET, &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"] == true
    }
}

/// How many connections to the database have the name that our servers give, at each look until told to stop.
async fn connected(database: &TestDatabase, stop: Rc<Cell<bool>>) -> Vec<usize> {
    let mut found = Vec::new();
    while !stop.get() {
        let url = database.direct.clone();
        let look = move || {
            let ours = "select pid from pg_stat_activity
                        where datname = current_database() and application_name = 'jeton'";
            crate::support::database::query(&url, ours)
        };
        found.push(tokio::task::spawn_blocking(look).await.unwrap().len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found
}

/// A command on the database through the pooler, while the servers work.
async fn command(database: &TestDatabase, url: &str, args: &'static [&'static str]) -> String {
    let more = [("JETON__DATABASE__POOLER", "transaction")];
    let environment = environment(url, database.directory.path(), &more);
    let run = move || {
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let done = process::jeton(args, &environment);
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(done.status.success(), "{args:?}: {said}");
        said
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[actix_web::test]
async fn two_servers_that_share_one_server_connection_never_fail_or_hang() {
    let database = TestDatabase::new().past_the_pooler("it brings a pooler of its own");
    if !database.is_postgres() {
        println!("on SQLite nothing stands in between");
        return;
    }
    let pooler = PgBouncer::start(&database.direct, 1).await;
    let directory = database.directory.path();
    let more = [("JETON__DATABASE__POOLER", "transaction")];
    let one = world::start(&pooler.url, directory, "one", &more).await;
    let two = world::start(&pooler.url, directory, "two", &more).await;
    let world = Rc::new(World::by(&pooler.url, directory, Pooler::Transaction).await);
    let stop = Rc::<Cell<bool>>::default();
    let mut callers = Vec::new();
    for turn in 0..6 {
        let servers = [one.public.clone(), two.public.clone()];
        let mut caller = Caller { servers, world: Rc::clone(&world), turn, asked: 0 };
        callers.push(rt::spawn(async move {
            for _ in 0..ROUNDS {
                caller.round().await;
            }
            caller.asked
        }));
    }
    let watch = async {
        command(&database, &pooler.url, &["client", "list"]).await;
        command(&database, &pooler.url, &["keys", "rotate"]).await;
        let mut asked = 0;
        for caller in callers {
            asked += caller.await.unwrap();
        }
        stop.set(true);
        asked
    };
    let all = async { tokio::join!(connected(&database, stop.clone()), watch) };
    let (connections, asked) =
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("somebody hangs");
    assert!(asked > 6 * ROUNDS * 8, "{asked}");
    for Replica { process, .. } in [&one, &two] {
        let said = process.said();
        assert!(
            !said.contains("\"level\":\"ERROR\"") && !said.contains("\"level\":\"WARN\""),
            "{said}"
        );
    }
    // PgBouncer may have made it anew, and the one before may take a moment to go.
    let more = connections.iter().filter(|count| **count > 1).count();
    assert!(connections.contains(&1) && more * 10 < connections.len(), "{connections:?}");
    assert_eq!(world.events("family_revoked").await, 6 * ROUNDS);
    world.db.close().await;
}
