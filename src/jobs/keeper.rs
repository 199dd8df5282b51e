//! The keeper: carries out what is due, once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::EVERY;
use crate::clock::Clock;
use crate::domain::Time;
use crate::domain::family::RETENTION;
use crate::domain::revocation::MARGIN;
use crate::domain::schedule;
use crate::hashing::Hashing;
use crate::limits::Limits;
use crate::manage::{Desk, ManageError};
use crate::mirror::{Mirror, RingKey};
use crate::store::{StoreError, codes, families, native, revocations};
use crate::telemetry::{Held, Metrics};

/// So many beats lie between two looks for what can be forgotten.
const SWEEP_EVERY: u64 = 30;

/// So many batches are swept in one beat at most: keys and notes must not wait for the rest.
const SWEEPS_AT_ONCE: usize = 20;

/// So many beats lie between two times of forgetting callers whose budgets are full again.
const FORGET_EVERY: u64 = 10;

/// A mirror that is older has lost its database for now: there is nothing to write to.
const CONNECTED: Duration = Duration::from_secs(3);

/// Keeps one replica going.
#[derive(Debug)]
pub struct Keeper {
    /// What acts on the database.
    pub desk: Desk,
    /// What is in memory.
    pub mirror: Arc<Mirror>,
    /// The time.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The budgets of callers, of which old ones are forgotten.
    pub limits: Arc<Limits>,
    /// Where passwords are hashed.
    pub hashing: Hashing,
    /// Keys of which the database seems to have forgotten that they are stolen.
    pub suspected: Vec<String>,
    /// The family behind which the next look for idle ones begins.
    pub looked_at: Uuid,
    /// How often it has beaten.
    pub beats: u64,
}

