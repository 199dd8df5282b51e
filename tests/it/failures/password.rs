//! The database's password is changed under servers that run.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;

use super::crowd::Crowd;
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::cluster::Cluster;
use crate::support::database::{admin, query};
use crate::support::http;
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
#[derive(Clone)]
struct Load {
    stop: Rc<Cell<bool>>,
    report: Report,
}

const SERVED: &str = "refreshes: 200";
const REFUSED: &str = "refreshes: 503 with Retry-After";

impl Load {
    async fn run(self, address: String, mut token: String) {
        while !self.stop.get() {
            let answer = refresh_at(&address, "web", &token, "").await;
            match answer.status {
                200 => {
                    answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut token);
                    self.report.outcome(SERVED);
                }
                503 if !answer.header("retry-after").is_empty() => self.report.outcome(REFUSED),
                _ => self.report.violation(format!("{answer:?}")),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until this many more were served.
    async fn goes_on(&self, more: usize, replica: &Replica) {
        let wanted = self.report.count(SERVED) + more;
        until(replica, "nobody is served", || self.report.count(SERVED) >= wanted).await;
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

/// A server that wants passwords, a database that `jeton` owns, and the files of replicas that lead there.
struct Place {
    cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let cluster = blocking(Cluster::start).await;
        let place = Self { cluster, directory: directory() };
        place.run("create role jeton login password 'secret-0'").await;
        place.run("create database jeton owner jeton").await;
        place.cluster.want_passwords();
        place.run("select pg_reload_conf()").await;
        place
    }

    async fn run(&self, sql: &str) {
        let (url, sql) = (self.cluster.url(), sql.to_owned());
        blocking(move || admin(&url, &sql)).await;
    }

    /// How many connections there are of a user.
    async fn connections(&self, user: &str) -> usize {
        let url = self.cluster.url();
        let sql = format!("select pid from pg_stat_activity where usename = '{user}'");
        blocking(move || query(&url, &sql)).await.len()
    }

    /// Each replica has a file of its own, as pods have.
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("database-url-{name}"))
    }

    fn write(&self, name: &str, user: &str, password: &str) {
        write(&self.file(name), user, password, self.cluster.port, "jeton");
    }

    async fn replica(&self, name: &str) -> Replica {
        let file = self.file(name);
        let by_file = [("JETON__DATABASE__URL_FILE", file.to_str().unwrap())];
        start("", self.directory.path(), name, &by_file).await
    }

    /// A look past the servers, and past passwords.
    async fn world(&self) -> World {
        let past = format!("{}/jeton", self.cluster.url().rsplit_once('/').unwrap().0);
        World::at(&past, self.directory.path()).await
    }

    async fn end(self) {
        blocking(move || drop(self)).await;
    }
}

const TAKEN: &str = "use what its URL says now";
const LEFT: &str = "has changed and is not used";
const NOT_YET: &str = "does not let us in yet";

/// Waits until a replica shows whether the file is of use.
async fn is_usable(replica: &Replica, usable: bool) {
    let line = format!("jeton_database_url_file_usable {}", u8::from(usable));
    let began = Instant::now();
    loop {
        let metrics = http::send(&replica.operations, "GET", "/metrics", &[], b"").await;
        if String::from_utf8_lossy(&metrics.body).lines().any(|one| one == line) {
            return;
        }
        assert!(began.elapsed() < SOON, "it does not say {line}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn write(file: &Path, user: &str, password: &str, port: u16, name: &str) {
    std::fs::write(file, format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}\n"))
        .unwrap();
}

/// Who asks while a user changes.
const CALLERS: [(&str, usize); 5] = [
    ("client credentials", 2),
    ("refresh", 6),
    ("introspection", 2),
    ("keys", 1),
    ("revocation", 4),
];

#[actix_web::test]
async fn the_databases_user_changes_by_the_documented_way_and_no_answer_is_refused() {
    if !has_server("11. the database's user changes") {
        return;
    }
    let report = Report::of(
        "11. the database's user is changed under load, the way that deploy/README.md says",
    );
    let place = Place::new().await;
    for name in ["one", "two"] {
        place.write(name, "jeton", "secret-0");
    }
    let replicas = [place.replica("one").await, place.replica("two").await];
    let world = Rc::new(place.world().await);
    let addresses = replicas.each_ref().map(|replica| replica.public.clone());
    let crowd = Crowd::of(&CALLERS, &addresses, &world, &report).await;
    crowd.goes_on(20).await;
    let (mut before, changes) = ("jeton".to_owned(), rounds(2, 20));
    for round in 1..=changes {
        report.round();
        let (user, password) = (format!("jeton_{round}"), format!("secret-{round}"));
        place.run(&format!("create role {user} login in role jeton password '{password}'")).await;
        place.run(&format!("alter role {user} set role jeton")).await;
        // The Secret reaches one pod before the other.
        place.write("one", &user, &password);
        crowd.goes_on(20).await;
        place.write("two", &user, &password);
        let written = Instant::now();
        while place.connections(&before).await > 0 {
            assert!(written.elapsed() < Duration::from_secs(60), "{before} is connected still");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        report.outcome("a user had no connection left, and nobody had ended one");
        place.run(&format!("alter role {before} nologin")).await;
        crowd.goes_on(20).await;
        before = user;
    }
    crowd.end(20).await;
    for replica in &replicas {
        let said = replica.process.said();
        assert!(!said.contains("secret-"), "a password is in the log");
        assert_eq!(said.matches(TAKEN).count(), changes, "{said}");
    }
    world.lost_nothing(&report).await;
    drop(replicas);
    place.end().await;
    report.end();
}

#[actix_web::test]
async fn the_databases_password_changes_under_load_and_nobody_restarts_anything() {
    if !has_server("12. the database's password changes") {
        return;
    }
    let report = Report::of(
        "12. the database's password is changed under one user, and connections are lost",
    );
    let place = Place::new().await;
    place.write("one", "jeton", "secret-0");
    let mut replica = place.replica("one").await;
    let world = place.world().await;
    let load = Load { stop: Rc::default(), report: report.clone() };
    let mut apps = Vec::new();
    for _ in 0..6 {
        let token = world.begin("web").await;
        apps.push(rt::spawn(load.clone().run(replica.public.clone(), token)));
    }
    load.goes_on(20, &replica).await;
    let changes = rounds(3, 20);
    for round in 1..=changes {
        report.round();
        let password = format!("secret-{round}");
        // First where the servers read it: they go on as they were, and see that it works a second after
        // it does.
        let refused = report.count(REFUSED);
        place.write("one", "jeton", &password);
        said(&replica, NOT_YET, 2 * round - 1).await;
        load.goes_on(20, &replica).await;
        place.run(&format!("alter role jeton password '{password}'")).await;
        said(&replica, TAKEN, 2 * round - 1).await;
        load.goes_on(20, &replica).await;
        for _ in refused..report.count(REFUSED) {
            report.outcome("of these where the servers' file was first");
        }
        // First in Postgres, and all connections are lost before the servers hear of it.
        place.run(&format!("alter role jeton password '{password}-too'")).await;
        load.goes_on(20, &replica).await;
        place.run(SERVER).await;
        let refused = report.count(REFUSED);
        until(&replica, "nobody notices", || report.count(REFUSED) > refused).await;
        // A typing error makes nothing worse.
        place.write("one", "jeton", "secret-typo");
        said(&replica, NOT_YET, 2 * round).await;
        is_usable(&replica, false).await;
        report.fault_is_over();
        place.write("one", "jeton", &format!("{password}-too"));
        load.goes_on(20, &replica).await;
        is_usable(&replica, true).await;
        report.got_through(Instant::now());
    }
    // What leads elsewhere, or nowhere, is not followed.
    let taken = 2 * changes;
    let bad = ["postgres://jeton:secret-too@127.0.0.1:1/jeton", "", "secret-too"];
    for (number, text) in bad.into_iter().enumerate() {
        std::fs::write(place.file("one"), text).unwrap();
        said(&replica, LEFT, number + 1).await;
        is_usable(&replica, false).await;
        place.run(SERVER).await;
        load.goes_on(20, &replica).await;
    }
    load.stop.set(true);
    for app in apps {
        app.await.unwrap();
    }
    assert!(!replica.process.has_ended());
    let said = replica.process.said();
    assert!(!said.contains("secret-"), "a password is in the log");
    assert_eq!((said.matches(TAKEN).count(), said.matches(LEFT).count()), (taken, 3), "{said}");
    world.lost_nothing(&report).await;
    drop(replica);
    place.end().await;
    report.end();
}
