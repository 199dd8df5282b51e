//! Refreshes that come together become one commit.
//!
//! A commit waits for a disk, and each connection for its commit; so under load the database does a
//! small multiple of its disk's flushes. Here whoever comes while others are at it is put together
//! with them into one statement. Who comes alone goes alone, and waits for nobody.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::domain::{ClientId, Family};
use crate::store::families::{self, Advance};
use crate::store::{Db, StoreError};

/// So many groups are under way at once on Postgres: while one waits for the disk, the next is put
/// together and computed.
const GROUPS: usize = 2;

/// So many may wait; beyond that callers are told to come again.
const WAITING: usize = 4096;

/// A step that takes longer is held up by somebody.
const HELD_UP: Duration = Duration::from_millis(100);

/// After so long a group sets out, also while more come.
const GATHERED: Duration = Duration::from_millis(2);

/// So many go together at most.
const TOGETHER: usize = 256;

type Outcome = Result<Option<Family>, StoreError>;
type Waiting = (Advance, oneshot::Sender<Outcome>);

/// Where refreshes are handed in.
#[derive(Debug)]
pub struct Rotator {
    batching: bool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// How many groups are under way, or about to be.
    groups: usize,
}

/// The right to take one group after the other.
struct Turn {
    rotator: Arc<Rotator>,
    is_over: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Its thread came to its end half-way: whoever comes next has the turn.
        if !self.is_over {
            self.rotator.queue().groups -= 1;
        }
    }
}

impl Rotator {
    /// One that puts refreshes together, or lets each go alone.
    pub fn new(batching: bool) -> Self {
        Self { batching, queue: Mutex::default() }
    }

    /// Takes a step, as [`families::advance`] does: alone, or together with others. It returns once
    /// the step is durable.
    pub(super) async fn advance(self: &Arc<Self>, db: &Db, step: Advance) -> Outcome {
        if !self.batching {
            return Box::pin(families::advance(db, &step)).await;
        }
        let (done, outcome) = oneshot::channel();
        if let Some(turn) = self.wait(db, (step, done))? {
            spawn_local(turn.run(db.clone()));
        }
        // Were the other end gone, nobody could say how far it had come.
        let outcome = outcome.instrument(tracing::trace_span!("rotate"));
        outcome.await.unwrap_or(Err(StoreError::Unknown))
    }

    /// Puts somebody among those who wait. Whoever finds nobody at work gets the turn.
    fn wait(self: &Arc<Self>, db: &Db, one: Waiting) -> Result<Option<Turn>, StoreError> {
        // SQLite has one writer: a second group could only wait for the first, and not grow meanwhile.
        let most = if db.is_postgres() { GROUPS } else { 1 };
        let mut queue = self.queue();
        if queue.waiting.len() >= WAITING {
            return Err(StoreError::Contended);
        }
        queue.waiting.push(one);
        if queue.groups >= most {
            return Ok(None);
        }
        queue.groups += 1;
        Ok(Some(Turn { rotator: Arc::clone(self), is_over: false }))
    }

    /// Lets those get to the queue first whose requests have come: the fewer groups, the less each of them
    /// costs. That takes no time that the thread would have nothing to do in.
    async fn gather(&self) {
        let began = Instant::now();
        // Who is alone after the first look sets out.
        let mut seen = 1;
        loop {
            // It comes back when the thread has looked for requests and gone through all that came.
            yield_now().await;
            let waiting = self.queue().waiting.len();
            if waiting <= seen || waiting >= TOGETHER || began.elapsed() > GATHERED {
                return;
            }
            seen = waiting;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Takes groups until nobody waits.
    async fn run(mut self, db: Db) {
        loop {
            self.rotator.gather().await;
            let Some(group) = self.next() else { return };
            let (first, again) = one_of_each(group);
            take(&db, first).await;
            // Most likely the family has moved on, and what these callers get is the successor. They
            // look for themselves: nobody else's refresh waits while one token comes a thousand times.
            for (_, done) in again {
                let _ = done.send(Ok(None));
            }
        }
    }

    /// Those who wait, or as many of them as go together. If there is nobody the turn is over in the
    /// same moment: whoever comes then finds that nobody is at work.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.rotator.queue();
        if queue.waiting.is_empty() {
            queue.groups -= 1;
            drop(queue);
            self.is_over = true;
            return None;
        }
        let count = queue.waiting.len().min(TOGETHER);
        let rest = queue.waiting.split_off(count);
        Some(mem::replace(&mut queue.waiting, rest))
    }
}

/// One of each that ask for the same, in the order of the families' ids, which is that of the index;
/// and what is left over. Another client's step does not take the place of the right one: of two for
/// one family the statement itself finds at most one to be right.
fn one_of_each(mut all: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    fn asks(step: &Advance) -> (Uuid, u32, &ClientId) {
        (step.id, step.from, &step.client)
    }
    all.sort_unstable_by(|(one, _), (other, _)| asks(one).cmp(&asks(other)));
    let (mut first, mut again) = (Vec::<Waiting>::with_capacity(all.len()), Vec::new());
    for one in all {
        let same = first.last().is_some_and(|(last, _)| asks(last) == asks(&one.0));
        if same { again.push(one) } else { first.push(one) }
    }
    (first, again)
}

/// Takes one step. It waits for a row that somebody else holds, which a group does not, and nobody
/// behind it is to wait for that row as well: after a while it goes on by itself.
async fn alone(db: &Db, (step, done): Waiting) {
    let db = db.clone();
    let taken = spawn_local(async move {
        let _ = done.send(families::advance(&db, &step).await);
    });
    let _ = timeout(HELD_UP, taken).await;
}

/// Takes the steps of as many families in one commit. If that fails each goes alone: what is wrong
/// with one must not be wrong with all.
async fn take(db: &Db, group: Vec<Waiting>) {
    let (steps, callers): (Vec<_>, Vec<_>) = match <[Waiting; 1]>::try_from(group) {
        Ok([one]) => return alone(db, one).await,
        Err(group) => group.into_iter().unzip(),
    };
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