impl Keeper {
    /// Beats until told to stop, then writes the last notes.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.beat().await,
                _ = stop.changed() => break,
            }
        }
        self.write_notes().await;
    }

    /// One beat. Nothing in it can fail the process: what does not work now is tried again.
    pub async fn beat(&mut self) {
        self.mirror.notes.forget_old(self.clock.now());
        if self.mirror.freshness.age(&self.clock) < CONNECTED {
            self.maintain().await;
            self.write_notes().await;
            if self.beats.is_multiple_of(SWEEP_EVERY) {
                self.sweep().await;
                self.weigh().await;
            }
        }
        self.beats = self.beats.wrapping_add(1);
        if self.beats.is_multiple_of(FORGET_EVERY) {
            self.limits.forget_old();
        }
        self.desk.db.tidy().await;
        self.show();
    }

    /// Carries out the key schedule, if it asks for anything.
    async fn maintain(&mut self) {
        let now = self.clock.now();
        let certain = self.clock.is_certain();
        let keys = self.mirror.keys().schedule();
        self.declare_again(now).await;
        self.reseal(now).await;
        if schedule::plan(&keys, &self.desk.policy, now, certain).is_empty() {
            return;
        }
        match self.desk.maintain(now, certain).await {
            Ok(done) => {
                for step in done {
                    tracing::info!(action = step.action, kid = %step.kid, "signing keys");
                }
            }
            Err(error) => {
                let class = match &error {
                    ManageError::Store(error) => error.class(),
                    _ => "key",
                };
                self.metrics.rotation_failed(class);
                tracing::error!(%error, "the key schedule could not be carried out; trying again");
            }
        }
        // What was done shows at once here, and at the next poll elsewhere.
        self.mirror.freshness.want();
    }

    /// Sees to it that the database knows of every theft that memory knows of: a standby that took
    /// over, or a restored backup, may not.
    async fn declare_again(&mut self, now: Time) {
        let keys = self.mirror.keys();
        let forgotten = |ring: &&RingKey| {
            ring.theft_forgotten
                || ring.key.compromised_at.is_none() && self.mirror.acts.names_key(&ring.key.kid)
        };
        let keys = keys.iter().filter(|ring| ring.opened.is_some()).filter(forgotten);
        let stolen: Vec<_> = keys.map(|ring| ring.key.kid.clone()).collect();
        // Twice in a row: acts are read a moment before the keys that they are about.
        let confirmed = !stolen.is_empty() && stolen == self.suspected;
        self.suspected.clone_from(&stolen);
        if !confirmed {
            return;
        }
        tracing::error!(
            ?stolen,
            "the database has forgotten that keys are stolen; telling it again"
        );
        if let Err(error) = self.desk.compromise_again(&stolen, now).await {
            tracing::error!(%error, "stolen keys could not be declared again; trying again");
        }
        self.mirror.freshness.want();
    }

    /// Seals keys under the root secret that seals now, if one was promoted.
    async fn reseal(&self, now: Time) {
        let secrets = self.desk.secrets.now();
        let current = secrets.current();
        let behind = |ring: &RingKey| ring.opened.is_some() && ring.secret != current;
        if !self.mirror.keys().iter().any(behind) {
            return;
        }
        match self.desk.reseal(now).await {
            Ok(0) => {}
            Ok(keys) => {
                tracing::info!(keys, "sealed under the root secret that seals now");
                self.mirror.freshness.want();
            }
            Err(error) => tracing::warn!(%error, "keys could not be sealed anew; trying again"),
        }
    }

    /// Forgets revocations that concern nothing alive any more, and codes: here, and, since that
    /// cannot be undone, in the database only while the clocks agree. A memory that forgets later than the
    /// database would take what was swept for lost, so the database waits.
    async fn sweep(&mut self) {
        let now = self.clock.now();
        self.mirror.acts.forget(now);
        if !self.clock.is_certain() {
            return;
        }
        let db = &self.desk.db;
        let mut all = true;
        all &= self.emptied("revocations", || revocations::sweep(db, now - MARGIN)).await;
        all &= self.emptied("codes", || codes::sweep(db, now)).await;
        all &= self.emptied("families", || families::sweep(db, now - RETENTION)).await;
        all &= self.sweep_idle(now - RETENTION).await;
        if all {
            self.metrics.swept_all(now);
        }
    }

    /// Looks at some of the families for those that fell idle before then, and goes on behind them the
    /// next time; false if that did not work.
    async fn sweep_idle(&mut self, idle_before: Time) -> bool {
        for _ in 0..SWEEPS_AT_ONCE {
            match families::sweep_idle(&self.desk.db, self.looked_at, idle_before).await {
                Ok(page) => {
                    self.metrics.swept("families", page.swept);
                    self.looked_at = page.next.unwrap_or(Uuid::nil());
                }
                Err(error) => {
                    tracing::warn!(%error, "idle families could not be swept; trying again");
                    return false;
                }
            }
            if self.looked_at.is_nil() {
                break;
            }
        }
        true
    }

    /// Sweeps until nothing old is left, which it returns, or for now there was enough of it.
    async fn emptied<F: Future<Output = Result<u64, StoreError>>>(
        &self,
        table: &str,
        sweep: impl Fn() -> F,
    ) -> bool {
        for _ in 0..SWEEPS_AT_ONCE {
            match sweep().await {
                Ok(0) => return true,
                Ok(rows) => self.metrics.swept(table, rows),
                Err(error) => {
                    tracing::warn!(%error, table, "what is old could not be swept; trying again");
                    return false;
                }
            }
        }
        false
    }

    /// Shows what families take on disk.
    async fn weigh(&self) {
        match native::storage(&self.desk.db).await {
            Ok(storage) => self.metrics.stored(storage.families, storage.bytes),
            Err(error) => tracing::warn!(%error, "what families take on disk could not be asked"),
        }
    }

    /// Writes down what the token path noted.
    pub async fn write_notes(&self) {
        let (uses, runs) = self.mirror.notes.take();
        if uses.is_empty() && runs.is_empty() {
            return;
        }
        if let Err(error) = self.desk.write_notes(&uses, &runs).await {
            tracing::warn!(%error, "notes could not be written; trying again");
            self.metrics.notes_dropped(self.mirror.notes.put_back(uses, runs));
        }
    }

    fn show(&self) {
        let keys = self.mirror.keys();
        let (open, idle) = self.desk.db.connections();
        let held = Held {
            age: self.mirror.freshness.age(&self.clock),
            open_connections: open as usize,
            idle_connections: idle,
            revocations: self.mirror.acts.len(),
            owed: self.mirror.is_owed_acts(),
            clients: self.mirror.directory().len(),
            limited_callers: self.limits.held(),
            notes: self.mirror.notes.waiting(),
            hashing: self.hashing.load(),
            keys_loaded: self.mirror.keys_loaded_at(),
            root_secrets: self.desk.secrets.now().ids().iter().map(|id| id.0).collect(),
            root_secrets_usable: self.desk.secrets.is_usable(),
            keys: keys.schedule(),
            key_troubles: keys.iter().filter(|key| key.trouble.is_some()).count(),
        };
        self.metrics.show(&held, self.clock.now());
    }
}
