//! One server or two on one database, in this process, as replicas would be.

use std::ops::Index;

use jeton::clock::Clock;

use super::app::{self, START};
use super::session::APPS;
use super::sign_in::PEOPLE;
use super::{App, FIXTURES, TestDatabase};

/// What time the servers keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// One clock for all, which stands still unless the test moves it.
    Still,
    /// Each its own, which runs.
    Real,
}

/// How many there are, and how they refresh.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub replicas: usize,
    pub batching: bool,
    pub pace: Pace,
}

impl Plan {
    /// One replica and two, refreshing alone and together.
    pub fn all(pace: Pace) -> [Self; 4] {
        [(1, false), (1, true), (2, false), (2, true)].map(|(replicas, batching)| Self {
            replicas,
            batching,
            pace,
        })
    }

    /// Servers with the apps of `session`.
    pub async fn start(self) -> Servers {
        self.start_with(APPS).await
    }

    /// Servers with the clients of `sign_in`.
    pub async fn start_with_people(self) -> Servers {
        self.start_with(PEOPLE).await
    }

    async fn start_with(self, clients: &str) -> Servers {
        let (fixtures, batching) = (format!("{FIXTURES}{clients}"), self.batching);
        let settings =
            format!("issuer = \"https://id.example.test\"\n[refresh]\nbatching = {batching}\n");
        let still = Clock::manual(START);
        let mut all: Vec<App> = Vec::new();
        for _ in 0..self.replicas {
            let database = all.first().map_or_else(TestDatabase::new, |one| one.database.share());
            let clock = if self.pace == Pace::Still { still.clone() } else { Clock::system() };
            let running = app::start(&database, &settings, &fixtures, &clock).await.unwrap();
            all.push(App { running, clock, database });
        }
        Servers(all)
    }
}

/// The servers; the first one owns the database.
pub struct Servers(Vec<App>);

impl Servers {
    /// Every one of them.
    pub fn iter(&self) -> std::slice::Iter<'_, App> {
        self.0.iter()
    }

    /// One of them, in turns.
    pub fn nth(&self, n: usize) -> &App {
        &self.0[n % self.0.len()]
    }

    /// Stops them, the owner of the database last.
    pub async fn stop(mut self) {
        while let Some(app) = self.0.pop() {
            app.stop().await;
        }
    }
}

impl Index<usize> for Servers {
    type Output = App;

    fn index(&self, n: usize) -> &App {
        self.nth(n)
    }
}
