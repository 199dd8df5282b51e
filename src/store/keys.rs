//! Rows of signing keys. What a row's bytes mean, and whether it proves itself, is for `keys/`.

use super::arg::args;
use super::value::{column, corrupt, readable};
use super::versions::{self, Part};
use super::{Db, StoreError, Tx, statements};
use crate::domain::signing_key::{KeyRow, Material};
use crate::domain::time::{from_micros, to_micros};
use crate::domain::{Algorithm, SigningKey, Time, Times};
use crate::secret::SecretId;

statements! {
    KEYS on Both =
        "select kid, algorithm, epoch, public_jwk, sealed, secret_id, mac, created_at, publish_at,
                activate_at, sign_until, remove_at, longest_token, held, compromised_at,
                sealed_before
         from signing_keys order by algorithm, epoch";
    KEY_INSERT on Both =
        "insert into signing_keys
             (kid, algorithm, epoch, public_jwk, sealed, secret_id, mac, created_at, publish_at,
              activate_at, sign_until, remove_at, longest_token, held, compromised_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, null)
         on conflict do nothing";
    KEY_UPDATE on Both =
        "update signing_keys set sealed = $2, secret_id = $3, mac = $4, publish_at = $5,
                activate_at = $6, sign_until = $7, remove_at = $8, longest_token = $9, held = $10,
                compromised_at = $11, sealed_before = $12
         where kid = $1";
    KEYS_DELETE_UNDER on Both = "delete from signing_keys where secret_id = $1";
}

#[derive(sqlx::FromRow)]
struct Row {
    kid: String,
    algorithm: String,
    epoch: i64,
    public_jwk: String,
    sealed: Option<Vec<u8>>,
    secret_id: i64,
    mac: Vec<u8>,
    created_at: i64,
    publish_at: i64,
    activate_at: i64,
    sign_until: i64,
    remove_at: i64,
    longest_token: i64,
    held: bool,
    compromised_at: Option<i64>,
    sealed_before: String,
}

impl TryFrom<Row> for KeyRow {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let algorithm: Algorithm =
            column(row.algorithm.parse(), "signing_keys", &row.kid, "algorithm")?;
        let secret_id = u8::try_from(row.secret_id)
            .map_err(|_| corrupt("signing_keys", &row.kid, "secret_id"))?;
        let sealed_before = ids(&row.sealed_before)
            .ok_or_else(|| corrupt("signing_keys", &row.kid, "sealed_before"))?;
        Ok(Self {
            key: SigningKey {
                kid: row.kid,
                algorithm,
                epoch: row.epoch,
                created_at: Time::from_micros(row.created_at),
                times: Times {
                    publish_at: Time::from_micros(row.publish_at),
                    activate_at: Time::from_micros(row.activate_at),
                    sign_until: Time::from_micros(row.sign_until),
                    remove_at: Time::from_micros(row.remove_at),
                    longest_token: from_micros(row.longest_token),
                },
                held: row.held,
                compromised_at: row.compromised_at.map(Time::from_micros),
                destroyed: row.sealed.is_none(),
                corrupt: false,
            },
            material: Material {
                public_jwk: row.public_jwk,
                sealed: row.sealed,
                secret_id,
                sealed_before,
                mac: row.mac,
            },
        })
    }
}

fn ids(list: &str) -> Option<Vec<u8>> {
    list.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect()
}

/// Every key, from genesis to tombstones.
pub async fn load(db: &Db) -> Result<Vec<KeyRow>, StoreError> {
    Ok(readable::<Row, _>(db.all(&KEYS, args![]).await?))
}

/// Announces a change of keys, which locks out every other such change until the commit, and then
/// reads the keys as they are.
pub async fn lock(tx: &mut Tx) -> Result<Vec<KeyRow>, StoreError> {
    versions::bump(tx, Part::Keys).await?;
    load_in(tx).await
}

/// Every key, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<KeyRow>, StoreError> {
    Ok(readable::<Row, _>(tx.all(&KEYS, args![]).await?))
}

/// Adds a key; false if its place in the line, or its kid, is taken.
pub async fn insert(tx: &mut Tx, row: &KeyRow) -> Result<bool, StoreError> {
    let KeyRow { key, material } = row;
    let times = &key.times;
    let added = tx
        .run(
            &KEY_INSERT,
            args![
                &key.kid,
                key.algorithm.name(),
                key.epoch,
                &material.public_jwk,
                material.sealed.as_deref(),
                i64::from(material.secret_id),
                material.mac.as_slice(),
                key.created_at.micros(),
                times.publish_at.micros(),
                times.activate_at.micros(),
                times.sign_until.micros(),
                times.remove_at.micros(),
                to_micros(times.longest_token),
                key.held,
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Writes everything about a key that can change. A private half that is gone stays gone: the row
/// that is written was read under the same lock.
pub async fn update(tx: &mut Tx, row: &KeyRow) -> Result<(), StoreError> {
    let KeyRow { key, material } = row;
    let times = &key.times;
    let sealed_before: Vec<_> = material.sealed_before.iter().map(u8::to_string).collect();
    let sealed_before = sealed_before.join(",");
    let args = args![
        &key.kid,
        material.sealed.as_deref(),
        i64::from(material.secret_id),
        material.mac.as_slice(),
        times.publish_at.micros(),
        times.activate_at.micros(),
        times.sign_until.micros(),
        times.remove_at.micros(),
        to_micros(times.longest_token),
        key.held,
        key.compromised_at.map(Time::micros),
        &sealed_before,
    ];
    tx.run(&KEY_UPDATE, args).await.map(drop)
}

/// Deletes every key that is sealed under a root secret; says how many.
pub async fn delete_under(tx: &mut Tx, root: SecretId) -> Result<u64, StoreError> {
    tx.run(&KEYS_DELETE_UNDER, args![i64::from(root.0)]).await
}
