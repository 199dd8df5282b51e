//! Fresh databases on the Postgres server of this run.

use std::sync::atomic::{AtomicU32, Ordering};

use jeton::store::{Db, Open, Pooler};
use postgres::types::FromSqlOwned;
use postgres::{Client, NoTls};

use crate::machine;

/// The server of this run.
pub struct Postgres {
    base: String,
    /// The process whose children do its work.
    pub postmaster: u32,
    /// Whether a commit waits for the disk.
    pub is_durable: bool,
}

/// A database that is dropped in the end.
pub struct Database<'a> {
    server: &'a str,
    name: String,
    /// Where it is.
    pub url: String,
}

impl Postgres {
    /// The server that `tests/postgres` started for us.
    pub fn find() -> Self {
        let url = std::env::var("JETON_TEST_DATABASE_URL")
            .unwrap_or_else(|_| panic!("JETON_TEST_DATABASE_URL is not set: run `make bench`"));
        let mut client = Client::connect(&url, NoTls).unwrap();
        let backend: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let durable = "select current_setting('fsync') = 'on' \
                       and current_setting('synchronous_commit') = 'on'";
        let is_durable = client.query_one(durable, &[]).unwrap().get(0);
        let postmaster = machine::parent(backend.unsigned_abs()).unwrap();
        let (base, _) = url.rsplit_once('/').unwrap();
        Self { base: base.to_owned(), postmaster, is_durable }
    }

    /// Makes a database.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench_{}_{number}", std::process::id());
        let database = Database { server: &self.base, url: format!("{}/{name}", self.base), name };
        database.administrate("create database");
        database
    }
}

impl Database<'_> {
    /// Runs SQL on it.
    pub fn run(&self, sql: &str) {
        let mut client = Client::connect(&self.url, NoTls).unwrap();
        client.batch_execute("set statement_timeout = '600s'").unwrap();
        client.batch_execute(sql).unwrap();
    }

    /// Changes a setting for those who connect from now on.
    pub fn set(&self, setting: &str) {
        self.run(&format!("alter database {} set {setting}", self.name));
    }

    /// Asks it for one value.
    pub fn ask<T: FromSqlOwned>(&self, sql: &str) -> T {
        Client::connect(&self.url, NoTls).unwrap().query_one(sql, &[]).unwrap().get(0)
    }

    fn administrate(&self, act: &str) {
        let url = format!("{}/postgres", self.server);
        let mut client = Client::connect(&url, NoTls).unwrap();
        client.batch_execute(&format!("{act} {}", self.name)).unwrap();
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // The whole server is thrown away after us, so this may fail.
        let url = format!("{}/postgres", self.server);
        if let Ok(mut client) = Client::connect(&url, NoTls) {
            let _ = client.batch_execute(&format!("drop database {} with (force)", self.name));
        }
    }
}

/// Does something with a database as Jeton itself opens it.
pub fn with_store<T>(url: &str, act: impl AsyncFnOnce(&Db) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = Open { url, connections: 8, pooler: Pooler::None };
        let db = Db::open(&open).await.unwrap();
        let value = act(&db).await;
        db.close().await;
        value
    })
}
