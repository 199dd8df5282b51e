//! The root-secret file: look at it, add, promote and drop.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::emergency::without_secret;
use super::{Desk, ManageError, shown};
use crate::domain::Time;
use crate::domain::signing_key::KeyRow;
use crate::secret::{SecretId, file};
use crate::store::audit::{self, Action, Event};
use crate::store::root_secrets::Retired;
use crate::store::versions::{self, Part};
use crate::store::{StoreError, Tx, instance, keys, root_secrets, secrets};

/// A root secret as operators see it; never the secret.
#[derive(Debug, Clone, Serialize)]
pub struct RootSecretView {
    /// Its id.
    pub id: u8,
    /// `seals`, `opens`, or `gone` if it is not in the file.
    pub role: &'static str,
    /// So many signing keys are sealed and vouched for under it.
    pub keys: usize,
    /// So many client secrets are stored under it.
    pub client_secrets: usize,
    /// Since when it is known to be stolen.
    pub compromised_at: Option<String>,
    /// Since when it is out of the file.
    pub dropped_at: Option<String>,
}

/// What went, or would go, with a lost root secret.
#[derive(Debug, Clone, Serialize)]
pub struct LostSecretView {
    /// Its id.
    pub id: u8,
    /// So many signing keys.
    pub keys: u64,
    /// So many client secrets.
    pub client_secrets: u64,
    /// The clients that have no secret left and need a new one.
    pub clients_without_secret: Vec<String>,
    /// Whether it was done.
    pub done: bool,
}

impl Desk {
    /// Every root secret that is in the file, in use, or out of use.
    pub async fn root_secrets(&self) -> Result<Vec<RootSecretView>, ManageError> {
        let keys = keys::load(&self.db).await?;
        let stored = secrets::load(&self.db).await?;
        let retired = root_secrets::load(&self.db).await?;
        let set = self.secrets.now();
        let in_file: Vec<u8> = set.ids().iter().map(|id| id.0).collect();
        let mut ids: BTreeSet<u8> = in_file.iter().copied().collect();
        ids.extend(keys.iter().map(|row| row.material.secret_id));
        ids.extend(stored.iter().map(|one| one.pepper.0));
        ids.extend(retired.iter().map(|one| one.id.0));
        let view = |id: u8| {
            let known = retired.iter().find(|one| one.id.0 == id);
            RootSecretView {
                id,
                role: if set.current().0 == id {
                    "seals"
                } else if in_file.contains(&id) {
                    "opens"
                } else {
                    "gone"
                },
                keys: keys.iter().filter(|row| row.material.secret_id == id).count(),
                client_secrets: stored.iter().filter(|one| one.pepper.0 == id).count(),
                compromised_at: known.and_then(|one| one.compromised_at).map(shown),
                dropped_at: known.and_then(|one| one.dropped_at).map(shown),
            }
        };
        Ok(ids.into_iter().map(view).collect())
    }

    /// Adds a fresh root secret to the file, under an id that was never used: it opens, and seals
    /// nothing until it is promoted. Returns its id.
    pub async fn add_root_secret(&self, now: Time) -> Result<SecretId, ManageError> {
        let mut used: BTreeSet<u8> = self.root_secrets().await?.iter().map(|one| one.id).collect();
        for row in keys::load(&self.db).await? {
            used.extend(row.material.sealed_before);
        }
        let mut next = used.last().copied().unwrap_or(0);
        loop {
            next = next.checked_add(1).ok_or_else(|| {
                ManageError::invalid("all 255 ids were used; an id never names a second secret")
            })?;
            let id = SecretId(next);
            let taken = self
                .db
                .write(async |tx| {
                    let taken = root_secrets::take(tx, id, now).await?;
                    if taken {
                        self.noted(tx, Action::RootSecretAdded, id, now).await?;
                    }
                    Ok(taken)
                })
                .await?;
            if taken {
                file::add(self.secrets.path(), id)?;
                return Ok(id);
            }
        }
    }

    /// Lets a root secret seal from now on; running replicas seal everything anew under it.
    pub async fn promote_root_secret(&self, id: SecretId, now: Time) -> Result<(), ManageError> {
        if self.root_secret_is_stolen(id) {
            return Err(ManageError::invalid(format!(
                "root secret {} is known to be stolen: add a fresh one and promote that",
                id.0
            )));
        }
        file::promote(self.secrets.path(), id)?;
        let note = async |tx: &mut Tx| self.noted(tx, Action::RootSecretPromoted, id, now).await;
        Ok(self.db.write(note).await?)
    }

    async fn noted(
        &self,
        tx: &mut Tx,
        action: Action,
        id: SecretId,
        now: Time,
    ) -> Result<(), StoreError> {
        let event = Event::new(action, &self.actor, now);
        audit::add(tx, &Event { detail: json!({ "id": id.0 }), ..event }).await
    }

    /// Learns which root secrets are known to be stolen, as a server does when it loads keys.
    pub async fn learn_of_thefts(&self) -> Result<(), StoreError> {
        self.distrust_stolen(&root_secrets::load(&self.db).await?);
        Ok(())
    }

