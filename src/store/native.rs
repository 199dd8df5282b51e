//! The few statements for which the two databases have no common text.

use super::arg::args;
use super::{Db, StoreError, Tx, statements};
use crate::clock::{Clock, Sample};
use crate::domain::Time;

statements! {
    SERVER_TIME_POSTGRES on Postgres =
        "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";
    SERVER_TIME_SQLITE on Sqlite =
        "select cast(unixepoch('subsec') * 1000000 as integer)";
    STORAGE_POSTGRES on Postgres =
        "select cast(case when reltuples < 0 then 0 else reltuples end as bigint),
                pg_total_relation_size(oid)
         from pg_catalog.pg_class
         where relname = 'families' and relkind = 'r' and pg_table_is_visible(oid)";
    STORAGE_SQLITE on Sqlite =
        "select (select count(*) from families),
                (select page_count * page_size from pragma_page_count(), pragma_page_size())";
    TAKE_TIME_POSTGRES on Postgres =
        "select set_config('statement_timeout', '600s', true), set_config('lock_timeout', '60s', true)";
    HURRY_POSTGRES on Postgres =
        "select set_config('statement_timeout', '4500ms', true),
                set_config('lock_timeout', '1500ms', true),
                set_config('enable_seqscan', 'off', true),
                set_config('jit', 'off', true)";
    LOCK_TIMEOUT_POSTGRES on Postgres =
        "select set_config('lock_timeout', '3s', true)";
}

/// Asks the database for its time.
pub async fn server_time(db: &Db, clock: &Clock) -> Result<Sample, StoreError> {
    let statement = if db.is_postgres() { &SERVER_TIME_POSTGRES } else { &SERVER_TIME_SQLITE };
    let sent = clock.tick();
    let row: Option<(i64,)> = db.one(statement, args![]).await?;
    let received = clock.tick();
    let (micros,) = row.ok_or_else(|| StoreError::Corrupt("a clock without a time".to_owned()))?;
    let authoritative = db.is_postgres();
    Ok(Sample { time: Time::from_micros(micros), sent, received, authoritative })
}

/// What families take on disk.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// About how many there are: Postgres counts when it analyses the table.
    pub families: i64,
    /// Bytes that they and their indexes take; of an embedded database, all its bytes.
    pub bytes: i64,
}

/// Asks what families take on disk, without reading them all where that would take long.
pub async fn storage(db: &Db) -> Result<Storage, StoreError> {
    let statement = if db.is_postgres() { &STORAGE_POSTGRES } else { &STORAGE_SQLITE };
    let row: Option<(i64, i64)> = db.one(statement, args![]).await?;
    let (families, bytes) = row.unwrap_or_default();
    Ok(Storage { families, bytes })
}

/// Lets this transaction take its time: somebody started it and waits for it.
pub(super) async fn take_time(tx: &mut Tx) -> Result<(), StoreError> {
    tx.all::<(String, String)>(&TAKE_TIME_POSTGRES, args![]).await.map(drop)
}

/// Gives this transaction the limits that a connection of our own has from its start; a pooler does
/// not hand those on.
pub(super) async fn hurry(tx: &mut Tx) -> Result<(), StoreError> {
    tx.all::<(String, String, String, String)>(&HURRY_POSTGRES, args![]).await.map(drop)
}

/// Lets this transaction wait at most three seconds for a lock: a migration that queues behind a
/// long transaction would make everyone else queue behind the migration.
pub(super) async fn limit_lock_wait(tx: &mut Tx) -> Result<(), StoreError> {
    if matches!(tx, Tx::Postgres(..)) {
        tx.all::<(String,)>(&LOCK_TIMEOUT_POSTGRES, args![]).await?;
    }
    Ok(())
}
