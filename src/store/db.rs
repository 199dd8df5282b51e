//! The seam between one SQL text and two databases.
//!
//! `Db` reads; writes exist only on `Tx`, and every `Tx` comes from [`Db::write`], so that no write
//! can land on SQLite's read-only pool, forget its commit, or be retried by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use sqlx::{Executor, PgPool, Postgres, SqlSafeStr, SqlStr, Sqlite, SqlitePool, Transaction};
use tokio::time::timeout;
use tracing::Instrument;

use super::arg::{Arg, Row, bound};
use super::error::StoreError;
use super::failpoint::{Failpoints, Fault};
use super::lane::{Lane, Track};
use super::open::{self, Open, Pooler, Turn};
use super::{On, Statement, native};
use crate::telemetry::{Act, Measures};

/// Longest wait for one act on the database, connection included. A caller is better served by a
/// 503 now than by an answer that its own timeout cuts off.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for an act that an operator started and waits for.
pub const LONG: Duration = Duration::from_secs(600);

/// How often a transaction that lost a race is tried again.
const RETRIES: u64 = 12;

/// The databases' names in traces.
pub(super) const POSTGRES: &str = "postgresql";
const SQLITE: &str = "sqlite";

/// A statement that is an act by itself is not tried again after so long: it may have waited for a
/// row each time, and whoever asked waits too.
const ENOUGH: Duration = Duration::from_secs(2);

/// A database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Pool,
    failpoints: Failpoints,
    measures: Measures,
}

#[derive(Debug, Clone)]
enum Pool {
    Postgres { pool: PgPool, lanes: Arc<[Arc<Track>]>, pooler: Pooler, turn: Turn },
    Sqlite { readers: SqlitePool, writer: SqlitePool },
}

