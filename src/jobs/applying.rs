//! The file of `serve --apply`, applied again when it changes: its own text, or a secret or password
//! that it names. An orchestrator replaces such files under a running server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::manage::apply::{ApplyFile, Generated, Options, ReadFile};
use crate::manage::{Desk, ManageError};
use crate::mirror::Mirror;
use crate::telemetry::Metrics;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps one file applied.
#[derive(Debug)]
pub struct Applying {
    desk: Desk,
    clock: Clock,
    mirror: Arc<Mirror>,
    metrics: Arc<Metrics>,
    path: PathBuf,
    /// What was read when it was last applied.
    read: Vec<ReadFile>,
    /// Why it could not be applied when that was last tried.
    complaint: Option<String>,
}

impl Applying {
    /// Reads and applies a file for the first time. At a start a bad file is a reason not to serve.
    pub async fn begin(
        path: PathBuf,
        desk: &Desk,
        clock: &Clock,
        mirror: &Arc<Mirror>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ManageError> {
        let file = ApplyFile::load(&path)?;
        apply(desk, &file, clock).await?;
        metrics.file_applied(true);
        Ok(Self {
            desk: desk.clone(),
            clock: clock.clone(),
            mirror: Arc::clone(mirror),
            metrics: Arc::clone(metrics),
            path,
            read: file.read,
            complaint: None,
        })
    }

    /// Looks every few seconds until told to stop.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut beat = interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.look().await,
                _ = stop.changed() => return,
            }
        }
    }

    /// Applies the file if it has changed. One that cannot be applied changes nothing and is tried
    /// again until it can: what it lacks (a secret beside it, the database) may come later and
    /// without a change of the file itself. It is reported once for each cause.
    async fn look(&mut self) {
        if self.complaint.is_none() && !self.read.iter().any(ReadFile::has_changed) {
            return;
        }
        match self.apply_again().await {
            Ok(()) => {
                if self.complaint.take().is_some() {
                    tracing::info!(file = %self.path.display(), "the apply file is sound again");
                }
                self.metrics.file_applied(true);
                self.mirror.freshness.want();
            }
            Err(error) => {
                self.metrics.file_applied(false);
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(
                        file = %self.path.display(),
                        error = complaint,
                        "the apply file could not be applied; what was applied before stays; \
                         trying again"
                    );
                }
                self.complaint = Some(complaint);
            }
        }
    }

    async fn apply_again(&mut self) -> Result<(), ManageError> {
        let file = ApplyFile::load(&self.path)?;
        apply(&self.desk, &file, &self.clock).await?;
        self.read = file.read;
        Ok(())
    }
}

/// Applies a file as a server does: it has nowhere to put generated secrets, and deletes nothing.
pub async fn apply(desk: &Desk, file: &ApplyFile, clock: &Clock) -> Result<(), ManageError> {
    let nowhere = |generated: &[Generated]| {
        if generated.is_empty() {
            Ok(())
        } else {
            Err("generate_secret needs a place for the secret: run `jeton apply -f FILE \
                 --secrets-out FILE` first"
                .to_owned())
        }
    };
    let report = desk.apply(file, Options::default(), clock.now(), nowhere).await?;
    for change in &report.changes {
        tracing::info!(%change, "applied");
    }
    Ok(())
}