    /// Takes the lock on the keys, and returns them. Whoever holds it knows of every theft: a replica
    /// that has not polled since one was declared, and whose file still has that secret in front, would
    /// otherwise seal under it what was sealed anew a moment ago.
    pub(super) async fn lock_keys(&self, tx: &mut Tx) -> Result<Vec<KeyRow>, StoreError> {
        let rows = keys::lock(tx).await?;
        self.distrust_stolen(&root_secrets::load_in(tx).await?);
        Ok(rows)
    }

    fn distrust_stolen(&self, known: &[Retired]) {
        let stolen = known.iter().filter(|one| one.compromised_at.is_some()).map(|one| one.id);
        self.secrets.distrust(&stolen.collect::<Vec<_>>());
    }

    /// Gives up what only a lost root secret opens: it cannot be told from what somebody planted, and as
    /// long as it is there no server starts. What is gone then is said; nobody but an operator can know
    /// that there is no copy anywhere.
    pub async fn give_up_lost_secret(
        &self,
        id: SecretId,
        now: Time,
        dry_run: bool,
    ) -> Result<LostSecretView, ManageError> {
        let all = self.root_secrets().await?;
        let found = all.iter().find(|one| one.id == id.0 && one.dropped_at.is_none());
        let missing = || ManageError::NotFound { kind: "secrets", id: id.0.to_string() };
        let found = found.ok_or_else(missing)?;
        if found.role != "gone" {
            return Err(ManageError::invalid(format!(
                "root secret {} is not lost: it is in {}",
                id.0,
                self.secrets.path().display()
            )));
        }
        let clients = without_secret(&secrets::load(&self.db).await?, id, now);
        let mut view = LostSecretView {
            id: id.0,
            keys: found.keys as u64,
            client_secrets: found.client_secrets as u64,
            clients_without_secret: clients,
            done: !dry_run,
        };
        if !dry_run {
            let give_up = async |tx: &mut Tx| self.give_up(tx, id, now).await;
            (view.keys, view.client_secrets) = self.db.write(give_up).await?;
        }
        Ok(view)
    }

    async fn give_up(
        &self,
        tx: &mut Tx,
        id: SecretId,
        now: Time,
    ) -> Result<(u64, u64), StoreError> {
        self.lock_keys(tx).await?;
        versions::bump(tx, Part::Directory).await?;
        let gone = (keys::delete_under(tx, id).await?, secrets::delete_under(tx, id).await?);
        root_secrets::dropped(tx, id, now).await?;
        // Refresh tokens under it prove nothing any more, and nobody can present another.
        instance::set_valid_from(tx, now).await?;
        let detail = json!({ "id": id.0, "keys": gone.0, "client_secrets": gone.1 });
        let event = Event::new(Action::RootSecretLost, &self.actor, now);
        audit::add(tx, &Event { detail, ..event }).await?;
        Ok(gone)
    }

    fn root_secret_is_stolen(&self, id: SecretId) -> bool {
        self.secrets.now().distrusts(id)
    }

    /// Takes a root secret out of the file, once nothing is left that only it opens.
    pub async fn drop_root_secret(&self, id: SecretId, now: Time) -> Result<(), ManageError> {
        let all = self.root_secrets().await?;
        let found = all.iter().find(|one| one.id == id.0 && one.role != "gone");
        let missing = || ManageError::NotFound { kind: "secrets", id: id.0.to_string() };
        let found = found.ok_or_else(missing)?;
        if found.role == "seals" {
            return Err(ManageError::invalid(format!(
                "root secret {} seals whatever is made: promote another one first",
                id.0
            )));
        }
        if found.keys > 0 || found.client_secrets > 0 {
            return Err(ManageError::invalid(format!(
                "{} signing keys and {} client secrets are still under root secret {}. Running \
                 replicas seal keys anew within seconds; a client secret moves when it is next \
                 used: see `jeton client list` for those that were not, give those clients new \
                 secrets or delete them, and try again",
                found.keys, found.client_secrets, id.0
            )));
        }
        // It is noted first; a file that still holds it does no harm. And it is looked at again under
        // the locks, or a replica with an older file could bring something under it meanwhile.
        let dropped = self
            .db
            .write(async |tx| {
                let keys = self.lock_keys(tx).await?;
                versions::bump(tx, Part::Directory).await?;
                let stored = secrets::load_in(tx).await?;
                if keys.iter().any(|row| row.material.secret_id == id.0)
                    || stored.iter().any(|one| one.pepper == id)
                {
                    return Ok(false);
                }
                root_secrets::dropped(tx, id, now).await?;
                self.noted(tx, Action::RootSecretDropped, id, now).await?;
                Ok(true)
            })
            .await?;
        if !dropped {
            return Err(ManageError::invalid(format!(
                "something was brought under root secret {} this moment; a replica may still have an \
                 older file: look at its log and try again",
                id.0
            )));
        }
        Ok(file::drop(self.secrets.path(), id)?)
    }
}
