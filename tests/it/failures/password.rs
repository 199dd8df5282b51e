//! The database's password is changed under servers that run.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;

use super::world::{World, directory, start};
use crate::support::cluster::Cluster;
use crate::support::database::{self, admin};
use crate::support::replica::Replica;
use crate::support::session::refresh_at;

/// After this time everybody must be served again.
const SOON: Duration = Duration::from_secs(20);

const SERVER: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'jeton%'";

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

/// Apps that go on refreshing, and getting tokens, until they are told to stop.
#[derive(Clone, Default)]
struct Load {
    stop: Rc<Cell<bool>>,
    /// Each answer that was neither 200 nor 503 with Retry-After.
    wrong: Rc<RefCell<Vec<String>>>,
    served: Rc<Cell<u64>>,
    refused: Rc<Cell<u64>>,
}

impl Load {
    async fn run(self, address: String, mut token: String) {
        while !self.stop.get() {
            let answer = refresh_at(&address, "web", &token, "").await;
            match answer.status {
                200 => {
                    answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut token);
                    self.served.set(self.served.get() + 1);
                }
                503 if !answer.header("retry-after").is_empty() => {
                    self.refused.set(self.refused.get() + 1);
                }
                _ => self.wrong.borrow_mut().push(format!("{answer:?}")),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until this many more were served.
    async fn goes_on(&self, more: u64, replica: &Replica) {
        let wanted = self.served.get() + more;
        until(replica, "nobody is served", || self.served.get() >= wanted).await;
    }
}

async fn until(replica: &Replica, what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < SOON, "{what}: {}", replica.process.said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the server has said this so often.
async fn said(replica: &Replica, what: &str, times: usize) {
    until(replica, what, || replica.process.said().matches(what).count() == times).await;
}

const TAKEN: &str = "use what its URL says now";
const LEFT: &str = "has changed and is not used";

fn write(file: &Path, user: &str, password: &str, port: u16, name: &str) {
    std::fs::write(file, format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}\n"))
        .unwrap();
}

#[actix_web::test]
async fn the_databases_password_changes_under_load_and_nobody_restarts_anything() {
    if database::server().is_none() {
        println!("on SQLite there is no password to change");
        return;
    }
    let cluster = blocking(Cluster::start).await;
    let (url, port) = (cluster.url(), cluster.port);
    let run = async |sql: &str| {
        let (url, sql) = (url.clone(), sql.to_owned());
        blocking(move || admin(&url, &sql)).await;
    };
    run("create role jeton login password 'secret-0'").await;
    run("create role jeton_too login in role jeton password 'secret-too'").await;
    run("alter role jeton_too set role jeton").await;
    run("create database jeton owner jeton").await;
    cluster.want_passwords();
    run("select pg_reload_conf()").await;
    let directory = directory();
    let file = directory.path().join("database-url");
    write(&file, "jeton", "secret-0", port, "jeton");
    let by_file = [("JETON__DATABASE__URL_FILE", file.to_str().unwrap())];
    let mut replica = start("", directory.path(), "one", &by_file).await;
    let past = format!("{}/jeton", url.rsplit_once('/').unwrap().0);
    let world = World::at(&past, directory.path()).await;
    let load = Load::default();
    let mut apps = Vec::new();
    for _ in 0..6 {
        let token = world.begin("web").await;
        apps.push(rt::spawn(load.clone().run(replica.public.clone(), token)));
    }
    load.goes_on(20, &replica).await;
    for round in 1..=3 {
        run(&format!("alter role jeton password 'secret-{round}'")).await;
        // Whoever is connected stays connected.
        load.goes_on(20, &replica).await;
        run(SERVER).await;
        let refused = load.refused.get();
        until(&replica, "nobody notices", || load.refused.get() > refused).await;
        write(&file, "jeton", &format!("secret-{round}"), port, "jeton");
        load.goes_on(20, &replica).await;
    }
    // Another user is another password.
    write(&file, "jeton_too", "secret-too", port, "jeton");
    said(&replica, TAKEN, 4).await;
    run("alter role jeton nologin").await;
    run(SERVER).await;
    load.goes_on(20, &replica).await;
    // What leads elsewhere, or nowhere, is not followed.
    let bad = ["postgres://jeton_too:secret-too@127.0.0.1:1/jeton", "", "secret-too"];
    for (number, text) in bad.into_iter().enumerate() {
        std::fs::write(&file, text).unwrap();
        said(&replica, LEFT, number + 1).await;
        run(SERVER).await;
        load.goes_on(20, &replica).await;
    }
    load.stop.set(true);
    for app in apps {
        app.await.unwrap();
    }
    let wrong = load.wrong.take();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(!replica.process.has_ended());
    let said = replica.process.said();
    assert!(!said.contains("secret-"), "a password is in the log");
    assert_eq!((said.matches(TAKEN).count(), said.matches(LEFT).count()), (4, 3), "{said}");
    println!("{} refreshes, {} refused for now", load.served.get(), load.refused.get());
    world.db.close().await;
    drop(replica);
    blocking(move || drop(cluster)).await;
}
