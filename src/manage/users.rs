//! People: register, look at, switch off and on, give a password, delete.
//!
//! Whatever takes access away does so in one transaction: the person's row first, so that whoever
//! redeems a code of theirs at the same moment comes before it and is found, or after it and gets
//! nothing; then sign-ins and codes; the act that replicas obey last.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Desk, ManageError, shown};
use crate::domain::session::End;
use crate::domain::{Target, Time, User, Username};
use crate::hashing::Hashing;
use crate::secret::Password;
use crate::store::audit::{self, Action, Event};
use crate::store::db::LONG;
use crate::store::sessions::{self, Filter};
use crate::store::users::{self, Account, PasswordHash};
use crate::store::{Db, StoreError, Tx, clients, families, instance, revocations};

/// A person as operators see them.
#[derive(Debug, Clone, Serialize)]
pub struct UserView {
    /// What they sign in with.
    pub username: String,
    /// The subject of their tokens.
    pub subject: String,
    /// Whether the account is switched off.
    pub disabled: bool,
    /// Since when.
    pub disabled_at: Option<String>,
    /// Whether a password opens the account.
    pub has_password: bool,
    /// When they last signed in.
    pub signed_in_at: Option<String>,
    /// So many of their sign-ins can be refreshed.
    pub live_sessions: i64,
    /// What they authorized before this counts no more.
    pub valid_from: String,
    /// When the account was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// A person together with a password that is shown this once.
#[derive(Debug, Serialize)]
pub struct NewPassword {
    /// What they sign in with.
    pub username: String,
    /// The subject of their tokens.
    pub subject: String,
    /// The password, if one was made.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub password: Option<Password>,
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn exposed<S: Serializer>(password: &Option<Password>, to: S) -> Result<S::Ok, S::Error> {
    password.as_ref().map(Password::expose).serialize(to)
}

/// What an act did to a person.
struct Done {
    /// So many sign-ins were ended, suspended or let go on.
    sessions: u64,
    /// What replicas are told of it, and the instant that goes with it.
    act: Option<(Target, Time)>,
}

impl Desk {
    /// Everybody.
    pub async fn users(&self, now: Time) -> Result<Vec<UserView>, ManageError> {
        let live = live(&self.db, None, now).await?;
        Ok(users::all(&self.db).await?.iter().map(|one| view(one, &live)).collect())
    }

    /// One person, by username or subject.
    pub async fn user(&self, name: &str, now: Time) -> Result<UserView, ManageError> {
        let account = self.account(name).await?;
        Ok(view(&account, &live(&self.db, Some(account.user.id), now).await?))
    }

    pub(super) async fn account(&self, name: &str) -> Result<Account, ManageError> {
        let found = match (Username::parse(name), Uuid::parse_str(name)) {
            (Ok(name), _) => users::by_name(&self.db, &name).await?,
            (_, Ok(id)) => users::get(&self.db, id).await?,
            _ => None,
        };
        found.ok_or_else(|| not_found(name))
    }

    /// Registers a person, with the chosen password or a new one. The subject is random: it tells
    /// nothing, not even when the account was made.
    pub async fn create_user(
        &self,
        name: &str,
        id: Option<Uuid>,
        chosen: Option<Password>,
        now: Time,
    ) -> Result<NewPassword, ManageError> {
        let name = Username::parse(name)
            .map_err(|what| ManageError::invalid(format!("user {name:?}: {what}")))?;
        let chosen_id = id.is_some();
        let id = id.unwrap_or_else(new_subject);
        let made = chosen.is_none();
        let password = chosen.unwrap_or_else(Password::generate);
        let hash = hash(&hashing()?, &password).await?;
        let added = self
            .db
            .write(async |tx| {
                let added = users::add(tx, id, &name, Some(&hash), now).await?;
                if added {
                    self.note_user(tx, Action::UserCreated, id, json!({}), now).await?;
                }
                if added && chosen_id {
                    self.begin_switched_on(tx, id, now).await?;
                }
                Ok(added)
            })
            .await?;
        if added {
            let subject = id.to_string();
            let password = Some(password).filter(|_| made);
            return Ok(NewPassword { username: name.to_string(), subject, password });
        }
        let taken = users::by_name(&self.db, &name).await?.is_some();
        let id = if taken { name.to_string() } else { id.to_string() };
        Err(ManageError::Exists { kind: "user", id })
    }

