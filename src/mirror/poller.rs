//! The one poller of a replica: once a second it asks what changed, and reloads that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::{Directory, KeyRing, Mirror};
use crate::clock::Clock;
use crate::secret::RootSecrets;
use crate::store::versions::{self, Versions};
use crate::store::{Db, StoreError, clients, keys, resources, secrets};

/// A poll that takes longer has failed; the next one may find a better connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a poll brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys were loaded.
    pub keys: bool,
    /// Clients and resources were loaded.
    pub directory: bool,
    /// How far the database's clock and ours are apart.
    pub skew: Duration,
}

/// Keeps one [`Mirror`] fresh.
#[derive(Debug)]
pub struct Poller {
    db: Db,
    clock: Clock,
    mirror: Arc<Mirror>,
    secrets: Arc<RootSecrets>,
    issuer: String,
    seen: Option<Versions>,
}

impl Poller {
    /// A poller that has seen nothing yet.
    pub fn new(
        db: Db,
        clock: Clock,
        mirror: Arc<Mirror>,
        secrets: Arc<RootSecrets>,
        issuer: &str,
    ) -> Self {
        Self { db, clock, mirror, secrets, issuer: issuer.to_owned(), seen: None }
    }

    /// Asks once, and reloads what changed. An error leaves everything as it was, only older.
    pub async fn poll(&mut self) -> Result<Reloaded, StoreError> {
        let late = StoreError::Unavailable("no answer to the poll in time".to_owned());
        let asked = timeout(PATIENCE, versions::poll(&self.db, &self.clock)).await;
        let (versions, sample) = asked.unwrap_or(Err(late))?;
        let changed = |part: fn(&Versions) -> versions::Version| {
            self.seen.is_none_or(|seen| part(&seen) != part(&versions))
        };
        let (keys, directory) = (changed(|v| v.keys), changed(|v| v.directory));
        if keys {
            self.load_keys().await?;
        }
        if directory {
            self.load_directory().await?;
        }
        // Only now: if a reload failed, the next poll must try it again, and what is in memory is
        // not as fresh as this poll.
        self.seen = Some(versions);
        let skew = self.clock.follow(sample);
        self.mirror.good_poll(sample.sent);
        Ok(Reloaded { keys, directory, skew })
    }

    async fn load_keys(&self) -> Result<(), StoreError> {
        let rows = keys::load(&self.db).await?;
        let ring = KeyRing::load(rows, &self.secrets, &self.issuer, &self.mirror.keys());
        self.mirror.keys.store(Arc::new(ring));
        self.mirror.keys_loaded.store(self.clock.now().micros(), Ordering::Relaxed);
        Ok(())
    }

    async fn load_directory(&self) -> Result<(), StoreError> {
        let resources = resources::load(&self.db).await?;
        let clients = clients::load(&self.db).await?;
        let secrets = secrets::load(&self.db).await?;
        let directory = Directory::new(clients, secrets, &resources);
        self.mirror.directory.store(Arc::new(directory));
        Ok(())
    }
}
