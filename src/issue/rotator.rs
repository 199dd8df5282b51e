//! Refreshes that come together become one commit.
//!
//! A commit waits for a disk, and each connection for its commit; so under load the database does a
//! small multiple of its disk's flushes. Here whoever comes while others are at it is put together
//! with them into one statement. Who comes alone goes alone, and waits for nobody.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::domain::{ClientId, Family};
use crate::store::advance::{self, Advance};
use crate::store::{Db, Lane, StoreError};

/// So many groups are under way at once where Postgres' connections are not set aside: while one waits
/// for the disk, the next is put together and computed.
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
pub(super) struct Rotator {
    batching: bool,
    db: Db,
    gatherings: Vec<Arc<Gathering>>,
}

/// Where those are put together whose requests one thread has; or several threads, if there are fewer lanes
/// than threads, or all of them where there are no lanes. A thread of its own gathering is never woken
/// late, by another one that has work of its own: it sends the group, and it is what the answer wakes.
#[derive(Debug)]
struct Gathering {
    db: Db,
    lane: Option<Lane>,
    /// So many groups are under way at most.
    most: usize,
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
    gathering: Arc<Gathering>,
    is_over: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Its thread came to its end half-way: whoever comes next has the turn. Who waits already might
        // wait for ever if nobody comes, and is to look for itself.
        let mut queue = self.gathering.queue();
        queue.groups -= 1;
        let left = if queue.groups == 0 { mem::take(&mut queue.waiting) } else { Vec::new() };
        drop(queue);
        drop(left);
    }
}

/// The number of this thread, among those that refreshes came to.
fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Rotator {
    /// One that puts refreshes together, or lets each go alone.
    pub(super) fn new(batching: bool, db: &Db) -> Self {
        let gathering = |lane, most| {
            Arc::new(Gathering { db: db.clone(), lane, most, queue: Mutex::default() })
        };
        let mut gatherings: Vec<_> =
            db.lanes().into_iter().map(|lane| gathering(Some(lane), 1)).collect();
        if gatherings.is_empty() {
            // SQLite has one writer: a second group could only wait for the first, and not grow meanwhile.
            gatherings.push(gathering(None, if db.is_postgres() { GROUPS } else { 1 }));
        }
        Self { batching, db: db.clone(), gatherings }
    }

    /// Takes a step, as [`advance::alone`] does: alone, or together with others. It returns once the step
    /// is durable.
    pub(super) async fn advance(&self, step: Advance) -> Outcome {
        let gathering = self.gatherings.get(thread() % self.gatherings.len());
        let Some(gathering) = gathering.filter(|_| self.batching) else {
            return Box::pin(advance::alone(&self.db, &step)).await;
        };
        let (done, outcome) = oneshot::channel();
        if let Some(turn) = gathering.wait((step, done))? {
            spawn_local(turn.run());
        }
        // Were the other end gone, nobody could say how far it had come.
        let outcome = outcome.instrument(tracing::trace_span!("rotate"));
        outcome.await.unwrap_or(Err(StoreError::Unknown))
    }
}

impl Gathering {
    /// Puts somebody among those who wait. Whoever finds nobody at work gets the turn.
    fn wait(self: &Arc<Self>, one: Waiting) -> Result<Option<Turn>, StoreError> {
        let mut queue = self.queue();
        if queue.waiting.len() >= WAITING {
            return Err(StoreError::Contended);
        }
        queue.waiting.push(one);
        if queue.groups >= self.most {
            return Ok(None);
        }
        queue.groups += 1;
        Ok(Some(Turn { gathering: Arc::clone(self), is_over: false }))
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

    /// Takes the steps of as many families in one commit. If that fails each goes alone: what is wrong
    /// with one must not be wrong with all.
    async fn take(&self, group: Vec<Waiting>) {
        let (steps, callers): (Vec<_>, Vec<_>) = match <[Waiting; 1]>::try_from(group) {
            Ok([one]) => return self.alone(one).await,
            Err(group) => group.into_iter().unzip(),
        };
        match self.together(&steps).await {
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
                    let _ = caller.send(advance::alone(&self.db, step).await);
                });
                futures_util::future::join_all(alone).await;
            }
        }
    }

    /// Takes steps together. Nobody waits for a row of somebody else's that is held.
    async fn together(&self, steps: &[Advance]) -> Result<Vec<Outcome>, StoreError> {
        if let Some(lane) = &self.lane {
            match advance::together_on(lane, steps).await {
                Err(StoreError::Contended) => {}
                outcomes => return outcomes,
            }
        }
        advance::together(&self.db, steps).await
    }

    /// Takes one step. It waits for a row that somebody else holds, which a group does not, and nobody
    /// behind it is to wait for that row as well: after a while it goes on by itself.
    async fn alone(&self, (step, done): Waiting) {
        if let Some(lane) = &self.lane {
            match advance::alone_on(lane, &step).await {
                Err(StoreError::Contended) => {}
                outcome => {
                    let _ = done.send(outcome);
                    return;
                }
            }
        }
        let db = self.db.clone();
        let taken = spawn_local(async move {
            let _ = done.send(advance::alone(&db, &step).await);
        });
        let _ = timeout(HELD_UP, taken).await;
    }
}

impl Turn {
    /// Takes groups until nobody waits.
    async fn run(mut self) {
        loop {
            self.gathering.gather().await;
            let Some(group) = self.next() else { return };
            let (first, again) = one_of_each(group);
            self.gathering.take(first).await;
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
        let mut queue = self.gathering.queue();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;
    use crate::store::{Open, Pooler};

    fn step() -> Advance {
        Advance {
            id: Uuid::nil(),
            from: 0,
            to: 1,
            now: Time::from_micros(0),
            attempt: 0,
            client: ClientId::parse("app").unwrap(),
            key_thumbprint: None,
        }
    }

    #[actix_web::test]
    async fn whoever_waits_is_told_when_the_thread_that_had_the_turn_ends() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("db").display());
        let open = Open { url: &url, connections: 1, pooler: Pooler::None };
        let db = Db::open(&open).await.unwrap();
        let rotator = Rotator::new(true, &db);
        let gathering = &rotator.gatherings[0];
        let wait = || {
            let (done, outcome) = oneshot::channel();
            (gathering.wait((step(), done)).unwrap(), outcome)
        };
        let (turn, mut first) = wait();
        let (none, mut second) = wait();
        assert!(turn.is_some() && none.is_none(), "one of them has the turn");
        drop(turn);
        for outcome in [&mut first, &mut second] {
            assert_eq!(outcome.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        }
        assert!(wait().0.is_some(), "nobody gets the turn any more");
    }
}
