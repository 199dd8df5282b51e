//! The outbox of revocations: acts in the order of their commits.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::arg::args;
use super::{Db, StoreError, Tx, statements};
use crate::domain::{Revocation, Switched, Target, Time};

statements! {
    REVOCATION_NUMBER on Both =
        "update revocation_head set v = $1 + (
             select case when max(act.v) > revocation_head.v then max(act.v)
                         else revocation_head.v end
             from revocations as act)
         where id = 1 returning v";
    REVOCATIONS_ADD_POSTGRES on Postgres =
        "insert into revocations (id, v, stamp, kind, key, issued_before, expires_at)
         select id, $2 + n, $3, kind, key, issued_before, expires_at
         from jsonb_to_recordset($1) as act
             (id uuid, n bigint, kind text, key text, issued_before bigint, expires_at bigint)
         on conflict (id) do nothing";
    REVOCATIONS_ADD_SQLITE on Sqlite =
        "insert into revocations (id, v, stamp, kind, key, issued_before, expires_at)
         select unhex(value ->> 'id', '-'), $2 + (value ->> 'n'), $3, value ->> 'kind',
                value ->> 'key', value ->> 'issued_before', value ->> 'expires_at'
         from json_each($1) where true
         on conflict (id) do nothing";
    REVOCATIONS_SWEEP on Both =
        "delete from revocations where id in (
             select id from revocations
             where expires_at < $1 and v < (select max(v) from revocations)
             order by v limit $2)";
    REVOCATIONS_SWITCHED on Both =
        "select kind, key, max(issued_before)
         from revocations
         where kind in ('subject_disabled', 'subject_enabled')
         group by kind, key";
    REVOCATIONS_COUNT on Both = "select count(*) from revocations";
}

/// Where a reader of the outbox has got to: the number of the last act it has read, and the stamp
/// that was drawn when it was written. If they are not there any more, the database has lost commits;
/// the act alone would not tell, since it may have been written again in another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The act's number.
    pub v: i64,
    pub(super) stamp: i64,
}

/// An act as it stands in the outbox.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its place.
    pub at: Cursor,
    /// The act; `None` for a kind that only a newer version knows.
    pub act: Option<Revocation>,
}

/// Writes acts. Call it last in a transaction: from the number that it takes until the commit, all
/// other acts wait, and so the order of numbers is the order of commits. An act that is there
/// already stays as it is; one whose number is taken is an error, or it would be lost in silence.
pub async fn append(tx: &mut Tx, acts: &[Revocation]) -> Result<(), StoreError> {
    let count = i64::try_from(acts.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(());
    }
    let rows: Vec<Value> = acts.iter().zip(1..).map(|(act, n)| row(act, n)).collect();
    let head: Option<(i64,)> = tx.one(&REVOCATION_NUMBER, args![count]).await?;
    let (head,) = head.ok_or_else(|| StoreError::Corrupt("revocation_head: missing".to_owned()))?;
    let add = match tx {
        Tx::Postgres(..) => &REVOCATIONS_ADD_POSTGRES,
        Tx::Sqlite(_) => &REVOCATIONS_ADD_SQLITE,
    };
    let stamp: i64 = rand::random();
    tx.run(add, args![&Value::Array(rows), head - count, stamp]).await.map(drop)
}

fn row(act: &Revocation, n: i64) -> Value {
    let issued_before = if act.target.is_dated() { act.issued_before.micros() } else { 0 };
    json!({
        "id": row_id(&act.target, issued_before),
        "n": n,
        "kind": act.target.kind(),
        "key": act.target.key(),
        "issued_before": issued_before,
        "expires_at": act.expires_at.micros(),
    })
}

/// The same act always has the same row, whoever writes it and however often: replicas that all
/// write again what a database lost do not multiply it.
fn row_id(target: &Target, issued_before: i64) -> Uuid {
    let mut hash = Sha256::new();
    for part in [target.kind().as_bytes(), target.key().as_bytes(), &issued_before.to_be_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Whose accounts the stored acts switch, and how, as a transaction sees it. Whoever holds the row of
/// a person has all that was ever committed about that person, if it was not swept.
pub async fn switched(tx: &mut Tx) -> Result<HashMap<String, Switched>, StoreError> {
    let rows: Vec<(String, String, i64)> = tx.all(&REVOCATIONS_SWITCHED, args![]).await?;
    let mut all: HashMap<String, Switched> = HashMap::new();
    for (kind, key, at) in rows {
        let Some(target) = Target::parse(&kind, &key) else { continue };
        let at = Time::from_micros(at);
        let act = Revocation { target, issued_before: at, expires_at: at };
        if let Some((subject, said)) = Switched::of(&act) {
            let held = all.entry(subject.to_owned()).or_default();
            *held = held.with(said);
        }
    }
    Ok(all)
}

/// Deletes a few acts that concern nothing alive any more; says how many. The latest act always
/// stays: readers find their place by it.
pub async fn sweep(db: &Db, ended_before: Time) -> Result<u64, StoreError> {
    const AT_ONCE: i64 = 1000;
    db.write(async |tx| tx.run(&REVOCATIONS_SWEEP, args![ended_before.micros(), AT_ONCE]).await)
        .await
}

/// How many acts are stored.
pub async fn count(db: &Db) -> Result<i64, StoreError> {
    Ok(db.one::<(i64,)>(&REVOCATIONS_COUNT, args![]).await?.map_or(0, |(count,)| count))
}
