//! Rows of client secrets: digests, never secrets.

use uuid::Uuid;

use super::arg::args;
use super::value::{column, corrupt, readable};
use super::{Db, StoreError, Tx, statements};
use crate::domain::{ClientId, Time};
use crate::secret::{SecretDigest, SecretId};

statements! {
    SECRETS on Both =
        "select id, client_id, digest, pepper_id, hint, created_at, expires_at, last_used_at
         from client_secrets order by client_id, created_at, id";
    SECRETS_OF on Both =
        "select id, client_id, digest, pepper_id, hint, created_at, expires_at, last_used_at
         from client_secrets where client_id = $1 order by created_at, id";
    SECRET_INSERT on Both =
        "insert into client_secrets
             (id, client_id, digest, pepper_id, hint, created_at, expires_at, last_used_at)
         values ($1, $2, $3, $4, $5, $6, null, null)";
    SECRET_EXPIRE on Both = "update client_secrets set expires_at = $2 where id = $1";
    SECRET_DELETE on Both = "delete from client_secrets where id = $1";
    SECRETS_DELETE_UNDER on Both = "delete from client_secrets where pepper_id = $1";
    SECRET_USED on Both = "update client_secrets set last_used_at = $2 where id = $1";
    SECRET_REKEY on Both =
        "update client_secrets set digest = $2, pepper_id = $3 where id = $1 and pepper_id = $4";
}

/// One secret of a client, as stored.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    /// The row.
    pub id: Uuid,
    /// Whose it is.
    pub client: ClientId,
    /// The secret under the pepper.
    pub digest: SecretDigest,
    /// Which pepper.
    pub pepper: SecretId,
    /// Its first characters, if it was generated.
    pub hint: String,
    /// When it was made.
    pub created_at: Time,
    /// Until when it works, once it has a successor.
    pub expires_at: Option<Time>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Time>,
}

impl StoredSecret {
    /// Whether it still works.
    pub fn is_live(&self, now: Time) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    client_id: String,
    digest: Vec<u8>,
    pepper_id: i64,
    hint: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TryFrom<Row> for StoredSecret {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |column| corrupt("client_secrets", row.id, column);
        let digest: [u8; 32] = row.digest.as_slice().try_into().map_err(|_| bad("digest"))?;
        Ok(Self {
            id: row.id,
            client: column(ClientId::parse(&row.client_id), "client_secrets", row.id, "client_id")?,
            digest: SecretDigest::from_bytes(digest),
            pepper: SecretId(u8::try_from(row.pepper_id).map_err(|_| bad("pepper_id"))?),
            hint: row.hint,
            created_at: Time::from_micros(row.created_at),
            expires_at: row.expires_at.map(Time::from_micros),
            last_used_at: row.last_used_at.map(Time::from_micros),
        })
    }
}

/// Every secret, oldest first for each client.
pub async fn load(db: &Db) -> Result<Vec<StoredSecret>, StoreError> {
    let rows: Vec<Row> = db.all(&SECRETS, args![]).await?;
    Ok(readable(rows))
}

/// Every secret, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<StoredSecret>, StoreError> {
    let rows: Vec<Row> = tx.all(&SECRETS, args![]).await?;
    Ok(readable(rows))
}

/// The secrets of one client, oldest first.
pub async fn of(tx: &mut Tx, client: &ClientId) -> Result<Vec<StoredSecret>, StoreError> {
    let rows: Vec<Row> = tx.all(&SECRETS_OF, args![client.as_str()]).await?;
    Ok(readable(rows))
}

/// Adds a secret.
pub async fn insert(tx: &mut Tx, secret: &StoredSecret) -> Result<(), StoreError> {
    let args = args![
        secret.id,
        secret.client.as_str(),
        secret.digest.as_bytes().as_slice(),
        i64::from(secret.pepper.0),
        &secret.hint,
        secret.created_at.micros(),
    ];
    tx.run(&SECRET_INSERT, args).await.map(drop)
}

/// Lets a secret work only until `end`.
pub async fn expire(tx: &mut Tx, id: Uuid, end: Time) -> Result<(), StoreError> {
    tx.run(&SECRET_EXPIRE, args![id, end.micros()]).await.map(drop)
}

/// Deletes a secret.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<(), StoreError> {
    tx.run(&SECRET_DELETE, args![id]).await.map(drop)
}

/// Deletes every secret that is stored under a root secret; says how many.
pub async fn delete_under(tx: &mut Tx, root: SecretId) -> Result<u64, StoreError> {
    tx.run(&SECRETS_DELETE_UNDER, args![i64::from(root.0)]).await
}

/// Notes when a secret was last used.
pub async fn used(tx: &mut Tx, id: Uuid, at: Time) -> Result<(), StoreError> {
    tx.run(&SECRET_USED, args![id, at.micros()]).await.map(drop)
}

/// Stores the same secret under another pepper, unless somebody has done so already.
pub async fn rekey(
    tx: &mut Tx,
    id: Uuid,
    from: SecretId,
    to: SecretId,
    digest: &SecretDigest,
) -> Result<bool, StoreError> {
    let args = args![id, digest.as_bytes().as_slice(), i64::from(to.0), i64::from(from.0)];
    Ok(tx.run(&SECRET_REKEY, args).await? == 1)
}