    /// Somebody may have had this subject before, and may have been switched off and deleted: that is
    /// not true of whoever has it now.
    async fn begin_switched_on(&self, tx: &mut Tx, id: Uuid, now: Time) -> Result<(), StoreError> {
        let subject = id.to_string();
        let before = revocations::switched(tx).await?.remove(&subject).unwrap_or_default();
        let Some(off_at) = before.off_at.filter(|_| before.is_off()) else { return Ok(()) };
        let later = now.max(off_at + Duration::from_micros(1));
        let Some(at) = users::switch_on(tx, id, later).await? else { return Ok(()) };
        self.take_back(tx, vec![Target::Enabled(subject)], at).await
    }

    /// Switches an account off: nobody can sign in to it, its refresh tokens work no more, and its
    /// access tokens are inactive within the bound of the mirror. Its sign-ins are only suspended.
    pub async fn disable_user(&self, name: &str, now: Time) -> Result<UserView, ManageError> {
        let disable = async |tx: &mut Tx, user: &User| {
            let Some(off) = users::switch_off(tx, user.id, now).await? else { return Ok(None) };
            // The first instant stays in the rows: it is what is asked about afterwards.
            let sessions = families::suspend(tx, user.id, Some(off.since)).await?;
            users::discard_codes(tx, user.id).await?;
            let act = Some((Target::Disabled(user.id.to_string()), off.at));
            Ok(Some(Done { sessions, act }))
        };
        self.change_user(name, Action::UserDisabled, now, disable).await?;
        self.user(name, now).await
    }

    /// Switches an account on again: what was not ended meanwhile can be refreshed again, and access
    /// tokens that are not over count again.
    pub async fn enable_user(&self, name: &str, now: Time) -> Result<UserView, ManageError> {
        let enable = async |tx: &mut Tx, user: &User| {
            let Some(at) = users::switch_on(tx, user.id, now).await? else { return Ok(None) };
            let sessions = families::suspend(tx, user.id, None).await?;
            let act = Some((Target::Enabled(user.id.to_string()), at));
            Ok(Some(Done { sessions, act }))
        };
        self.change_user(name, Action::UserEnabled, now, enable).await?;
        self.user(name, now).await
    }

    /// Replaces the password, and takes back every sign-in unless they are to be kept: whoever knew
    /// the old one may have signed in with it.
    pub async fn set_password(
        &self,
        name: &str,
        chosen: Option<Password>,
        keep_sessions: bool,
        now: Time,
    ) -> Result<NewPassword, ManageError> {
        let made = chosen.is_none();
        let password = chosen.unwrap_or_else(Password::generate);
        // Before it is hashed, so that a misspelt name costs nothing.
        self.account(name).await?;
        let hash = hash(&hashing()?, &password).await?;
        let set = async |tx: &mut Tx, user: &User| {
            if !users::set_password(tx, user.id, &hash, now).await? {
                return Ok(None);
            }
            if keep_sessions {
                return Ok(Some(Done { sessions: 0, act: None }));
            }
            let sessions = self.end_sign_ins(tx, user.id, End::PasswordChanged, now).await?;
            Ok(Some(Done { sessions, act: Some(everything_about(tx, user.id, now).await?) }))
        };
        let user = self.change_user(name, Action::UserPasswordSet, now, set).await?;
        Ok(NewPassword {
            username: user.username.to_string(),
            subject: user.id.to_string(),
            password: Some(password).filter(|_| made),
        })
    }

    /// Deletes a person, and takes back everything that was issued about them.
    pub async fn delete_user(&self, name: &str, now: Time) -> Result<(), ManageError> {
        let delete = async |tx: &mut Tx, user: &User| {
            let Some(sessions) = self.remove_user(tx, user.id, now).await? else { return Ok(None) };
            Ok(Some(Done { sessions, act: Some(everything_about(tx, user.id, now).await?) }))
        };
        self.change_user(name, Action::UserDeleted, now, delete).await.map(drop)
    }

    /// One act on one existing person, audited; returns the person as they were before.
    async fn change_user(
        &self,
        name: &str,
        action: Action,
        now: Time,
        act: impl AsyncFn(&mut Tx, &User) -> Result<Option<Done>, StoreError>,
    ) -> Result<User, ManageError> {
        let id = self.account(name).await?.user.id;
        let write = || {
            self.db.write_within(LONG, async |tx| {
                let Some(Account { user, .. }) = users::get_in(tx, id).await? else {
                    return Ok(None);
                };
                let Some(done) = act(tx, &user).await? else { return Ok(None) };
                let detail = json!({ "sessions": done.sessions });
                self.note_user(tx, action, user.id, detail, now).await?;
                if let Some((target, at)) = done.act {
                    self.take_back(tx, vec![target], at).await?;
                }
                Ok(Some(user))
            })
        };
        write().await?.ok_or_else(|| not_found(name))
    }

