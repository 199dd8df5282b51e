//! Opening databases: how many connections, how long anybody waits, and what is told to each.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Executor, PgPool, SqlitePool};

use super::StoreError;

/// Longest wait for a free connection.
const ACQUIRE: Duration = Duration::from_secs(2);

/// Connections that are to be replaced go one after the other: were they all made anew at once, requests
/// would wait for their turn longer than they may.
const APART: Duration = Duration::from_millis(100);

/// A connection that has been idle for longer is looked at before it is used.
const FRESH: Duration = Duration::from_millis(500);

/// What each connection is told. It is set here and not when connecting: poolers refuse what they do
/// not know. It is one statement: each round trip counts where the database is far.
///
/// How long a statement waits for a row that somebody else holds, and how long it may take: we
/// give up after five seconds, and what went on then would be committed later, when everybody has long
/// been told that it failed.
///
/// Rows are found by an index even where Postgres thinks reading the whole table cheaper: of a table of
/// some thousand rows that it never counted (after a restore) it thinks so, and is wrong by a hundred
/// times. Where there is no index such a plan looks expensive beyond measure, and Postgres would compile
/// it, which takes a hundred times as long as to run it.
macro_rules! limits {
    ($lock_timeout:literal) => {
        concat!(
            "select set_config('lock_timeout', '",
            $lock_timeout,
            "', false),
                    set_config('statement_timeout', '4500ms', false),
                    set_config('enable_seqscan', 'off', false),
                    set_config('jit', 'off', false)"
        )
    };
}

/// Whoever waits for a row waits longer than Postgres takes to see that two wait for each other, so that
/// one of them loses and not both.
const LIMITS: &str = limits!("1500ms");

/// On a lane nothing waits for a row that somebody holds for long.
const LANE_LIMITS: &str = limits!("20ms");

/// Longest wait for a lane's connection, which nobody else uses: so long it may take to make it, over
/// seven or eight round trips with TLS.
const HASTE: Duration = Duration::from_millis(500);

/// So many connections there must be for each that is set aside: whatever else is done needs some.
const FOR_EACH_LANE: u32 = 4;

/// What stands between us and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler that gives each client a server connection of its own.
    None,
    /// A pooler in transaction mode: two steps of one statement may reach two servers unless a
    /// transaction holds them together, and nothing prepared may be kept.
    Transaction,
}

/// How to open a database.
#[derive(Debug, Clone)]
pub struct Open<'a> {
    /// `postgres://…`, or `sqlite:` and a path.
    pub url: &'a str,
    /// Most connections to Postgres.
    pub connections: u32,
    /// What stands in between.
    pub pooler: Pooler,
}

/// When connections began to be made by another URL, if they have.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<Mutex<Option<Began>>>);

#[derive(Debug)]
struct Began {
    at: Instant,
    /// When a connection was last replaced because of it.
    replaced: Option<Instant>,
}

impl Turn {
    /// They do from now on.
    pub(super) fn happens(&self) {
        *self.began() = Some(Began { at: Instant::now(), replaced: None });
    }

    /// Whether a connection of this age may have been made before, and it is time to replace another one.
    /// One that was being made at that moment came a little later.
    fn replaces(&self, age: Duration) -> bool {
        let mut began = self.began();
        let Some(Began { at, replaced }) = began.as_mut() else { return false };
        let since = at.elapsed();
        let outdated = since > ACQUIRE && age + ACQUIRE > since;
        let is_time = replaced.is_none_or(|last| last.elapsed() > APART);
        if outdated && is_time {
            *replaced = Some(Instant::now());
        }
        outdated && is_time
    }

    fn began(&self) -> MutexGuard<'_, Option<Began>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a database can be opened by a URL, as far as the URL itself tells; what is wrong if not.
pub fn check_url(url: &str, pooler: Pooler) -> Result<(), &'static str> {
    if url.starts_with("sqlite:") { Ok(()) } else { parse(url, pooler).map(drop) }
}

/// How each connection is made.
pub(super) fn options(url: &str, pooler: Pooler) -> Result<PgConnectOptions, StoreError> {
    parse(url, pooler).map_err(|what| StoreError::Fault(what.to_owned()))
}

fn parse(url: &str, pooler: Pooler) -> Result<PgConnectOptions, &'static str> {
    // The parser's message may repeat the URL, and with it the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        "database.url is not a Postgres URL: postgres://user:password@host:port/database, with parameters \
         that Postgres knows (sslmode=verify-full)"
    })?;
    // PgBouncer refuses start-up parameters that it does not know.
    let options = options.application_name("jeton").extra_float_digits(None);
    Ok(match pooler {
        Pooler::None => options,
        Pooler::Transaction => options.statement_cache_capacity(0),
    })
}

/// Opens the pool, and the lanes, which are a part of the connections that there may be; nothing is
/// contacted yet.
pub(super) fn postgres(open: &Open<'_>, turn: &Turn) -> Result<(PgPool, Vec<PgPool>), StoreError> {
    let options = options(open.url, open.pooler)?;
    let limits = open.pooler == Pooler::None;
    let threads = available_parallelism().map_or(1, usize::from);
    let most = usize::try_from(open.connections / FOR_EACH_LANE).unwrap_or(0);
    // Behind a pooler a statement's limits hold for its transaction: a lane is no faster there. And a
    // single lane for several threads is one group at a time where two would do better.
    let lanes = if limits && most >= threads.min(2) { threads.min(most) } else { 0 };
    let lane = || {
        pool(1, turn).acquire_timeout(HASTE).after_connect(|connection, _| {
            Box::pin(async move { connection.execute(LANE_LIMITS).await.map(drop) })
        })
    };
    let lanes: Vec<_> = (0..lanes).map(|_| lane().connect_lazy_with(options.clone())).collect();
    let rest = open.connections - u32::try_from(lanes.len()).unwrap_or(0);
    let pool = pool(rest, turn).acquire_timeout(ACQUIRE).after_connect(move |connection, _| {
        Box::pin(async move {
            if limits {
                connection.execute(LIMITS).await?;
            }
            Ok(())
        })
    });
    Ok((pool.connect_lazy_with(options), lanes))
}

/// A pool of so many. A connection that was made before the turn is closed when it is next wanted, between
/// two acts, and another one is made in its place.
fn pool(connections: u32, turn: &Turn) -> PgPoolOptions {
    let turn = turn.clone();
    PgPoolOptions::new()
        .max_connections(connections)
        // Asking each time would cost a round trip; a connection that was in use a moment ago is
        // alive, and after a restart of the database all the others are dead at once.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let goes = turn.replaces(meta.age);
            Box::pin(async move {
                if goes {
                    return Ok(false);
                }
                if meta.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// The readers, and the one writer.
pub(super) async fn sqlite(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(ACQUIRE);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .connect_with(options.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options.read_only(true).create_if_missing(false));
    Ok((readers, writer))
}
