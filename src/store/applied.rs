//! What `apply` last wrote, field by field.

use super::arg::args;
use super::{Db, StoreError, Tx, statements};

statements! {
    APPLIED on Both = "select kind, object_id, field, digest from applied_fields";
    APPLIED_PUT on Both =
        "insert into applied_fields (kind, object_id, field, digest) values ($1, $2, $3, $4)
         on conflict (kind, object_id, field) do update set digest = excluded.digest";
    APPLIED_FORGET on Both = "delete from applied_fields where kind = $1 and object_id = $2";
}

/// One field as `apply` last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AppliedField {
    /// `client`, `resource` or `user`.
    pub kind: String,
    /// Which one.
    pub object_id: String,
    /// Which field.
    pub field: String,
    /// A digest of the value in the file.
    pub digest: String,
}

/// Everything that `apply` ever wrote and still remembers.
pub async fn load(db: &Db) -> Result<Vec<AppliedField>, StoreError> {
    db.all(&APPLIED, args![]).await
}

/// The same, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<AppliedField>, StoreError> {
    tx.all(&APPLIED, args![]).await
}

/// Remembers one field.
pub async fn put(tx: &mut Tx, field: &AppliedField) -> Result<(), StoreError> {
    let args = args![&field.kind, &field.object_id, &field.field, &field.digest];
    tx.run(&APPLIED_PUT, args).await.map(drop)
}

/// Forgets an object that is no longer in the file.
pub async fn forget(tx: &mut Tx, kind: &str, object_id: &str) -> Result<(), StoreError> {
    tx.run(&APPLIED_FORGET, args![kind, object_id]).await.map(drop)
}
