//! Refreshes that come together become one commit.
//!
//! A commit waits for a disk, and each connection for its commit; so under load the database does a
//! small multiple of its disk's flushes. Here whoever comes while others are at it is put together
//! with them into one statement. Who comes alone goes alone, and waits for nobody.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::domain::Family;
use crate::store::families::{self, Advance};
use crate::store::{Db, StoreError};

/// So many may go alone at once; whoever comes beyond that goes together with others.
const ALONE: usize = 2;

/// So many groups are under way at once on Postgres: while one waits for the disk, the next is put
/// together and computed.
const GROUPS: usize = 2;

/// So many may wait; beyond that callers are told to come again.
const WAITING: usize = 4096;

/// So many go together at most.
const TOGETHER: usize = 256;

type Outcome = Result<Option<Family>, StoreError>;
type Waiting = (Advance, oneshot::Sender<Outcome>);

/// Where refreshes are handed in.
#[derive(Debug)]
pub struct Rotator {
    batching: bool,
    under_way: AtomicUsize,
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

/// One that is under way, until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Rotator {
    /// One that puts refreshes together, or lets each go alone.
    pub fn new(batching: bool) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = Mutex::new(Some(receiver));
        Self { batching, under_way: AtomicUsize::new(0), sender, receiver }
    }

    /// Takes a step, as [`families::advance`] does: alone, or together with others. It returns once
    /// the step is durable.
    pub(super) async fn advance(&self, db: &Db, step: Advance) -> Outcome {
        let others = self.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&self.under_way);
        if !self.batching || others < ALONE {
            return families::advance(db, &step).await;
        }
        let (done, outcome) = oneshot::channel();
        self.sender.try_send((step, done)).map_err(|_| StoreError::Contended)?;
        // Were the other end gone, nobody could say how far it had come.
        outcome.await.unwrap_or(Err(StoreError::Unknown))
    }

    /// Takes what is handed in for as long as the server runs.
    pub async fn run(self: Arc<Self>, db: Db) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(receiver) = receiver else { return };
        let receiver = tokio::sync::Mutex::new(receiver);
        // SQLite has one writer: a second group could only wait for the first, and not grow meanwhile.
        let groups = if db.is_postgres() { GROUPS } else { 1 };
        futures_util::future::join_all((0..groups).map(|_| collect(&receiver, &db))).await;
    }
}

/// Takes one group after the other; while it does, whoever comes waits for another of these, or
/// becomes its next group.
async fn collect(receiver: &tokio::sync::Mutex<mpsc::Receiver<Waiting>>, db: &Db) {
    let mut group = Vec::new();
    // Held until somebody comes, and let go before the database is asked.
    while receiver.lock().await.recv_many(&mut group, TOGETHER).await > 0 {
        let (first, again) = one_of_each(group.drain(..));
        take(db, first).await;
        // Most likely the family has moved on, and what these callers get is the successor. They
        // look for themselves: nobody else's refresh waits while one token comes a thousand times.
        for (_, done) in again {
            let _ = done.send(Ok(None));
        }
    }
}

/// One of each that ask for the same, in the order of the families' ids, which is that of the index;
/// and what is left over. Another client's step does not take the
/// place of the right one: of two for one family the statement itself finds at most one to be right.
fn one_of_each(all: impl Iterator<Item = Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut seen = HashSet::new();
    let same = |step: &Advance| (step.id, step.from, step.client.clone());
    let (mut first, again): (Vec<_>, Vec<_>) = all.partition(|(step, _)| seen.insert(same(step)));
    first.sort_by_key(|(step, _)| step.id);
    (first, again)
}

/// Takes the steps of as many families in one commit. If that fails each goes alone: what is wrong
/// with one must not be wrong with all.
async fn take(db: &Db, group: Vec<Waiting>) {
    let (steps, callers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    if let [step] = steps.as_slice() {
        for caller in callers {
            let _ = caller.send(families::advance(db, step).await);
        }
        return;
    }
    match families::advance_many(db, &steps).await {
        Ok(outcomes) => {
            for (outcome, caller) in outcomes.into_iter().zip(callers) {
                // A caller that has gone away does not take its step back.
                let _ = caller.send(outcome);
            }
        }
        // It happened, or it did not; or there is no database now, for one as little as for all.
        Err(StoreError::Unknown | StoreError::Unavailable(_)) => {
            for caller in callers {
                let _ = caller.send(Err(StoreError::Unknown));
            }
        }
        Err(error) => {
            tracing::warn!(%error, refreshes = steps.len(), "refreshes could not go together");
            let alone = steps.iter().zip(callers).map(async |(step, caller)| {
                let _ = caller.send(families::advance(db, step).await);
            });
            futures_util::future::join_all(alone).await;
        }
    }
}
