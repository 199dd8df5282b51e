//! Whose database this is.

use super::arg::args;
use super::{Db, StoreError, Tx, statements};
use crate::domain::Time;

statements! {
    INSTANCE_CLAIM on Both =
        "insert into instance (id, issuer, is_dev, created_at) values (1, $1, $2, $3)
         on conflict do nothing";
    INSTANCE on Both = "select issuer, is_dev from instance where id = 1";
    INSTANCE_VALID_FROM on Both = "select valid_from from instance where id = 1";
    INSTANCE_SET_VALID_FROM on Both =
        "update instance set valid_from = $1
         where id = 1 and (valid_from is null or valid_from < $1)";
    INSTANCE_LOST_SINCE on Both = "select lost_since from instance where id = 1";
    INSTANCE_SET_LOST_SINCE on Both = "update instance set lost_since = $1 where id = 1";
}

/// The issuer that a database belongs to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Instance {
    /// The issuer identifier, byte for byte.
    pub issuer: String,
    /// Whether it was made by `serve --dev`, with secrets that lie beside it.
    pub is_dev: bool,
}

/// Whose database this is, if anybody's yet.
pub async fn load(db: &Db) -> Result<Option<Instance>, StoreError> {
    db.one(&INSTANCE, args![]).await
}

/// Claims an unclaimed database; returns whose it is now. Of any number of processes that claim it
/// at once, one wins and all see the same answer.
pub async fn claim(db: &Db, issuer: &str, is_dev: bool, now: Time) -> Result<Instance, StoreError> {
    if let Some(found) = load(db).await? {
        return Ok(found);
    }
    db.write(async |tx| {
        tx.run(&INSTANCE_CLAIM, args![issuer, is_dev, now.micros()]).await?;
        tx.one(&INSTANCE, args![]).await
    })
    .await?
    .ok_or_else(|| StoreError::Corrupt("instance 1: missing".to_owned()))
}

/// What was authorized for anybody before this counts no more, if an operator ever said so.
pub async fn valid_from(db: &Db) -> Result<Option<Time>, StoreError> {
    let row: Option<(Option<i64>,)> = db.one(&INSTANCE_VALID_FROM, args![]).await?;
    Ok(row.and_then(|(from,)| from).map(Time::from_micros))
}

/// What was authorized for anybody before this counts no more. It never moves back.
pub async fn set_valid_from(tx: &mut Tx, from: Time) -> Result<(), StoreError> {
    tx.run(&INSTANCE_SET_VALID_FROM, args![from.micros()]).await.map(drop)
}

/// Since when what the database learned may be lost, while an operator says so.
pub async fn lost_since(db: &Db) -> Result<Option<Time>, StoreError> {
    let row: Option<(Option<i64>,)> = db.one(&INSTANCE_LOST_SINCE, args![]).await?;
    Ok(row.and_then(|(since,)| since).map(Time::from_micros))
}

/// Says since when what the database learned may be lost, or that nothing is.
pub async fn set_lost_since(tx: &mut Tx, since: Option<Time>) -> Result<(), StoreError> {
    tx.run(&INSTANCE_SET_LOST_SINCE, args![since.map(Time::micros)]).await.map(drop)
}
