//! Rows of people.

use uuid::Uuid;

use super::arg::args;
use super::value::{column, readable};
use super::{Db, StoreError, Tx, statements};
use crate::domain::{Time, User, Username};

statements! {
    USERS on Both =
        "select id, username, password_hash, disabled_at, valid_from, signed_in_at, created_at,
                updated_at
         from users order by username";
    USER on Both =
        "select id, username, password_hash, disabled_at, valid_from, signed_in_at, created_at,
                updated_at
         from users where id = $1";
    USER_BY_NAME on Both =
        "select id, username, password_hash, disabled_at, valid_from, signed_in_at, created_at,
                updated_at
         from users where username = $1";
    USER_ADD on Both =
        "insert into users
             (id, username, password_hash, disabled_at, valid_from, signed_in_at, created_at,
              updated_at)
         values ($1, $2, $3, null, $4, null, $4, $4)
         on conflict do nothing";
    USER_SET_PASSWORD on Both =
        "update users set password_hash = $2,
             updated_at = case when updated_at > $3 then updated_at else $3 end
         where id = $1";
    USER_REHASH on Both =
        "update users set password_hash = $2 where id = $1 and password_hash = $3";
    USER_SET_DISABLED on Both =
        "update users set disabled_at = $2,
             updated_at = case when updated_at > $3 then updated_at else $3 end
         where id = $1";
    USER_SWITCH_OFF on Both =
        "update users set
             disabled_at = coalesce(
                 disabled_at, case when updated_at < $2 then $2 else updated_at + 1 end),
             updated_at = case when updated_at < $2 then $2 else updated_at + 1 end
         where id = $1
         returning disabled_at, updated_at";
    USER_SWITCH_ON on Both =
        "update users set disabled_at = null,
             updated_at = case when updated_at < $2 then $2 else updated_at + 1 end
         where id = $1
         returning updated_at";
    USER_HOLD on Both = "update users set updated_at = updated_at where id = $1";
    USER_SET_VALID_FROM on Both =
        "update users set valid_from = $2,
             updated_at = case when updated_at > $2 then updated_at else $2 end
         where id = $1 and valid_from < $2";
    USER_SIGNED_IN on Both =
        "update users set signed_in_at = $2
         where id = $1 and disabled_at is null and valid_from <= $3
         returning id";
    USER_LATEST on Both =
        "select coalesce(max(authenticated_at), 0) from families where subject = $1";
    USER_STILL_OPENS on Both =
        "update users set password_hash = $2
         where id = $1 and password_hash = $2 and disabled_at is null
         returning id";
    USER_DELETE on Both = "delete from users where id = $1";
    USER_CODES_DELETE on Both = "delete from codes where subject = $1 and used_at is null";
}

/// A person and what opens the account.
#[derive(Debug)]
pub struct Account {
    /// The person.
    pub user: User,
    /// The password's hash; without one no password opens the account.
    pub password: Option<PasswordHash>,
}

/// The hash of a password, as a PHC string: it is not shown, because it can be guessed at.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    username: String,
    password_hash: Option<String>,
    disabled_at: Option<i64>,
    valid_from: i64,
    signed_in_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Account {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let user = User {
            id: row.id,
            username: column(Username::parse(&row.username), "users", row.id, "username")?,
            disabled_at: row.disabled_at.map(Time::from_micros),
            valid_from: Time::from_micros(row.valid_from),
            signed_in_at: row.signed_in_at.map(Time::from_micros),
            created_at: Time::from_micros(row.created_at),
            updated_at: Time::from_micros(row.updated_at),
        };
        Ok(Self { user, password: row.password_hash.map(PasswordHash) })
    }
}

/// Everybody, by username.
pub async fn all(db: &Db) -> Result<Vec<Account>, StoreError> {
    Ok(readable(db.all::<Row>(&USERS, args![]).await?))
}

/// One person by subject.
pub async fn get(db: &Db, id: Uuid) -> Result<Option<Account>, StoreError> {
    db.one::<Row>(&USER, args![id]).await?.map(TryInto::try_into).transpose()
}

/// One person by username.
pub async fn by_name(db: &Db, name: &Username) -> Result<Option<Account>, StoreError> {
    db.one::<Row>(&USER_BY_NAME, args![name.as_str()]).await?.map(TryInto::try_into).transpose()
}

/// Everybody, as seen by a transaction.
pub async fn all_in(tx: &mut Tx) -> Result<Vec<Account>, StoreError> {
    Ok(readable(tx.all::<Row>(&USERS, args![]).await?))
}

/// One person by subject, as seen by a transaction.
pub async fn get_in(tx: &mut Tx, id: Uuid) -> Result<Option<Account>, StoreError> {
    tx.one::<Row>(&USER, args![id]).await?.map(TryInto::try_into).transpose()
}

/// One person by username, as seen by a transaction.
pub async fn by_name_in(tx: &mut Tx, name: &Username) -> Result<Option<Account>, StoreError> {
    tx.one::<Row>(&USER_BY_NAME, args![name.as_str()]).await?.map(TryInto::try_into).transpose()
}

