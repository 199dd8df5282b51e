//! Connections that are set aside, each for the groups of one thread.
//!
//! A connection's answer wakes the thread that opened it. Out of the pool everybody gets whichever has
//! rested longest: nine times of ten that is another thread's, which goes on with its own work first,
//! and a server process of Postgres whose caches have gone cold. A refresh under load took a quarter
//! longer for that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{PgPool, Postgres};
use tracing::Instrument;

use super::arg::{Arg, Row, bound};
use super::db::{PATIENCE, POSTGRES, ended, within};
use super::failpoint::Failpoints;
use super::{Statement, StoreError};
use crate::telemetry::Measures;

/// A lane whose connection failed is left alone for so long.
const REST: Duration = Duration::from_secs(10);

/// One connection to Postgres, opened by the thread that uses it first. What would wait there for
/// anybody is to be done elsewhere: it is one connection, and all of a thread's refreshes need it.
#[derive(Debug, Clone)]
pub struct Lane {
    pub(super) pool: PgPool,
    pub(super) failpoints: Failpoints,
    pub(super) measures: Measures,
    pub(super) rests: Rests,
}

/// Until when it is left alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Rests(Arc<Mutex<Option<Instant>>>);

impl Rests {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    }

    fn are_over(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| Instant::now() > until)
    }
}

impl Lane {
    /// Does one statement that is an act by itself, as [`Db::write_alone`](super::Db::write_alone) does,
    /// but once. [`StoreError::Contended`] if somebody holds a row that it needs or the connection cannot
    /// be had: nothing was written.
    pub async fn write_alone<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        if !self.rests.are_over() {
            return Err(StoreError::Contended);
        }
        let begun = self.measures.begin();
        let mut sent = false;
        let done = within(PATIENCE, async {
            let mut connection = self.pool.acquire().await?;
            sent = true;
            self.failpoints.before_commit()?;
            let rows = bound!(Postgres sqlx::query_as::<Postgres, T>(statement.sql), args)
                .fetch_all(&mut *connection)
                .instrument(statement.span(POSTGRES))
                .await?;
            self.failpoints.after_commit()?;
            Ok(rows)
        });
        match ended(&begun, done.await) {
            Err(StoreError::Unavailable(_)) => {
                self.rests.begin();
                Err(if sent { StoreError::Unknown } else { StoreError::Contended })
            }
            outcome => outcome,
        }
    }
}
