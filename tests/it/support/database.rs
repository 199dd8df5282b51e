//! A database for one test, gone afterwards.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use jeton::store::{Db, Open, Pooler};
use postgres::{Client, NoTls};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A fresh database of the kind that this run is about.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL, by way of the pooler if this run has one.
    pub url: String,
    /// Its URL past any pooler: for what looks at the server itself, or changes it.
    pub direct: String,
    /// A directory of its own, with a root-secret file in it.
    pub directory: TempDir,
    server: Option<(String, String)>,
}

/// The Postgres server of this run, if it is about Postgres.
pub fn server() -> Option<String> {
    std::env::var("JETON_TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

/// What stands between the servers under test and this run's Postgres (see `tests/postgres pooled`).
pub fn pooler() -> Pooler {
    if pooler_address().is_some() { Pooler::Transaction } else { Pooler::None }
}

/// What `database.pooler` has to say about it.
pub fn pooler_setting() -> &'static str {
    if pooler() == Pooler::Transaction { "transaction" } else { "none" }
}

/// Whether this run's Postgres is serializable (see `tests/postgres serializable`). There, whoever meets
/// a crowd in a table of one page may be told to come again.
pub fn loses_races() -> bool {
    std::env::var("JETON_TEST_PG_SETTINGS").is_ok_and(|all| all.contains("=serializable"))
}

fn pooler_address() -> Option<String> {
    std::env::var("JETON_TEST_POOLER").ok().filter(|address| !address.is_empty())
}

/// Every test that does not go through the pooler of its run says so here, on its own thread;
/// `tests/postgres pooled` prints the list at its end.
pub fn past_the_pooler(why: &str) {
    let Ok(list) = std::env::var("JETON_TEST_PAST_POOLER") else { return };
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let mut file = std::fs::File::options().create(true).append(true).open(list).unwrap();
    std::io::Write::write_all(&mut file, format!("  {name}: {why}\n").as_bytes()).unwrap();
}

impl TestDatabase {
    /// Makes one.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("jeton-test-").tempdir().unwrap();
        jeton::secret::file::generate(&directory.path().join("root-secrets")).unwrap();
        let Some(server) = server() else {
            let url = format!("sqlite:{}", directory.path().join("jeton.db").display());
            return Self { direct: url.clone(), url, directory, server: None };
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("jeton_{}_{number}", std::process::id());
        admin(&server, &format!("create database {name}"));
        let (base, _) = server.rsplit_once('/').unwrap();
        let direct = format!("{base}/{name}");
        let url = pooler_address().map_or_else(
            || direct.clone(),
            |pooler| format!("postgres://postgres@{pooler}/{name}"),
        );
        Self { url, direct, directory, server: Some((server, name)) }
    }

    /// The same without the pooler of this run, and why.
    #[must_use]
    pub fn past_the_pooler(mut self, why: &str) -> Self {
        past_the_pooler(why);
        self.url.clone_from(&self.direct);
        self
    }

    /// The same database for another server, which does not outlive this one.
    #[must_use]
    pub fn share(&self) -> Self {
        let directory = tempfile::Builder::new().prefix("jeton-test-").tempdir().unwrap();
        let secrets = self.directory.path().join("root-secrets");
        std::fs::copy(secrets, directory.path().join("root-secrets")).unwrap();
        // The first one drops it.
        let server = self.server.as_ref().map(|_| (String::new(), String::new()));
        Self { url: self.url.clone(), direct: self.direct.clone(), directory, server }
    }

    /// Keeps what is stored now; no server may run on it.
    pub fn back_up(&self) -> String {
        let backup = format!("{}_backup", self.name());
        match &self.server {
            Some((server, _)) => copy(server, &self.name(), &backup),
            None => copy_files(&self.name(), &backup),
        }
        backup
    }

    /// Brings back what was kept; no server may run on it.
    pub fn restore(&self, backup: &str) {
        let Some((server, name)) = &self.server else {
            return copy_files(backup, &self.name());
        };
        admin(server, &format!("drop database {name} with (force)"));
        copy(server, backup, name);
        admin(server, &format!("drop database {backup} with (force)"));
    }

    /// The database on its server, or the file.
    fn name(&self) -> String {
        match &self.server {
            Some((_, name)) => name.clone(),
            None => self.url.trim_start_matches("sqlite:").to_owned(),
        }
    }

    /// Somebody else's transaction: it does this, and commits so much later. Returns once it has done it, and
    /// holds what it changed; of an embedded database, all of it.
    pub async fn hold(&self, act: Vec<String>, after: Duration) -> JoinHandle<()> {
        let (took, taken) = oneshot::channel();
        let (url, is_postgres) = (self.direct.clone(), self.is_postgres());
        let hold = move || {
            if is_postgres {
                hold_postgres(&url, &act, after, took);
            } else {
                hold_sqlite(&url, &act, after, took);
            }
        };
        let holder = std::thread::spawn(hold);
        taken.await.unwrap();
        holder
    }

    /// Whether it is on Postgres.
    pub fn is_postgres(&self) -> bool {
        self.server.is_some()
    }

    /// Opens it as the server would.
    pub async fn open(&self) -> Db {
        let open = Open { url: &self.url, connections: 8, pooler: pooler() };
        Db::open(&open).await.unwrap()
    }

    /// Changes what is stored, as somebody else would. A server in this process may be writing too,
    /// and it must get on meanwhile.
    pub async fn change(&self, text: &str) {
        let (url, text) = (self.direct.clone(), format!("{text} returning 1"));
        let run = if self.is_postgres() { on_thread } else { in_sqlite };
        let rows = tokio::task::spawn_blocking(move || run(url, text)).await.unwrap();
        assert!(!rows.is_empty(), "it changed nothing");
    }

    /// Runs SQL by a path that is not the code under test, and returns the first column as text.
    pub fn sql(&self, text: &str) -> Vec<String> {
        if self.is_postgres() {
            return on_thread(self.direct.clone(), text.to_owned());
        }
        in_sqlite(self.direct.clone(), text.to_owned())
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = self.server.as_ref().filter(|(server, _)| !server.is_empty())
        {
            admin(server, &format!("drop database if exists {name} with (force)"));
        }
    }
}

/// Copies a SQLite file with its log, in place of whatever is there.
fn copy_files(from: &str, to: &str) {
    let _ = std::fs::remove_file(format!("{to}-shm"));
    for part in ["", "-wal"] {
        let _ = std::fs::remove_file(format!("{to}{part}"));
        // One that was closed in peace has no log.
        let copied = std::fs::copy(format!("{from}{part}"), format!("{to}{part}"));
        assert!(copied.is_ok() || part == "-wal", "{copied:?}");
    }
}

/// Copies a database on a server. Connections of a process that was killed may still be there.
fn copy(server: &str, from: &str, to: &str) {
    let gone = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{from}'"
    );
    admin(server, &gone);
    admin(server, &format!("create database {to} template {from}"));
}

