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
    STEP_SERVES_FROM on Both = "update schema_steps set serves_from = $2 where number = $1";
    STEPS_SERVE_FROM on Both = "select coalesce(max(coalesce(serves_from, number)), 0) from schema_steps";
    STEP_TURN_POSTGRES on Postgres =
        "comment on table schema_steps is 'the steps of the schema that were applied'";
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
    /// The oldest schema whose binaries may serve after it: an earlier one if the step only expands.
    pub serves_from: i64,
    /// Its text for Postgres.
    pub postgres: &'static str,
    /// Its text for SQLite.
    pub sqlite: &'static str,
}

macro_rules! step {
    ($number:literal, $name:literal, serves_from $oldest:literal) => {
        Step {
            number: $number,
            name: $name,
            serves_from: $oldest,
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
        }
    };
}

/// Every step, in order. Steps are only ever added.
pub const STEPS: &[Step] = &[
    step!(1, "0001_foundation", serves_from 1),
    step!(2, "0002_revocations", serves_from 2),
    step!(3, "0003_families", serves_from 3),
    step!(4, "0004_client_sign_ins", serves_from 3),
    step!(5, "0005_serves_from", serves_from 4),
];

/// The oldest schema that this binary can serve.
pub const OLDEST: i64 = 4;

/// The newest schema that this binary knows.
pub const NEWEST: i64 = 5;

/// The step that gave the ledger room for `serves_from`.
const TELLS: i64 = 5;

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

/// What a binary may do with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Serve it: it knows all of it.
    Known,
    /// Serve it: it is newer, and every step beyond what the binary knows says that the binary may go on.
    Expanded,
    /// Nothing, until it is brought up to date.
    TooOld,
    /// Nothing: only binaries that know this schema, or a later one, may.
    TooNew(i64),
}

/// The newest step that was applied, and what this binary may do with that schema.
pub async fn standing(db: &Db) -> Result<(i64, Standing), StoreError> {
    let found = version(db).await?;
    if found <= NEWEST {
        let standing = if found < OLDEST { Standing::TooOld } else { Standing::Known };
        return Ok((found, standing));
    }
    // All of them are asked: of two steps the earlier may be the one that takes something away.
    let needed: Option<(i64,)> = db.one(&STEPS_SERVE_FROM, args![]).await?;
    let needed = needed.map_or(found, |(needed,)| needed);
    Ok((found, if needed > NEWEST { Standing::TooNew(needed) } else { Standing::Expanded }))
}

/// Applies every missing step, calling `applied` after each one that this process applied.
pub async fn migrate(db: &Db, now: Time, mut applied: impl FnMut(&Step)) -> Result<(), StoreError> {
    // What is as new as we are, or newer, is left alone, by a role that may make no tables, too.
    if version(db).await? >= NEWEST {
        return Ok(());
    }
    ensure_ledger(db).await?;
    for step in STEPS {
        if version(db).await? >= step.number {
            continue;
        }
        let ours = db.write_within(LONG, async |tx| apply(tx, step, now).await).await?;
        if ours {
            applied(step);
        }
    }
    Ok(())
}

/// Applies a step, if nobody else has.
async fn apply(tx: &mut Tx, step: &Step, now: Time) -> Result<bool, StoreError> {
    native::limit_lock_wait(tx).await?;
    if matches!(tx, Tx::Postgres(..)) {
        // To comment on a table takes a lock on it that only one can hold, and that readers do not
        // notice. So the others wait here, and hold nothing. Without it they would wait within the claim,
        // each holding what a step that alters the ledger itself needs: a deadlock.
        tx.run(&STEP_TURN_POSTGRES, args![]).await?;
    }
    if tx.run(&STEP_CLAIM, args![step.number, now.micros()]).await? == 0 {
        return Ok(false);
    }
    let text = if matches!(tx, Tx::Postgres(..)) { step.postgres } else { step.sqlite };
    tx.script(text).await?;
    if step.number >= TELLS {
        tx.run(&STEP_SERVES_FROM, args![step.number, step.serves_from]).await?;
    }
    Ok(true)
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
