//! The one poller of a replica: once a second it asks what changed, and reloads that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::arrears;
use super::outbox::{Reader, Turn};
use super::{Directory, KeyRing, Mirror};
use crate::clock::Clock;
use crate::domain::Revocation;
use crate::secret::Vault;
use crate::store::poll::{self, Poll};
use crate::store::versions::{self, Versions};
use crate::store::{Db, StoreError, clients, instance, keys, resources, root_secrets, secrets};

/// A poll that takes longer has failed; the next one may find a better connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many acts are written again in one transaction.
const AT_ONCE: usize = 250;

/// What a poll brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys were loaded.
    pub keys: bool,
    /// Clients and resources were loaded.
    pub directory: bool,
    /// So many revocations, which the database had lost, were written again.
    pub restored: usize,
    /// How far the database's clock and ours are apart.
    pub skew: Duration,
    /// What is in memory now.
    pub versions: Versions,
}

/// Keeps one [`Mirror`] fresh.
#[derive(Debug)]
pub struct Poller {
    db: Db,
    clock: Clock,
    mirror: Arc<Mirror>,
    secrets: Arc<Vault>,
    issuer: String,
    seen: Option<Versions>,
    reader: Reader,
    /// Acts that the database has lost and must get back.
    owed: Vec<Revocation>,
    restored: usize,
}

impl Poller {
    /// A poller that has seen nothing yet.
    pub fn new(
        db: Db,
        clock: Clock,
        mirror: Arc<Mirror>,
        secrets: Arc<Vault>,
        issuer: &str,
    ) -> Self {
        Self {
            db,
            clock,
            mirror,
            secrets,
            issuer: issuer.to_owned(),
            seen: None,
            reader: Reader::default(),
            owed: Vec::new(),
            restored: 0,
        }
    }

    /// Asks what changed, and reloads that. An error leaves everything as it was, only older.
    pub async fn poll(&mut self) -> Result<Reloaded, StoreError> {
        let polled = self.renew().await;
        if polled.is_err() {
            self.mirror.freshness.failed(self.clock.tick());
        }
        polled
    }

    async fn renew(&mut self) -> Result<Reloaded, StoreError> {
        self.reread_secrets();
        let Poll { versions, sample, .. } = self.read_acts().await?;
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
        self.secrets.settle();
        let skew = self.clock.follow(sample);
        self.mirror.freshness.succeeded(sample.sent);
        let restored = std::mem::take(&mut self.restored);
        Ok(Reloaded { keys, directory, restored, skew, versions })
    }

    /// Reads the outbox to its end; returns the last answer, to which the rest must be as fresh.
    async fn read_acts(&mut self) -> Result<Poll, StoreError> {
        loop {
            let late = StoreError::Unavailable("no answer to the poll in time".to_owned());
            let asked = poll::poll(&self.db, &self.clock, self.reader.cursor());
            let poll = timeout(PATIENCE, asked).await.unwrap_or(Err(late))?;
            match self.reader.take(&poll, &self.mirror.acts, self.clock.now()) {
                Turn::More => continue,
                Turn::Done => {}
                Turn::Lost(acts) => self.owed.extend(acts),
            }
            // What is in memory is obeyed either way; the next poll tries again.
            if let Err(error) = self.pay().await {
                tracing::warn!(%error, owed = self.owed.len(), "lost revocations: not written yet");
            }
            self.mirror.owed.store(!self.owed.is_empty(), Ordering::SeqCst);
            return Ok(poll);
        }
    }

    /// Writes again what the database has lost.
    async fn pay(&mut self) -> Result<(), StoreError> {
        while !self.owed.is_empty() {
            let some = self.owed.get(..self.owed.len().min(AT_ONCE)).unwrap_or_default();
            arrears::write_again(&self.db, some, self.clock.now()).await?;
            let count = some.len();
            self.owed.drain(..count);
            self.restored += count;
        }
        Ok(())
    }

    /// Takes over a changed root-secret file; then everything that it opens is opened again.
    fn reread_secrets(&mut self) {
        match self.secrets.reread() {
            Ok(false) => {}
            Ok(true) => {
                let ids: Vec<_> = self.secrets.now().ids().iter().map(|id| id.0).collect();
                tracing::info!(?ids, "the root-secret file was read again; the first seals");
                self.seen = None;
            }
            Err(error) => {
                tracing::error!(%error, "the root-secret file has changed and cannot be used; what \
                                         was read before goes on to work");
            }
        }
    }

    async fn load_keys(&self) -> Result<(), StoreError> {
        let retired = root_secrets::load(&self.db).await?;
        let stolen = retired.iter().filter(|one| one.compromised_at.is_some());
        self.secrets.distrust(&stolen.map(|one| one.id).collect::<Vec<_>>());
        let rows = keys::load(&self.db).await?;
        let ring = KeyRing::load(rows, &self.secrets.now(), &self.issuer, &self.mirror.keys());
        self.mirror.keys.store(Arc::new(ring));
        self.mirror.keys_loaded.store(self.clock.now().micros(), Ordering::Relaxed);
        Ok(())
    }

    async fn load_directory(&self) -> Result<(), StoreError> {
        let resources = resources::load(&self.db).await?;
        let clients = clients::load(&self.db).await?;
        let mut secrets = secrets::load(&self.db).await?;
        // Whoever stole a root secret and can write to the database could have made these.
        let root = self.secrets.now();
        secrets.retain(|one| !root.distrusts(one.pepper));
        let valid_from = instance::valid_from(&self.db).await?;
        let directory = Directory::new(clients, secrets, &resources, valid_from);
        self.mirror.directory.store(Arc::new(directory));
        Ok(())
    }
}
