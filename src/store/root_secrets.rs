//! What the database knows of root secrets: never the secrets, only which ids are taken or out of
//! use.

use super::arg::args;
use super::{Db, StoreError, Tx, statements};
use crate::domain::Time;
use crate::secret::SecretId;

statements! {
    ROOT_SECRETS on Both =
        "select id, compromised_at, dropped_at from root_secrets order by id";
    ROOT_SECRET_TAKE on Both =
        "insert into root_secrets (id, added_at) values ($1, $2) on conflict do nothing";
    ROOT_SECRET_STOLEN on Both =
        "insert into root_secrets (id, compromised_at) values ($1, $2)
         on conflict (id) do update
             set compromised_at = coalesce(root_secrets.compromised_at, excluded.compromised_at)";
    ROOT_SECRET_DROPPED on Both =
        "insert into root_secrets (id, dropped_at) values ($1, $2)
         on conflict (id) do update
             set dropped_at = coalesce(root_secrets.dropped_at, excluded.dropped_at)";
}

/// A root secret whose id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Its id.
    pub id: SecretId,
    /// Since when it is known to be stolen.
    pub compromised_at: Option<Time>,
    /// Since when it is out of the file.
    pub dropped_at: Option<Time>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    compromised_at: Option<i64>,
    dropped_at: Option<i64>,
}

impl From<Row> for Retired {
    fn from(row: Row) -> Self {
        Self {
            // An id beyond a byte cannot be in any file.
            id: SecretId(u8::try_from(row.id).unwrap_or(0)),
            compromised_at: row.compromised_at.map(Time::from_micros),
            dropped_at: row.dropped_at.map(Time::from_micros),
        }
    }
}

/// Every root secret whose id is taken.
pub async fn load(db: &Db) -> Result<Vec<Retired>, StoreError> {
    let rows: Vec<Row> = db.all(&ROOT_SECRETS, args![]).await?;
    Ok(rows.into_iter().map(Retired::from).collect())
}

/// The same, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<Retired>, StoreError> {
    let rows: Vec<Row> = tx.all(&ROOT_SECRETS, args![]).await?;
    Ok(rows.into_iter().map(Retired::from).collect())
}

/// Takes an id for a new root secret; false if it is taken.
pub async fn take(tx: &mut Tx, id: SecretId, at: Time) -> Result<bool, StoreError> {
    Ok(tx.run(&ROOT_SECRET_TAKE, args![i64::from(id.0), at.micros()]).await? == 1)
}

/// Notes that a root secret is stolen.
pub async fn stolen(tx: &mut Tx, id: SecretId, at: Time) -> Result<(), StoreError> {
    tx.run(&ROOT_SECRET_STOLEN, args![i64::from(id.0), at.micros()]).await.map(drop)
}

/// Notes that a root secret is out of the file: its id is never used again.
pub async fn dropped(tx: &mut Tx, id: SecretId, at: Time) -> Result<(), StoreError> {
    tx.run(&ROOT_SECRET_DROPPED, args![i64::from(id.0), at.micros()]).await.map(drop)
}
