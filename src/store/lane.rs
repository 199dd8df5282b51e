//! Connections that are set aside, each for the groups of one thread as far as there are enough of them.
//!
//! A connection's answer wakes the thread that opened it. Out of the pool everybody gets whichever has
//! rested longest: nine times of ten that is another thread's, which goes on with its own work first,
//! and a server process of Postgres whose caches have gone cold. A refresh under load took a quarter
//! longer for that. And whatever goes back to the pool is asked first whether it is well, which is one
//! more round trip; so under load a lane keeps its connection for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

use super::arg::{Arg, Row, bound};
use super::db::{PATIENCE, POSTGRES, ended, within};
use super::failpoint::Failpoints;
use super::{Statement, StoreError};
use crate::telemetry::Measures;

/// A lane whose connection failed is left alone for so long.
const REST: Duration = Duration::from_secs(10);

/// So long a connection is kept. Whoever wants it then gives it back to the pool first, which looks
/// whether it is well, too old, or to be replaced by one with another URL.
const KEPT: Duration = Duration::from_millis(500);

/// So long a connection that is given back may take to say that it is well. A peer that fell silent
/// would have the place of another one for a quarter of an hour.
const LOOK: Duration = Duration::from_millis(250);

/// One connection to Postgres, opened by the thread that uses it first. What would wait there for
/// anybody is to be done elsewhere: it is one connection, and all of a thread's refreshes need it.
#[derive(Debug, Clone)]
pub struct Lane {
    pub(super) track: Arc<Track>,
    pub(super) failpoints: Failpoints,
    pub(super) measures: Measures,
}

/// What a lane's connection runs on, of which there is one however many handles there are.
#[derive(Debug)]
pub(super) struct Track {
    /// Its pool, of one.
    pub(super) pool: PgPool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// It failed, and is left alone until then.
    rests: Option<Instant>,
}

/// A connection that is kept, and since when.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Kept {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= KEPT
    }

    /// Gives it back to its pool, or cuts it off if it does not answer. The pool asks it once more, but
    /// would wait for that answer without end.
    async fn give_back(mut self) {
        if !matches!(timeout(LOOK, self.connection.ping()).await, Ok(Ok(()))) {
            drop(self.connection.detach());
        }
    }
}

impl Track {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, state: Mutex::default() }
    }

    /// Whether its connection is kept and nobody uses it.
    pub(super) fn is_kept(&self) -> bool {
        self.state().kept.is_some()
    }

    /// Gives back what is kept, and closes it.
    pub(super) async fn close(&self) {
        let closing = self.pool.close();
        drop(self.state().kept.take());
        closing.await;
    }

    /// What is kept, if anything is; [`StoreError::Contended`] if the connection is to be left alone.
    fn claim(&self) -> Result<Option<Kept>, StoreError> {
        let mut state = self.state();
        if state.rests.is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::Contended);
        }
        Ok(state.kept.take())
    }

    /// The connection: the one that was kept if it is not too long ago, or one of the pool.
    async fn take(&self, kept: Option<Kept>) -> Result<Kept, sqlx::Error> {
        match kept {
            Some(kept) if !kept.is_over() => return Ok(kept),
            Some(kept) => kept.give_back().await,
            None => {}
        }
        Ok(Kept { connection: self.pool.acquire().await?, since: Instant::now() })
    }

    /// Gives back what was kept for long enough and nobody wants.
    pub(super) async fn tidy(&self) {
        let over = self.state().kept.take_if(|kept| kept.is_over());
        if let Some(kept) = over {
            kept.give_back().await;
        }
    }

    fn keep(&self, kept: Kept) {
        let mut state = self.state();
        if !self.pool.is_closed() {
            state.kept = Some(kept);
        }
    }

    fn rest(&self) {
        self.state().rests = Some(Instant::now() + REST);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Giving it back takes a task: where no runtime is left for that it is cut off.
        if Handle::try_current().is_err() {
            drop(state.kept.take().map(|kept| kept.connection.detach()));
        }
    }
}

impl Lane {
    /// Does one statement that is an act by itself, as [`Db::write_alone`](super::Db::write_alone) does,
    /// but once. [`StoreError::Contended`] if somebody holds a row that it needs or the connection cannot
    /// be had, whatever the reason: nothing was written, and the pool may do better.
    pub async fn write_alone<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let kept = self.track.claim()?;
        let begun = self.measures.begin();
        let (mut sent, mut used) = (false, None);
        let done = within(PATIENCE, async {
            let using = used.insert(self.track.take(kept).await?);
            sent = true;
            self.failpoints.before_commit()?;
            let rows = bound!(Postgres sqlx::query_as::<Postgres, T>(statement.sql), args)
                .fetch_all(&mut *using.connection)
                .instrument(statement.span(POSTGRES))
                .await?;
            // Only what answered in peace is kept; anything else the pool is to look at.
            if let Some(used) = used.take() {
                self.track.keep(used);
            }
            self.failpoints.after_commit()?;
            Ok(rows)
        });
        match ended(&begun, done.await) {
            Err(_) if !sent => {
                self.track.rest();
                Err(StoreError::Contended)
            }
            Err(StoreError::Unavailable(_)) => {
                // To ask it whether it is well could take as long as it did not answer.
                drop(used.map(|used| used.connection.detach()));
                self.track.rest();
                Err(StoreError::Unknown)
            }
            outcome => outcome,
        }
    }
}