/// Runs one statement on a server. The blocking client must not run on an async thread.
pub fn admin(url: &str, sql: &str) {
    on_thread(url.to_owned(), sql.to_owned());
}

/// The same, and returns the first column as text.
pub fn query(url: &str, sql: &str) -> Vec<String> {
    on_thread(url.to_owned(), sql.to_owned())
}

fn on_thread(url: String, sql: String) -> Vec<String> {
    std::thread::spawn(move || {
        let mut client = Client::connect(&url, NoTls).unwrap();
        let rows = client.simple_query(&sql).unwrap();
        rows.into_iter()
            .filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
                _ => None,
            })
            .collect()
    })
    .join()
    .unwrap()
}

fn in_sqlite(url: String, sql: String) -> Vec<String> {
    use sqlx::{Connection, Row};
    let look = async move {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
        let rows = query.fetch_all(&mut connection).await.unwrap();
        let first = |row: &sqlx::sqlite::SqliteRow| {
            row.try_get_unchecked::<Option<String>, _>(0).unwrap().unwrap_or_default()
        };
        rows.iter().map(first).collect()
    };
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(look)
    })
    .join()
    .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own")]
fn hold_postgres(url: &str, act: &[String], after: Duration, took: oneshot::Sender<()>) {
    let mut client = Client::connect(url, NoTls).unwrap();
    let mut tx = client.transaction().unwrap();
    for statement in act {
        tx.batch_execute(statement).unwrap();
    }
    took.send(()).unwrap();
    std::thread::sleep(after);
    tx.commit().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own")]
fn hold_sqlite(url: &str, act: &[String], after: Duration, took: oneshot::Sender<()>) {
    let hold = async {
        let mut connection =
            sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
        let mut tx = connection.begin_with("begin immediate").await.unwrap();
        for statement in act {
            sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(&mut *tx).await.unwrap();
        }
        took.send(()).unwrap();
        std::thread::sleep(after);
        tx.commit().await.unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(hold);
}
