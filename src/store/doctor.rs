//! What a doctor asks a database, and nobody else does. Nothing here leaves a trace.

use std::time::Duration;

use sqlx::{Acquire, Executor, PgConnection, Row};
use tokio::time::timeout;

use super::arg::args;
use super::audit::row_id;
use super::{Db, StoreError, statements};
use crate::domain::Time;

statements! {
    NEEDED_SECRETS on Both =
        "select 'signing_keys' as holder, secret_id, cast(count(*) as bigint) as total
         from signing_keys where remove_at > $1 or held group by secret_id
         union all
         select 'client_secrets', pepper_id, cast(count(*) as bigint)
         from client_secrets where expires_at is null or expires_at > $1 group by pepper_id
         order by 1, 2";
    TRIAL_UPDATE on Both = "update versions set number = number where part = 'keys'";
    TRIAL_INSERT on Both =
        "insert into audit_events (id, at, action, actor, detail)
         values ($1, $2, 'trial', 'doctor', $3)";
    DURABILITY_POSTGRES on Postgres =
        "select current_setting('fsync') = 'on' as fsync,
                current_setting('synchronous_commit') as synchronous_commit,
                current_setting('synchronous_standby_names') <> '' as has_standby";
    BACKEND_POSTGRES on Postgres = "select pg_backend_pid()";
}

/// A root secret that rows depend on.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Needed {
    /// The table.
    pub holder: String,
    /// The root secret's id.
    pub secret_id: i64,
    /// How many rows.
    pub total: i64,
}

/// The root secrets that rows depend on which still count at `now`.
pub async fn needed_secrets(db: &Db, now: Time) -> Result<Vec<Needed>, StoreError> {
    db.all(&NEEDED_SECRETS, args![now.micros()]).await
}

/// Whether we may change rows and add them: it is tried, and rolled back.
pub async fn can_write(db: &Db, now: Time) -> Result<(), StoreError> {
    const TRIED: &str = "tried, and rolled back on purpose";
    let nothing = serde_json::Value::Object(serde_json::Map::new());
    let tried = db
        .write(async |tx| {
            tx.run(&TRIAL_UPDATE, args![]).await?;
            tx.run(&TRIAL_INSERT, args![row_id(now), now.micros(), &nothing]).await?;
            // An act that fails is rolled back: there is no other way not to commit.
            Err::<(), _>(StoreError::Fault(TRIED.to_owned()))
        })
        .await;
    match tried {
        Err(StoreError::Fault(what)) if what == TRIED => Ok(()),
        outcome => outcome,
    }
}

/// What Postgres does so that a commit that it has confirmed is never lost.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Durability {
    /// Whether it waits for its disk at all.
    pub fsync: bool,
    /// What a commit waits for.
    pub synchronous_commit: String,
    /// Whether a commit waits for another server, too.
    pub has_standby: bool,
}

/// How durable commits are; `None` for the embedded database, where the answer is ours.
pub async fn durability(db: &Db) -> Result<Option<Durability>, StoreError> {
    if !db.is_postgres() {
        return Ok(None);
    }
    db.one(&DURABILITY_POSTGRES, args![]).await
}

/// Whether a pooler moves our connections between servers: two connections that are open at the
/// same time meet the same server, or one connection meets two. False for the embedded database.
///
/// Only plain queries are sent, since named statements are what such a pooler breaks.
pub async fn moves_between_servers(db: &Db) -> Result<bool, StoreError> {
    const WAIT: Duration = Duration::from_secs(2);
    let Some(pool) = db.postgres() else { return Ok(false) };
    let mut one = pool.acquire().await?;
    let mut other = pool.acquire().await?;
    let before = backend(&mut one).await?;
    // While the other's transaction is open, it keeps its server, and ours has to be another.
    let mut held = other.begin().await?;
    let others = backend(&mut held).await?;
    // A pooler with a single server lets us wait for ever.
    let after = timeout(WAIT, backend(&mut one)).await;
    held.rollback().await?;
    let after = after.unwrap_or(Ok(others))?;
    Ok(before == others || after != before)
}

async fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let row = connection.fetch_one(sqlx::raw_sql(BACKEND_POSTGRES.sql)).await?;
    Ok(row.try_get(0)?)
}
