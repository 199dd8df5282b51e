//! The database's URL, read again when its file changes: a password is rotated without a restart.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::EVERY;
use crate::config::DatabaseUrl;
use crate::domain::Time;
use crate::secret::Watch;
use crate::store::{Db, StoreError, doctor};
use crate::telemetry::Measures;

/// Longest wait for the end of a connection that was only tried.
const GOODBYE: Duration = Duration::from_secs(2);

/// Follows the file of `database.url_file`.
#[derive(Debug)]
pub struct UrlFile {
    db: Db,
    path: PathBuf,
    watch: Watch,
    measures: Measures,
    /// What new connections use.
    now: DatabaseUrl,
    /// Whether the file says something that does not lead into the database yet.
    waits: bool,
}

impl UrlFile {
    /// A file that held this URL when the settings were read.
    pub fn new(db: Db, path: PathBuf, now: DatabaseUrl, measures: Measures) -> Self {
        let watch = Watch::from_now(vec![path.clone()]);
        Self { db, path, watch, measures, now, waits: false }
    }

    /// Looks once a second until told to stop. Waiting for a connection to be refused would be too late:
    /// requests would be refused with it.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>) {
        // It may have changed while the server was starting.
        self.look().await;
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                _ = stop.changed() => return,
            }
            if self.watch.have_changed() || self.waits {
                self.look().await;
            }
        }
    }

    async fn look(&mut self) {
        let usable = self.take().await;
        self.measures.url_file(usable);
    }

    /// Gives the URL to the connections to come, once it leads in: whoever mistyped a password, or writes
    /// it here before Postgres knows it, loses no connection by it. Those that are open are replaced one
    /// by one as they are wanted, so that whoever they belong to can soon be switched off. Says whether what
    /// the file says is in use.
    async fn take(&mut self) -> bool {
        let waited = std::mem::take(&mut self.waits);
        let fresh = match self.read() {
            Ok(None) => return true,
            Ok(Some(fresh)) => fresh,
            Err(problem) => return self.keep(&problem),
        };
        if let Err(error) = self.leads_in(&fresh).await {
            self.waits = true;
            if !waited {
                tracing::warn!(
                    %error,
                    file = %self.path.display(),
                    "the database's URL has changed and does not let us in yet; it is tried every second"
                );
            }
            return false;
        }
        if let Err(error) = self.db.reconnect(fresh.expose()) {
            return self.keep(&error.to_string());
        }
        self.now = fresh;
        tracing::info!("new connections to the database use what its URL says now");
        true
    }

    fn keep(&self, problem: &str) -> bool {
        tracing::error!(
            problem,
            file = %self.path.display(),
            "the file of the database's URL has changed and is not used; what it said before stays"
        );
        false
    }

    /// Whether a URL leads to where we may write.
    async fn leads_in(&self, fresh: &DatabaseUrl) -> Result<(), StoreError> {
        let single = self.db.single(fresh.expose()).await?;
        // What is tried is rolled back, so its time is nobody's.
        let outcome = doctor::can_write(&single, Time::from_micros(0)).await;
        // Where packets vanish, closing waits for an answer, too.
        let _ = timeout(GOODBYE, single.close()).await;
        outcome
    }

    fn read(&self) -> Result<Option<DatabaseUrl>, String> {
        let fresh = DatabaseUrl::read(&self.path)?;
        if fresh.expose() == self.now.expose() {
            return Ok(None);
        }
        // What is in memory is that database's, and at a start it was asked whose it is.
        if !self.now.differs_in_who_we_are_alone(&fresh) {
            return Err("more has changed than user and password; that takes a restart".to_owned());
        }
        Ok(Some(fresh))
    }
}
