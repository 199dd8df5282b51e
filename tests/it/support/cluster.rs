//! A Postgres server of one test's own, which can be stopped, started, copied and promoted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// A cluster and its server. Its calls block: on a thread of their own if others are to go on.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    /// Where its server listens.
    pub port: u16,
}

impl Cluster {
    /// A new cluster whose server runs.
    pub fn start() -> Self {
        let cluster = Self::nowhere();
        cluster.run(&["init"]);
        cluster.up();
        cluster
    }

    /// A standby of the server that `link` leads to: a copy of it, which takes over whatever that
    /// server commits for as long as the link is up, and later than it is committed there.
    pub fn standby_of(link: &str) -> Self {
        let cluster = Self::nowhere();
        cluster.run(&["standby", link.rsplit(':').next().unwrap()]);
        cluster.up();
        cluster
    }

    fn nowhere() -> Self {
        let directory = tempfile::Builder::new().prefix("jeton-pg-").tempdir().unwrap().keep();
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let offset = u16::try_from(std::process::id() % 10000).unwrap();
        let port = 20000 + offset + NEXT.fetch_add(1, Ordering::Relaxed);
        Self { directory, port }
    }

    fn run(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres");
        let (verb, rest) = args.split_first().unwrap();
        let done = Command::new(script).arg(verb).arg(&self.directory).args(rest).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts the server, and returns when it answers.
    pub fn up(&self) {
        self.run(&["start", &self.port.to_string()]);
    }

    /// Has everybody but `postgres` prove themselves by a password, once the settings are read again.
    pub fn want_passwords(&self) {
        let rules =
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.directory.join("pg_hba.conf"), rules).unwrap();
    }

    /// Stops the server as if its machine had lost its power.
    pub fn down(&self) {
        self.run(&["stop", "immediate"]);
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        url_at(&self.address())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.down();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The URL of the database of a cluster that a link leads to.
pub fn url_at(address: &str) -> String {
    format!("postgres://postgres@{address}/postgres")
}