/// Adds a person; false if the name or the subject is taken.
pub async fn add(
    tx: &mut Tx,
    id: Uuid,
    name: &Username,
    password: Option<&PasswordHash>,
    now: Time,
) -> Result<bool, StoreError> {
    let password = password.map(|hash| hash.0.as_str());
    let added = tx.run(&USER_ADD, args![id, name.as_str(), password, now.micros()]).await?;
    Ok(added == 1)
}

/// Sets what opens the account; false if there is no such person.
pub async fn set_password(
    tx: &mut Tx,
    id: Uuid,
    password: &PasswordHash,
    now: Time,
) -> Result<bool, StoreError> {
    let args = args![id, password.0.as_str(), now.micros()];
    Ok(tx.run(&USER_SET_PASSWORD, args).await? == 1)
}

/// Replaces a hash by one of the same password under today's parameters, unless the password was
/// changed meanwhile, or another sign-in was faster: then it says false.
pub async fn rehash(
    tx: &mut Tx,
    id: Uuid,
    old: &PasswordHash,
    new: &PasswordHash,
) -> Result<bool, StoreError> {
    let args = args![id, new.0.as_str(), old.0.as_str()];
    Ok(tx.run(&USER_REHASH, args).await? == 1)
}

/// When an account was switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchedOff {
    /// For the first time since it was on.
    pub since: Time,
    /// For the last time: the instant of the act.
    pub at: Time,
}

/// Switches an account off, once more if it is off already. The act's instant is later than every
/// other of this row's, even if the clock stands or has stepped back: of two acts the later counts.
pub async fn switch_off(
    tx: &mut Tx,
    id: Uuid,
    now: Time,
) -> Result<Option<SwitchedOff>, StoreError> {
    let row: Option<(i64, i64)> = tx.one(&USER_SWITCH_OFF, args![id, now.micros()]).await?;
    let time = Time::from_micros;
    Ok(row.map(|(since, at)| SwitchedOff { since: time(since), at: time(at) }))
}

/// Switches an account on; returns the act's instant, of which the same is true.
pub async fn switch_on(tx: &mut Tx, id: Uuid, now: Time) -> Result<Option<Time>, StoreError> {
    let row: Option<(i64,)> = tx.one(&USER_SWITCH_ON, args![id, now.micros()]).await?;
    Ok(row.map(|(at,)| Time::from_micros(at)))
}

/// Keeps everybody else from changing a person until the commit.
pub async fn hold(tx: &mut Tx, id: Uuid) -> Result<(), StoreError> {
    tx.run(&USER_HOLD, args![id]).await.map(drop)
}

/// Writes that an account is off since then, or on, as acts that were lost have it; false if there is
/// no such person. When a row was last changed never moves back, whatever clock says so.
pub async fn set_disabled(
    tx: &mut Tx,
    id: Uuid,
    disabled_at: Option<Time>,
    now: Time,
) -> Result<bool, StoreError> {
    let args = args![id, disabled_at.map(Time::micros), now.micros()];
    Ok(tx.run(&USER_SET_DISABLED, args).await? == 1)
}

/// What the person authorized before this counts no more. It never moves back; false if it was there already,
/// or nobody is.
pub async fn set_valid_from(tx: &mut Tx, id: Uuid, from: Time) -> Result<bool, StoreError> {
    Ok(tx.run(&USER_SET_VALID_FROM, args![id, from.micros()]).await? == 1)
}

/// A code of this person is being redeemed, who proved who they are at `authenticated_at`: false if
/// the account is switched off or that proof counts no more. It writes the row, so that whoever
/// switches the account off at the same moment comes either before it, and nothing is issued, or
/// after it, and sees the family.
pub async fn signed_in(
    tx: &mut Tx,
    id: Uuid,
    authenticated_at: Time,
    now: Time,
) -> Result<bool, StoreError> {
    let args = args![id, now.micros(), authenticated_at.micros()];
    Ok(tx.one::<(Uuid,)>(&USER_SIGNED_IN, args).await?.is_some())
}

/// When this person last proved who they are, of all that became a family; the beginning of time if
/// nothing did. Asked behind a change of the person's row, nothing later can come.
pub async fn latest(tx: &mut Tx, id: Uuid) -> Result<Time, StoreError> {
    let row: Option<(i64,)> = tx.one(&USER_LATEST, args![id]).await?;
    Ok(Time::from_micros(row.map_or(0, |(at,)| at)))
}

/// Whether the account is still on, and this hash is still what opens it. It writes the row, so that
/// whoever changes the password or switches the account off at the same moment comes either before
/// it, and it is refused, or after it, and finds what was allowed.
pub async fn still_opens(tx: &mut Tx, id: Uuid, hash: &PasswordHash) -> Result<bool, StoreError> {
    Ok(tx.one::<(Uuid,)>(&USER_STILL_OPENS, args![id, hash.0.as_str()]).await?.is_some())
}

/// Deletes a person; false if there is none.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
    Ok(tx.run(&USER_DELETE, args![id]).await? == 1)
}

/// Discards the codes of a person that were not redeemed.
pub async fn discard_codes(tx: &mut Tx, id: Uuid) -> Result<u64, StoreError> {
    tx.run(&USER_CODES_DELETE, args![id]).await
}
