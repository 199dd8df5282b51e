//! The poll. It has a task of its own, so that no slow work of the keeper makes memory stale.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::EVERY;
use crate::clock::WARN;
use crate::mirror::{Mirror, Poller};
use crate::store::StoreError;
use crate::telemetry::Metrics;

/// Keeps the mirror fresh.
#[derive(Debug)]
pub struct Polling {
    poller: Poller,
    mirror: Arc<Mirror>,
    metrics: Arc<Metrics>,
    /// Whether the last poll succeeded, so that only a change is logged.
    connected: bool,
    /// Whether the clocks agreed at the last poll.
    agreed: bool,
}

impl Polling {
    /// Polling that has not begun.
    pub fn new(poller: Poller, mirror: Arc<Mirror>, metrics: Arc<Metrics>) -> Self {
        Self { poller, mirror, metrics, connected: true, agreed: true }
    }

    /// Polls once a second, and at once when a request needs it, until told to stop.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mirror = Arc::clone(&self.mirror);
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = mirror.freshness.wanted() => {}
                _ = stop.changed() => return,
            }
            // What went wrong was logged, and the next poll may go right.
            let _ = self.poll().await;
        }
    }

    /// Polls once.
    pub async fn poll(&mut self) -> Result<(), StoreError> {
        let polled = self.poller.poll().await;
        self.metrics.polled(polled.as_ref().ok().map(|poll| poll.skew));
        match &polled {
            Ok(_) if !self.connected => tracing::info!("the database is back"),
            Err(error) if self.connected => {
                tracing::warn!(%error, "the database does not answer; serving from memory");
            }
            _ => {}
        }
        self.connected = polled.is_ok();
        let poll = polled?;
        self.metrics.loaded("keys", poll.versions.keys.number);
        self.metrics.loaded("directory", poll.versions.directory.number);
        if poll.restored > 0 {
            self.metrics.restored(poll.restored);
            tracing::error!(
                acts = poll.restored,
                "the database had lost revocations (a failover, a restored backup?); they were \
                 written again"
            );
        }
        let agree = poll.skew <= WARN;
        if !agree && self.agreed {
            tracing::warn!(
                skew_seconds = poll.skew.as_secs_f64(),
                "this machine's clock and the common time differ; see to its time service, and \
                 restart jeton once it is right if it runs on SQLite"
            );
        }
        self.agreed = agree;
        Ok(())
    }
}
