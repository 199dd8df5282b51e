//! Writes revocations that requests ask for: those that come together share one transaction.
//!
//! All acts take their numbers from one row, so transactions of single acts would wait for each
//! other's commits. While one group is being written the next gathers; a lone act is written at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::Mirror;
use crate::clock::Clock;
use crate::domain::{Reason, Revocation};
use crate::store::{Db, StoreError, revocations};

/// So many acts may wait; beyond that callers are told to come again.
const WAITING: usize = 4096;

/// So many acts are written in one transaction.
const TOGETHER: usize = 512;

type Waiting = (Revocation, oneshot::Sender<Result<(), Reason>>);

/// Where requests hand their acts in.
#[derive(Debug)]
pub struct Writer {
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Default for Writer {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Writer {
    /// Returns once the act is durable.
    pub async fn write(&self, act: Revocation) -> Result<(), Reason> {
        let (done, outcome) = oneshot::channel();
        self.sender.try_send((act, done)).map_err(|_| Reason::Overloaded)?;
        let outcome = outcome.instrument(tracing::trace_span!("write"));
        outcome.await.unwrap_or(Err(Reason::DatabaseUnavailable))
    }

    /// Writes what is handed in for as long as the server runs.
    pub async fn run(mirror: Arc<Mirror>, db: Db, clock: Clock) {
        let receiver = mirror.writer.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut group = Vec::new();
        while receiver.recv_many(&mut group, TOGETHER).await > 0 {
            let (acts, callers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
            let outcome = append(&db, &acts).await;
            if outcome.is_ok() {
                // Before anybody is told: whoever asks this replica next must get the new answer.
                mirror.acts.wrote(&acts, clock.tick());
            }
            for caller in callers {
                // A caller that has gone away does not take its act back.
                let _ = caller.send(outcome);
            }
        }
    }
}

async fn append(db: &Db, acts: &[Revocation]) -> Result<(), Reason> {
    let write = || db.write(async |tx| revocations::append(tx, acts).await);
    let outcome = match write().await {
        // It happened or it did not; doing it again is the same as looking.
        Err(StoreError::Unknown) => write().await,
        outcome => outcome,
    };
    outcome.map_err(|error| {
        tracing::warn!(%error, acts = acts.len(), "revocations could not be written");
        Reason::DatabaseUnavailable
    })
}
