//! The schema's steps. A step runs in one transaction that first claims its number: of any number
//! of processes that migrate at once, one applies each step and the others wait for it and go on.

use super::arg::args;
use super::db::LONG;
use super::{Db, StoreError, Tx, native, statements};
use crate::domain::Time;

statements! {
    STEP_CLAIM on Both =
        "insert into schema_steps (number, applied_at) values ($1, $2) on conflict do nothing";
    STEP_LATEST on Both = "select coalesce(max(number), 0) from schema_steps";
    TABLES_POSTGRES on Postgres =
        "select cast(count(*) as bigint) from pg_catalog.pg_class
         where relname = 'schema_steps' and relkind = 'r' and pg_table_is_visible(oid)";
    TABLES_SQLITE on Sqlite = "select count(*) from sqlite_schema where name = 'schema_steps'";
}

/// One step, for each database.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its number, counting from 1.
    pub number: i64,
    /// What it does, in a few words.
    pub name: &'static str,
    /// Its text for Postgres.
    pub postgres: &'static str,
    /// Its text for SQLite.
    pub sqlite: &'static str,
}

macro_rules! step {
    ($number:literal, $name:literal) => {
        Step {
            number: $number,
            name: $name,
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
        }
    };
}

/// Every step, in order. Steps are only ever added.
pub const STEPS: &[Step] = &[
    step!(1, "0001_foundation"),
    step!(2, "0002_revocations"),
    step!(3, "0003_families"),
    step!(4, "0004_client_sign_ins"),
];

/// The oldest schema that this binary can serve.
pub const OLDEST: i64 = 4;

/// The newest schema that this binary knows.
pub const NEWEST: i64 = 4;

const LEDGER: &str = "create table if not exists schema_steps (
    number bigint primary key not null,
    applied_at bigint not null
)";

/// The newest step that was applied; 0 for an empty database.
pub async fn version(db: &Db) -> Result<i64, StoreError> {
    let tables = if db.is_postgres() { &TABLES_POSTGRES } else { &TABLES_SQLITE };
    let found: Option<(i64,)> = db.one(tables, args![]).await?;
    if found.is_none_or(|(count,)| count == 0) {
        return Ok(0);
    }
    let latest: Option<(i64,)> = db.one(&STEP_LATEST, args![]).await?;
    Ok(latest.map_or(0, |(number,)| number))
}

/// Applies every missing step, calling `applied` after each one that this process applied.
pub async fn migrate(db: &Db, now: Time, mut applied: impl FnMut(&Step)) -> Result<(), StoreError> {
    ensure_ledger(db).await?;
    for step in STEPS {
        if version(db).await? >= step.number {
            continue;
        }
        let ours = db
            .write_within(LONG, async |tx| {
                native::limit_lock_wait(tx).await?;
                if tx.run(&STEP_CLAIM, args![step.number, now.micros()]).await? == 0 {
                    return Ok(false);
                }
                let text = if matches!(tx, Tx::Postgres(..)) { step.postgres } else { step.sqlite };
                tx.script(text).await?;
                Ok(true)
            })
            .await?;
        if ours {
            applied(step);
        }
    }
    Ok(())
}

/// Makes the table of steps. In Postgres two processes that do so at once can collide on the name
/// in spite of `if not exists`; then the other one has made it.
async fn ensure_ledger(db: &Db) -> Result<(), StoreError> {
    for _ in 0..3 {
        match db.write(async |tx| tx.script(LEDGER).await).await {
            Err(StoreError::Conflict | StoreError::Fault(_)) => {}
            outcome => return outcome,
        }
    }
    db.write(async |tx| tx.script(LEDGER).await).await
}
