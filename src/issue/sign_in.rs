//! Signing in: a username and a password, and the person whose they are.
//!
//! A name that is nobody's, a wrong password, an account that is switched off and one that no
//! password opens get one and the same answer after the same work, so that nobody can find out who
//! has an account. What differs goes to the log.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Caller, Service, away};
use crate::domain::{Reason, Refusal, Time, Username};
use crate::hashing::{HashError, Hashing};
use crate::store::users::{self, Account, PasswordHash};

/// What somebody typed.
pub struct Credentials {
    /// The name. It may be a password in the wrong field, so it is not logged.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who it is.
    pub subject: Uuid,
    /// When it was proved.
    pub at: Time,
    /// What proved it: it must still open the account when what they allow is stored.
    pub(super) hash: PasswordHash,
}

impl Service {
    /// Finds out who somebody is, or refuses. A network that has failed too often is refused before
    /// its password is looked at: were the right one let through, guessing would only be slower.
    pub async fn sign_in(
        &self,
        credentials: Credentials,
        caller: &Caller,
        now: Time,
    ) -> Result<SignedIn, Refusal> {
        let name = Username::parse(&credentials.username).ok();
        self.limits.may_sign_in(caller.network, name.as_ref(), caller.endpoint)?;
        let place = self.signing_in.enter(caller.network).ok_or(Reason::Overloaded)?;
        let account = match &name {
            Some(name) => users::by_name(&self.db, name).await.map_err(|error| away(&error))?,
            None => None,
        };
        let opens = |account: &Account| account.user.disabled_at.is_none();
        let stored = account.as_ref().filter(|one| opens(one)).and_then(|one| one.password.clone());
        let password = credentials.password;
        let phc = stored.as_ref().map(|hash| hash.0.clone());
        match self.hashing.verify(password.clone(), phc).await {
            Ok(true) => {}
            Err(HashError::Overloaded) => return Err(Reason::Overloaded.into()),
            other => {
                if other.is_err() {
                    tracing::error!("a stored password hash cannot be read");
                }
                let person = account.map(|account| account.user.id);
                let request = caller.request_id.as_str();
                self.limits.sign_in_failed(caller.network, name.as_ref(), caller.endpoint);
                self.mirror.notes.sign_in_failed(person, caller.network, now, request);
                return Err(Reason::SignInFailed.into());
            }
        }
        let (Some(account), Some(stored)) = (account, stored) else {
            return Err(Reason::SignInFailed.into());
        };
        let hash = self.hash_anew(account.user.id, stored, password).await;
        drop(place);
        Ok(SignedIn { subject: account.user.id, at: now, hash })
    }

    /// Brings a hash to today's parameters; returns the one that is stored then. It is no reason to
    /// keep somebody out if that fails.
    async fn hash_anew(
        &self,
        person: Uuid,
        old: PasswordHash,
        password: Zeroizing<String>,
    ) -> PasswordHash {
        if !Hashing::is_outdated(&old.0) {
            return old;
        }
        let Ok(new) = self.hashing.hash(password.clone()).await.map(PasswordHash) else {
            return old;
        };
        match self.db.write(async |tx| users::rehash(tx, person, &old, &new).await).await {
            Ok(true) => return new,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a password could not be hashed anew; next time"),
        }
        // Another sign-in was faster, or the answer was lost: what is stored now may be of the same
        // password all the same, and whoever knows it must not be told that it is wrong.
        let now = users::get(&self.db, person).await.ok().flatten().and_then(|one| one.password);
        let Some(now) = now.filter(|now| *now != old) else { return old };
        match self.hashing.verify(password, Some(now.0.clone())).await {
            Ok(true) => now,
            _ => old,
        }
    }
}
