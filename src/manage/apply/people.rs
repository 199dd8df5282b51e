//! `[[user]]`: people as a file describes them, and their passwords made ready before anything is
//! locked, because a hash takes its time.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::ApplyFile;
use crate::domain::Username;
use crate::hashing::{self, Hashing};
use crate::manage::describe::Mistakes;
use crate::manage::users::{hash, hashing as pool};
use crate::manage::{Desk, ManageError};
use crate::secret::{Password, RootSecrets, SecretId, WrittenPassword, same};
use crate::store::applied;
use crate::store::users::{self, Account, PasswordHash};

/// A `[[user]]`. Whether somebody is switched off is not part of it: that is an operator's act.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserDescription {
    /// What the person signs in with.
    pub username: String,
    /// A password; omitted: the present one stays.
    pub password: Option<WrittenPassword>,
    /// A file that holds the password.
    pub password_file: Option<String>,
    /// The hash of a password, for people who come from elsewhere.
    pub password_hash: Option<WrittenPassword>,
}

/// What shall open the account.
#[derive(Debug, Clone)]
pub(super) enum Opener {
    /// A password.
    Password(Password),
    /// The hash of one.
    Hash(PasswordHash),
}

/// A person as a file wants them.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub username: Username,
    pub opener: Option<Opener>,
}

/// A password that the file gives and that is not known to be the one that was applied last.
#[derive(Debug, Clone)]
pub(super) enum Ready {
    /// It opens the account already.
    Opens,
    /// This is to be stored.
    Store(PasswordHash),
}

/// What was made ready, by username.
pub(super) type Passwords = HashMap<String, Ready>;

impl UserDescription {
    /// The person who is described, as far as it can be made out; mistakes go to `into`.
    pub(super) fn check(&self, into: &mut Vec<String>) -> Option<Wanted> {
        let mut mistakes = Mistakes::new("user", &self.username, into);
        let username = Username::parse(&self.username);
        let username = username.map_err(|what| mistakes.add("username", what)).ok()?;
        let ways =
            [self.password.is_some(), self.password_file.is_some(), self.password_hash.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            mistakes.add("password", "give one of password, password_file and password_hash");
        }
        let password = self.password.as_ref().map(WrittenPassword::choose).transpose();
        let password = password.map_err(|what| mistakes.add("password", what)).ok()?;
        let hash = self.password_hash.as_ref().map(WrittenPassword::expose);
        if let Some(Err(what)) = hash.map(hashing::fit) {
            mistakes.add("password_hash", what);
            return None;
        }
        let hash = hash.map(|text| Opener::Hash(PasswordHash(text.to_owned())));
        Some(Wanted { username, opener: password.map(Opener::Password).or(hash) })
    }
}

impl Wanted {
    /// What is remembered of a password: a MAC under a key that is not in the database, so that
    /// nobody can guess at it there faster than at the hash.
    pub(super) fn tag(&self, secrets: &RootSecrets, id: SecretId) -> Option<String> {
        let (kind, text) = match self.opener.as_ref()? {
            Opener::Password(password) => ("password", password.expose()),
            Opener::Hash(hash) => ("hash", hash.0.as_str()),
        };
        let parts = [kind, self.username.as_str(), text].map(str::as_bytes);
        let mac = secrets.applied_key(id)?.mac(&parts);
        Some(format!("{}:{}", id.0, URL_SAFE_NO_PAD.encode(mac)))
    }

    /// Whether the password is the one that was applied last; `None` if that cannot be told.
    pub(super) fn is_same(&self, secrets: &RootSecrets, last: &str) -> Option<bool> {
        let id = last.split_once(':').and_then(|(id, _)| id.parse().ok()).map(SecretId)?;
        let tag = self.tag(secrets, id)?;
        Some(same(tag.as_bytes(), last.as_bytes()))
    }

    /// Whether the account is opened by it already, or what to store.
    async fn ready(
        &self,
        account: Option<&Account>,
        pool: &Hashing,
    ) -> Result<Option<Ready>, ManageError> {
        let stored = account.and_then(|account| account.password.as_ref());
        Ok(Some(match &self.opener {
            None => return Ok(None),
            Some(Opener::Hash(hash)) if stored == Some(hash) => Ready::Opens,
            Some(Opener::Hash(hash)) => Ready::Store(hash.clone()),
            Some(Opener::Password(password)) => {
                if let Some(stored) = stored {
                    let typed = Zeroizing::new(password.expose().to_owned());
                    if pool.verify(typed, Some(stored.0.clone())).await? {
                        return Ok(Some(Ready::Opens));
                    }
                }
                Ready::Store(hash(pool, password).await?)
            }
        }))
    }
}

impl Desk {
    /// Hashes the passwords that the file gives anew. What was applied before costs nothing, so a
    /// start with a thousand people in its file is not slower than one with none.
    pub(super) async fn ready_passwords(&self, file: &ApplyFile) -> Result<Passwords, ManageError> {
        let mut ready = Passwords::new();
        if file.users.is_empty() {
            return Ok(ready);
        }
        let applied = applied::load(&self.db).await?;
        let last: HashMap<_, _> = applied
            .iter()
            .filter(|one| one.kind == "user" && one.field == "password")
            .map(|one| (one.object_id.as_str(), one.digest.as_str()))
            .collect();
        let accounts = users::all(&self.db).await?;
        let accounts: HashMap<_, _> =
            accounts.iter().map(|one| (one.user.username.as_str(), one)).collect();
        let (secrets, pool) = (self.secrets.now(), pool()?);
        for described in &file.users {
            // Its mistakes are named when the file is held against the database.
            let Some(wanted) = described.check(&mut Vec::new()) else { continue };
            let name = wanted.username.as_str();
            let known = last.get(name).and_then(|last| wanted.is_same(&secrets, last));
            if known == Some(true) {
                continue;
            }
            if let Some(one) = wanted.ready(accounts.get(name).copied(), &pool).await? {
                ready.insert(name.to_owned(), one);
            }
        }
        Ok(ready)
    }
}
