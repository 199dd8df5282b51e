//! The database's URL, read again when its file changes: a password is rotated without a restart.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::EVERY;
use crate::config::DatabaseUrl;
use crate::secret::Watch;
use crate::store::Db;

/// Follows the file of `database.url_file`.
#[derive(Debug)]
pub struct UrlFile {
    db: Db,
    path: PathBuf,
    watch: Watch,
    /// What new connections use.
    now: DatabaseUrl,
}

impl UrlFile {
    /// A file that held this URL when the settings were read.
    pub fn new(db: Db, path: PathBuf, now: DatabaseUrl) -> Self {
        let watch = Watch::from_now(vec![path.clone()]);
        Self { db, path, watch, now }
    }

    /// Looks once a second until told to stop. Waiting for a connection to be refused would be too late:
    /// requests would be refused with it.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>) {
        // It may have changed while the server was starting.
        self.take();
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                _ = stop.changed() => return,
            }
            if self.watch.have_changed() {
                self.take();
            }
        }
    }

    /// Gives the URL to the connections to come. Those that are open stay: the database knows who they
    /// are, and ends them itself if it wants to.
    fn take(&mut self) {
        match self.read() {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                self.now = fresh;
                tracing::info!("new connections to the database use what its URL says now");
            }
            Err(problem) => tracing::error!(
                problem,
                file = %self.path.display(),
                "the file of the database's URL has changed and is not used; what it said before stays"
            ),
        }
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
        self.db.reconnect(fresh.expose()).map_err(|error| error.to_string())?;
        Ok(Some(fresh))
    }
}