    /// Deletes a person's row and ends what they authorized; `None` if there is no such row.
    pub(super) async fn remove_user(
        &self,
        tx: &mut Tx,
        id: Uuid,
        now: Time,
    ) -> Result<Option<u64>, StoreError> {
        if !users::delete(tx, id).await? {
            return Ok(None);
        }
        self.end_sign_ins(tx, id, End::UserDeleted, now).await.map(Some)
    }

    /// Ends everything that a person authorized until now, codes included. The caller takes their
    /// access tokens back, at the end of the transaction.
    pub(super) async fn end_sign_ins(
        &self,
        tx: &mut Tx,
        id: Uuid,
        why: End,
        now: Time,
    ) -> Result<u64, StoreError> {
        users::set_valid_from(tx, id, now).await?;
        users::discard_codes(tx, id).await?;
        sessions::end_of(tx, id, why, now).await
    }

    /// Writes to the trail. It names people by their subject alone: the trail stays when they go.
    pub(super) async fn note_user(
        &self,
        tx: &mut Tx,
        action: Action,
        id: Uuid,
        mut detail: Value,
        now: Time,
    ) -> Result<(), StoreError> {
        if let Some(members) = detail.as_object_mut() {
            members.insert("subject".to_owned(), json!(id.to_string()));
        }
        audit::add(tx, &Event { detail, ..Event::new(action, &self.actor, now) }).await
    }
}

/// The act that takes back every access token about a person, whose row was changed before. Somebody may
/// have signed in between `now`, when the operator's command began, and that change: what they allowed
/// is older than the act all the same.
pub(super) async fn everything_about(
    tx: &mut Tx,
    id: Uuid,
    now: Time,
) -> Result<(Target, Time), StoreError> {
    let latest = users::latest(tx, id).await? + Duration::from_millis(1);
    Ok((Target::Subject(id.to_string()), now.max(latest)))
}

/// A subject: random, for it is in every token and must not tell when its person came.
pub(super) fn new_subject() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// One at a time: an operator waits for it, and servers have a pool of their own.
pub(super) fn hashing() -> Result<Hashing, ManageError> {
    Ok(Hashing::new(1)?)
}

pub(super) async fn hash(
    hashing: &Hashing,
    password: &Password,
) -> Result<PasswordHash, ManageError> {
    let text = zeroize::Zeroizing::new(password.expose().to_owned());
    Ok(PasswordHash(hashing.hash(text).await?))
}

/// How many sign-ins of each person can be refreshed. What a watermark of the instance or of a client
/// took back stands in rows that look alive.
async fn live(db: &Db, subject: Option<Uuid>, now: Time) -> Result<HashMap<Uuid, i64>, StoreError> {
    let from = instance::valid_from(db).await?;
    let filter = Filter { subject, ..Filter::default() };
    let mut counts = sessions::live(db, &filter, from, now).await?;
    for client in clients::load(db).await? {
        let taken_back = client.valid_from.filter(|valid| *valid > client.created_at);
        let Some(until) = taken_back.filter(|until| Some(*until) > from) else { continue };
        let before = Filter { client: Some(&client.id), born_before: Some(until), ..filter };
        for (subject, dead) in sessions::live(db, &before, from, now).await? {
            counts.entry(subject).and_modify(|count| *count -= dead);
        }
    }
    Ok(counts)
}

fn view(account: &Account, live: &HashMap<Uuid, i64>) -> UserView {
    let user = &account.user;
    UserView {
        username: user.username.to_string(),
        subject: user.id.to_string(),
        disabled: user.disabled_at.is_some(),
        disabled_at: user.disabled_at.map(shown),
        has_password: account.password.is_some(),
        signed_in_at: user.signed_in_at.map(shown),
        live_sessions: live.get(&user.id).copied().unwrap_or(0),
        valid_from: shown(user.valid_from),
        created_at: shown(user.created_at),
        updated_at: shown(user.updated_at),
    }
}

fn not_found(name: &str) -> ManageError {
    ManageError::NotFound { kind: "user", id: name.to_owned() }
}