/// A transaction; [`Db::write`] makes it and commits it.
#[derive(Debug)]
pub enum Tx {
    /// On Postgres. A pooler in transaction mode must see no named statement: two clients of ours would give
    /// the same name to different statements on one server connection.
    Postgres(Transaction<'static, Postgres>, Pooler),
    /// On SQLite's one writer, begun as a writer so that it cannot fail half-way for being busy.
    Sqlite(Transaction<'static, Sqlite>),
}

impl Db {
    /// Opens a database. For Postgres nothing is contacted yet; a SQLite file is made if need be.
    pub async fn open(open: &Open<'_>) -> Result<Self, StoreError> {
        let pool = match open.url.strip_prefix("sqlite:") {
            Some(path) => {
                let (readers, writer) = open::sqlite(Path::new(path)).await?;
                Pool::Sqlite { readers, writer }
            }
            None => {
                let turn = Turn::default();
                let (pool, lanes) = open::postgres(open, &turn)?;
                let lanes = lanes.into_iter().map(|pool| Arc::new(Track::new(pool))).collect();
                Pool::Postgres { pool, lanes, pooler: open.pooler, turn }
            }
        };
        Ok(Self { pool, failpoints: Failpoints::new(), measures: Measures::none() })
    }

    /// The same database, whose acts are measured from now on.
    #[must_use]
    pub fn measured_by(self, measures: Measures) -> Self {
        Self { measures, ..self }
    }

    /// Whether it is Postgres, which keeps time for all replicas.
    pub const fn is_postgres(&self) -> bool {
        matches!(self.pool, Pool::Postgres { .. })
    }

    /// The pool of Postgres, for what must look at single connections.
    pub(super) const fn postgres(&self) -> Option<&PgPool> {
        match &self.pool {
            Pool::Postgres { pool, .. } => Some(pool),
            Pool::Sqlite { .. } => None,
        }
    }

    /// The connections that are set aside for single threads; none on SQLite, behind a pooler in transaction
    /// mode, or where there are few of them.
    pub fn lanes(&self) -> Vec<Lane> {
        let Pool::Postgres { lanes, .. } = &self.pool else { return Vec::new() };
        let lane = |track: &Arc<Track>| Lane {
            track: Arc::clone(track),
            failpoints: self.failpoints.clone(),
            measures: self.measures.clone(),
        };
        lanes.iter().map(lane).collect()
    }

    /// Opens further connections by another URL; those that are open are replaced when they are next wanted.
    pub fn reconnect(&self, url: &str) -> Result<(), StoreError> {
        if let Pool::Postgres { pool, lanes, pooler, turn } = &self.pool {
            let options = open::options(url, *pooler)?;
            for pool in lanes.iter().map(|track| &track.pool).chain([pool]) {
                pool.set_connect_options(options.clone());
            }
            turn.happens();
        }
        Ok(())
    }

    /// A connection of its own by another URL, to see where that leads.
    pub async fn single(&self, url: &str) -> Result<Self, StoreError> {
        let pooler = match &self.pool {
            Pool::Postgres { pooler, .. } => *pooler,
            Pool::Sqlite { .. } => Pooler::None,
        };
        Self::open(&Open { url, connections: 1, pooler }).await
    }

    /// Connections open and idle, for the metric.
    pub fn connections(&self) -> (u32, usize) {
        match &self.pool {
            Pool::Postgres { pool, lanes, .. } => {
                let count = |(open, idle), track: &Arc<Track>| {
                    let kept = usize::from(track.is_kept());
                    (open + track.pool.size(), idle + track.pool.num_idle() + kept)
                };
                lanes.iter().fold((pool.size(), pool.num_idle()), count)
            }
            Pool::Sqlite { readers, writer } => {
                (readers.size() + writer.size(), readers.num_idle() + writer.num_idle())
            }
        }
    }

    /// Gives back connections that lanes have kept and nobody wants: there they may be closed for being
    /// old, or somebody else's.
    pub async fn tidy(&self) {
        if let Pool::Postgres { lanes, .. } = &self.pool {
            join_all(lanes.iter().map(|track| track.tidy())).await;
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Postgres { pool, lanes, .. } => {
                // All at once: one that does not answer keeps no other from its farewell.
                join(join_all(lanes.iter().map(|track| track.close())), pool.close()).await;
            }
            Pool::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// Queues faults that the next writes meet around their commits: for tests.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.failpoints.queue(faults);
    }

    /// Reads all rows. On a database that is serializable a read can lose a race, too; then it is done
    /// again.
    pub async fn all<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let begun = self.measures.begin();
        let rows = within(PATIENCE, async {
            for attempt in 0..RETRIES {
                match self.read(statement, args).await {
                    Err(StoreError::Contended) => pause(attempt).await,
                    outcome => return outcome,
                }
            }
            Err(StoreError::Contended)
        });
        ended(&begun, rows.await)
    }

    async fn read<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let sql = statement.sql;
        Ok(match &self.pool {
            Pool::Postgres { pool, pooler: Pooler::None, .. } => {
                bound!(Postgres sqlx::query_as::<Postgres, T>(sql), args)
                    .fetch_all(pool)
                    .instrument(statement.span(POSTGRES))
                    .await?
            }
            Pool::Postgres { pool, pooler: Pooler::Transaction, .. } => {
                let mut tx = Tx::Postgres(pool.begin().await?, Pooler::Transaction);
                let rows = tx.all(statement, args).await?;
                tx.commit().await?;
                rows
            }
            Pool::Sqlite { readers, .. } => {
                bound!(Sqlite sqlx::query_as::<Sqlite, T>(sql), args)
                    .fetch_all(readers)
                    .instrument(statement.span(SQLITE))
                    .await?
            }
        })
    }

    /// Reads at most one row.
    pub async fn one<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(statement, args).await?.pop())
    }

    /// Does one act in one transaction and commits it. An act that loses a race (serialization
    /// failure, deadlock) is done again from its start; an act that fails is rolled back.
    ///
    /// A security write is a value that `act` returns, never an error, so that it is committed. If
    /// the connection breaks during the commit, the answer is [`StoreError::Unknown`].
    pub async fn write<T>(
        &self,
        act: impl AsyncFn(&mut Tx) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_within(PATIENCE, act).await
    }

    /// The same for an act that may take its time: a migration, a file with a thousand clients.
    pub async fn write_within<T>(
        &self,
        patience: Duration,
        act: impl AsyncFn(&mut Tx) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        for attempt in 0..RETRIES {
            let begun = self.measures.begin();
            let span = tracing::trace_span!("transaction", otel.kind = "client");
            let tried = self.attempt(patience, &act).instrument(span);
            match ended(&begun, tried.await) {
                // It may have waited for a row each time.
                Err(StoreError::Contended) if began.elapsed() < patience => pause(attempt).await,
                outcome => return outcome,
            }
        }
        Err(StoreError::Contended)
    }

    async fn attempt<T>(
        &self,
        patience: Duration,
        act: &impl AsyncFn(&mut Tx) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (tx, value) = within(patience, async {
            let mut tx = match &self.pool {
                Pool::Postgres { pool, pooler, .. } => {
                    let mut tx = Tx::Postgres(pool.begin().await?, *pooler);
                    if patience > PATIENCE {
                        native::take_time(&mut tx).await?;
                    } else if *pooler == Pooler::Transaction {
                        native::hurry(&mut tx).await?;
                    }
                    tx
                }
                Pool::Sqlite { writer, .. } => {
                    Tx::Sqlite(writer.begin_with("begin immediate").await?)
                }
            };
            let value = act(&mut tx).await?;
            Ok((tx, value))
        })
        .await?;
        self.failpoints.before_commit()?;
        let committed = timeout(PATIENCE, tx.commit()).await.unwrap_or(Err(StoreError::Unknown));
        self.failpoints.after_commit()?;
        committed.map(|()| value)
    }

    /// Does one statement that is an act by itself, and reads the rows that it returns. It is one round
    /// trip: the database commits it before it answers. So an answer that does not come is
    /// [`StoreError::Unknown`], wherever it was lost.
    pub async fn write_alone<T: Row>(
        &self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let sql = statement.sql;
        let (began, mut lost) = (Instant::now(), 0);
        loop {
            let begun = self.measures.begin();
            let done = within(PATIENCE, async {
                self.failpoints.before_commit()?;
                let rows = match &self.pool {
                    Pool::Postgres { pool, pooler: Pooler::None, .. } => {
                        bound!(Postgres sqlx::query_as::<Postgres, T>(sql), args)
                            .fetch_all(pool)
                            .instrument(statement.span(POSTGRES))
                            .await?
                    }
                    Pool::Postgres { pool, pooler: Pooler::Transaction, .. } => {
                        let mut tx = Tx::Postgres(pool.begin().await?, Pooler::Transaction);
                        native::hurry(&mut tx).await?;
                        let rows = tx.all(statement, args).await?;
                        tx.commit().await?;
                        rows
                    }
                    Pool::Sqlite { writer, .. } => {
                        bound!(Sqlite sqlx::query_as::<Sqlite, T>(sql), args)
                            .fetch_all(writer)
                            .instrument(statement.span(SQLITE))
                            .await?
                    }
                };
                self.failpoints.after_commit()?;
                Ok(rows)
            });
            match ended(&begun, done.await) {
                Err(StoreError::Contended) if lost < RETRIES && began.elapsed() < ENOUGH => {
                    pause(lost).await;
                }
                Err(StoreError::Unavailable(_)) => return Err(StoreError::Unknown),
                outcome => return outcome,
            }
            lost += 1;
        }
    }

    /// Asks the database to parse and plan a statement without running it.
    pub async fn prepare(&self, statement: &Statement) -> Result<(), StoreError> {
        let sql: SqlStr = statement.sql.into_sql_str();
        match &self.pool {
            Pool::Postgres { pool, .. } if statement.on != On::Sqlite => {
                pool.prepare(sql).await.map(drop)?;
            }
            Pool::Sqlite { writer, .. } if statement.on != On::Postgres => {
                writer.prepare(sql).await.map(drop)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Tx {
    /// Runs a statement and says how many rows it touched.
    pub async fn run(
        &mut self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<u64, StoreError> {
        let sql = statement.sql;
        Ok(match self {
            Tx::Postgres(tx, pooler) => {
                bound!(Postgres sqlx::query::<Postgres>(sql), *pooler == Pooler::None, args)
                    .execute(&mut **tx)
                    .instrument(statement.span(POSTGRES))
                    .await?
                    .rows_affected()
            }
            Tx::Sqlite(tx) => bound!(Sqlite sqlx::query::<Sqlite>(sql), args)
                .execute(&mut **tx)
                .instrument(statement.span(SQLITE))
                .await?
                .rows_affected(),
        })
    }

    /// Reads all rows, or those that a `returning` clause yields.
    pub async fn all<T: Row>(
        &mut self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let sql = statement.sql;
        Ok(match self {
            Tx::Postgres(tx, pooler) => {
                bound!(Postgres sqlx::query_as::<Postgres, T>(sql), *pooler == Pooler::None, args)
                    .fetch_all(&mut **tx)
                    .instrument(statement.span(POSTGRES))
                    .await?
            }
            Tx::Sqlite(tx) => {
                bound!(Sqlite sqlx::query_as::<Sqlite, T>(sql), args)
                    .fetch_all(&mut **tx)
                    .instrument(statement.span(SQLITE))
                    .await?
            }
        })
    }

    /// Reads at most one row.
    pub async fn one<T: Row>(
        &mut self,
        statement: &Statement,
        args: &[Arg<'_>],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(statement, args).await?.pop())
    }

    /// Runs a script of several statements, without parameters: a migration.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Tx::Postgres(tx, _) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
            Tx::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), StoreError> {
        let done = match self {
            Tx::Postgres(tx, _) => tx.commit().await,
            Tx::Sqlite(tx) => tx.commit().await,
        };
        done.map_err(|error| match StoreError::from(error) {
            // A server that answers decides; a connection that breaks leaves it open.
            StoreError::Unavailable(_) => StoreError::Unknown,
            decided => decided,
        })
    }
}

/// One try at an act has ended; counts it if it failed.
pub(super) fn ended<T>(begun: &Act<'_>, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    if let Err(error) = &outcome {
        begun.failed(error.class());
    }
    outcome
}

/// Waits before an act is tried again, the longer the more often it lost.
async fn pause(attempt: u64) {
    let longest = 5u64.saturating_mul(1 << attempt.min(6));
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=longest))).await;
}

/// Every act comes through here, and is boxed at once: it is worth a hundred allocations, and whatever may
/// come to wait for the database would have 3 kB of room for each place where it does.
pub(super) fn within<T>(
    patience: Duration,
    act: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    let act = Box::pin(act);
    async move {
        let late = || StoreError::Unavailable("no answer in time".to_owned());
        timeout(patience, act).await.unwrap_or_else(|_| Err(late()))
    }
}
