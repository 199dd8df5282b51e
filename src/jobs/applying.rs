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

/// A file that could not be applied, and did not change, is tried again after so many looks at most.
const LONGEST_PAUSE: u32 = 12;

/// Keeps one file applied.
#[derive(Debug)]
pub struct Applying {
    desk: Desk,
    clock: Clock,
    mirror: Arc<Mirror>,
    metrics: Arc<Metrics>,
    path: PathBuf,
    /// What was read when that was last tried, as it was then.
    read: Vec<ReadFile>,
    /// Why it could not be applied when that was last tried.
    complaint: Option<String>,
    /// So many tries have failed since it changed, …
    failures: u32,
    /// … and so many looks are let pass before the next.
    pause: u32,
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
            failures: 0,
            pause: 0,
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
    /// again, more and more rarely: what it lacks (a secret beside it, the database) may come later
    /// and without a change of the file itself. It is reported once for each cause.
    async fn look(&mut self) {
        if self.read.iter().any(ReadFile::has_changed) {
            (self.failures, self.pause) = (0, 0);
        } else if self.complaint.is_none() {
            return;
        } else if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let tried = self.apply_again().await;
        self.metrics.file_applied(tried.is_ok());
        match tried {
            Ok(()) => {
                if self.complaint.take().is_some() {
                    tracing::info!(file = %self.path.display(), "the apply file is sound again");
                }
                self.mirror.freshness.want();
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    async fn apply_again(&mut self) -> Result<(), ManageError> {
        // Marked before anything is read, so that no change is missed if reading fails.
        self.read = self.read.iter().map(ReadFile::again).collect();
        let file = ApplyFile::load(&self.path)?;
        apply(&self.desk, &file, &self.clock).await?;
        self.read = file.read;
        Ok(())
    }

    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::error!(
                file = %self.path.display(),
                error = complaint,
                "the apply file could not be applied; what was applied before stays; trying again"
            );
        }
        self.complaint = Some(complaint);
        self.failures += 1;
        self.pause = (1 << self.failures.min(8)).min(LONGEST_PAUSE) - 1;
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
