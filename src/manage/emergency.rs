//! Stolen signing keys and stolen root secrets.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::keys::{Fresh, generate};
use super::{Desk, ManageError};
use crate::domain::revocation::MARGIN;
use crate::domain::schedule::Step;
use crate::domain::signing_key::KeyRow;
use crate::domain::{ClientId, Revocation, Stage, Target, Time, emergency};
use crate::keys;
use crate::secret::{CHOSEN_HINT, SecretId};
use crate::store::audit::{self, Action, Event};
use crate::store::keys as rows;
use crate::store::versions::{self, Part};
use crate::store::{StoreError, Tx, instance, revocations, root_secrets, secrets};

/// How long a kind of verifier goes on to accept what a stolen key signs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Exposure {
    /// The verifiers.
    pub verifiers: &'static str,
    /// For how long.
    pub accept: &'static str,
}

/// What each kind of verifier does with a key that has left the JWKS.
pub const EXPOSURE: &[Exposure] = &[
    Exposure { verifiers: "introspection", accept: "no longer than revocation.max_staleness" },
    Exposure { verifiers: "PyJWT, Spring Security, Apigee", accept: "5 minutes" },
    Exposure { verifiers: "jose, Envoy, jwks-rsa", accept: "10 minutes" },
    Exposure { verifiers: "Istio", accept: "20 minutes" },
    Exposure {
        verifiers: "go-oidc",
        accept: "until it meets a kid it does not hold: restart it, or run `jeton keys rotate` \
                 once the new key has been published for keys.lead",
    },
    Exposure { verifiers: "PyJWT with cache_keys=True", accept: "until it is restarted" },
];

/// What came of declaring keys stolen.
#[derive(Debug, Clone, Serialize)]
pub struct CompromiseView {
    /// The keys that neither sign nor verify any more.
    pub compromised: Vec<String>,
    /// The keys that sign from now on.
    pub signing: Vec<String>,
    /// The keys that are shown from now on.
    pub published: Vec<String>,
    /// From when on every replica obeys.
    pub obeyed_within: String,
    /// How long verifiers that check signatures by themselves go on to accept the keys.
    pub exposure: &'static [Exposure],
}

/// What came, or would come, of declaring a root secret stolen.
#[derive(Debug, Clone, Serialize)]
pub struct SecretCompromiseView {
    /// The root secret.
    pub id: u8,
    /// The keys that were sealed under it.
    pub keys: CompromiseView,
    /// The clients that have no secret left and need a new one.
    pub clients_without_secret: Vec<String>,
    /// So many client secrets were stored under it.
    pub client_secrets: usize,
    /// The clients whose secret a person chose, and that have moved from it: whoever has the stolen
    /// secret and a copy of the database can guess at what was chosen, so they need a new one, too.
    pub clients_with_chosen_secret: Vec<String>,
}

impl Desk {
    /// Declares a signing key stolen: the next key signs at once, a new one is published, and nothing
    /// that the stolen one signed counts any more.
    pub async fn compromise_key(
        &self,
        kid: &str,
        why: Option<&str>,
        now: Time,
    ) -> Result<CompromiseView, ManageError> {
        let stored = rows::load(&self.db).await?;
        let row = stored.iter().find(|row| row.key.kid == kid);
        let row = row.ok_or_else(|| ManageError::NotFound { kind: "keys", id: kid.to_owned() })?;
        if row.key.compromised_at.is_some() {
            return Err(ManageError::invalid(format!("{kid} is declared stolen already")));
        }
        let stolen = [kid.to_owned()];
        let fresh = self.prepare(&stored, &stolen, now).await?;
        self.db
            .write(async |tx| {
                let stored = self.lock_keys(tx).await?;
                if let Some(why) = why {
                    let event = Event::new(Action::KeyCompromised, &self.actor, now);
                    let detail = json!({ "why": why });
                    audit::add(tx, &Event { kid: Some(kid), detail, ..event }).await?;
                }
                let acts = self.take_out(tx, &stored, &stolen, &fresh, now).await?;
                revocations::append(tx, &acts).await
            })
            .await?;
        self.compromised(stolen.to_vec(), now).await
    }

    /// Declares a root secret stolen: every key that was ever sealed under it, and every client
    /// secret that is stored under it. It must not be the one that seals now.
    pub async fn compromise_secret(
        &self,
        id: SecretId,
        now: Time,
        dry_run: bool,
    ) -> Result<SecretCompromiseView, ManageError> {
        if self.secrets.now().current() == id {
            return Err(ManageError::invalid(format!(
                "root secret {0} still seals whatever is made: first `jeton secrets add`, bring \
                 the file to every replica, `jeton secrets promote` the new one, and then \
                 `jeton secrets compromise {0}`",
                id.0
            )));
        }
        let stored = rows::load(&self.db).await?;
        let known = self.root_secrets().await?.iter().any(|one| one.id == id.0);
        if !known && sealed_under(&stored, id).is_empty() {
            return Err(ManageError::NotFound { kind: "secrets", id: id.0.to_string() });
        }
        // What only it opens would have to be proven by it, to be vouched for by another.
        let in_file = self.secrets.now().ids().contains(&id);
        let under = |row: &KeyRow| row.material.secret_id == id.0;
        if !in_file && stored.iter().any(|row| under(row) && row.key.compromised_at.is_none()) {
            return Err(ManageError::invalid(format!(
                "root secret {0} is not in the file, and keys are still under it: put it back \
                 first, in the last line; if it is lost, and not stolen, run `jeton secrets lost {0}`",
                id.0
            )));
        }
        let mut stolen = sealed_under(&stored, id);
        let held = secrets::load(&self.db).await?;
        let under = held.iter().filter(|one| one.pepper == id).count();
        let clients = without_secret(&held, id, now);
        if !dry_run {
            let fresh = self.prepare(&stored, &stolen, now).await?;
            stolen =
                self.db.write(async |tx| self.give_up_secret(tx, id, &fresh, now).await).await?;
        }
        Ok(SecretCompromiseView {
            id: id.0,
            keys: self.compromised(stolen, now).await?,
            clients_without_secret: clients,
            client_secrets: under,
            clients_with_chosen_secret: chosen_and_kept(&held, id, now),
        })
    }

    async fn give_up_secret(
        &self,
        tx: &mut Tx,
        id: SecretId,
        fresh: &Fresh,
        now: Time,
    ) -> Result<Vec<String>, StoreError> {
        let stored = self.lock_keys(tx).await?;
        versions::bump(tx, Part::Directory).await?;
        // As they are under the lock: what was sealed under it a moment ago counts, too.
        let stolen = sealed_under(&stored, id);
        let acts = self.take_out(tx, &stored, &stolen, fresh, now).await?;
        // Every row that it vouches for must be vouched for by another before it counts for nothing.
        let stored = rows::load_in(tx).await?;
        for row in stored.iter().filter(|row| row.material.secret_id == id.0) {
            self.reseal_row(tx, row, now).await?;
        }
        let removed = secrets::delete_under(tx, id).await?;
        root_secrets::stolen(tx, id, now).await?;
        let event = Event::new(Action::RootSecretCompromised, &self.actor, now);
        let detail = json!({ "id": id.0, "keys": stolen, "client_secrets": removed });
        audit::add(tx, &Event { detail, ..event }).await?;
        // Whoever has the secret can make a refresh token of any family, and may have exchanged it
        // for one under the new secret already.
        instance::set_valid_from(tx, now).await?;
        revocations::append(tx, &acts).await?;
        self.take_back(tx, vec![Target::Everything], now).await?;
        Ok(stolen)
    }

    /// Declares keys stolen again of which the database has forgotten it. They stayed so in memory.
    pub async fn compromise_again(&self, kids: &[String], now: Time) -> Result<(), ManageError> {
        let stored = rows::load(&self.db).await?;
        let fresh = self.prepare(&stored, kids, now).await?;
        self.db
            .write(async |tx| {
                let stored = self.lock_keys(tx).await?;
                let acts = self.take_out(tx, &stored, kids, &fresh, now).await?;
                revocations::append(tx, &acts).await
            })
            .await?;
        Ok(())
    }

    /// Makes the private halves that will be needed, before any lock is taken.
    async fn prepare(
        &self,
        stored: &[KeyRow],
        stolen: &[String],
        now: Time,
    ) -> Result<Fresh, ManageError> {
        generate(&emergency::compromise(&self.proven(stored), &self.policy, stolen, now)).await
    }

    /// Takes keys out of use, and returns the acts to write at the end of the transaction.
    async fn take_out(
        &self,
        tx: &mut Tx,
        stored: &[KeyRow],
        stolen: &[String],
        fresh: &Fresh,
        now: Time,
    ) -> Result<Vec<Revocation>, StoreError> {
        let steps = emergency::compromise(&self.proven(stored), &self.policy, stolen, now);
        let missing = |step: &Step| match step {
            Step::Create(new) => !fresh.contains_key(&(new.algorithm, new.epoch)),
            _ => false,
        };
        if steps.iter().any(missing) {
            // The plan has changed since the private halves were made.
            return Err(StoreError::Contended);
        }
        self.carry_out(tx, stored, steps, fresh, now).await?;
        let longest = self.longest_token(stored);
        let act = |kid: &String| Revocation {
            target: Target::Key(kid.clone()),
            issued_before: now,
            expires_at: now + longest + MARGIN,
        };
        Ok(stolen.iter().map(act).collect())
    }

    async fn compromised(
        &self,
        compromised: Vec<String>,
        now: Time,
    ) -> Result<CompromiseView, ManageError> {
        let stored = rows::load(&self.db).await?;
        let in_stage = |stage: Stage| {
            let keys = stored.iter().filter(|row| row.key.is_usable());
            let keys = keys.filter(|row| row.key.stage(now) == stage);
            keys.map(|row| row.key.kid.clone()).collect()
        };
        Ok(CompromiseView {
            compromised,
            signing: in_stage(Stage::Active),
            published: in_stage(Stage::Published),
            obeyed_within: humantime::format_duration(self.revocation_bound).to_string(),
            exposure: EXPOSURE,
        })
    }

    /// Seals every key under the present root secret, one after the other, each in a transaction of
    /// its own: it can stop at any point and go on later. Says how many it did.
    pub async fn reseal(&self, now: Time) -> Result<usize, ManageError> {
        let secrets = self.secrets.now();
        if !secrets.can_seal() {
            return Ok(0);
        }
        let current = secrets.current().0;
        let mut done = 0;
        for row in rows::load(&self.db).await? {
            let old = SecretId(row.material.secret_id);
            let opens = secrets.row_key(old).is_some() && !secrets.distrusts(old);
            // Never back: while files differ, replicas would seal to and fro without end.
            let back = row.material.sealed_before.contains(&current);
            if row.material.secret_id == current || !opens || back {
                continue;
            }
            let kid = &row.key.kid;
            let moved = self
                .db
                .write(async |tx| {
                    let stored = self.lock_keys(tx).await?;
                    let row = stored.iter().find(|row| row.key.kid == *kid);
                    let row = row.filter(|row| row.material.secret_id == old.0);
                    match row.filter(|_| self.secrets.now().current().0 == current) {
                        Some(row) => self.reseal_row(tx, row, now).await,
                        None => Ok(false),
                    }
                })
                .await?;
            done += usize::from(moved);
        }
        Ok(done)
    }

    /// False for a row that does not prove itself, which is left as it is.
    async fn reseal_row(&self, tx: &mut Tx, row: &KeyRow, now: Time) -> Result<bool, StoreError> {
        match keys::reseal(row, &self.secrets.now(), self.issuer.as_str()) {
            Ok(fresh) => rows::update(tx, &fresh).await?,
            Err(error) => {
                tracing::warn!(kid = row.key.kid, %error, "a key stays sealed as it was");
                return Ok(false);
            }
        }
        let event = Event::new(Action::KeyResealed, &self.actor, now);
        let detail = json!({ "from": row.material.secret_id });
        audit::add(tx, &Event { kid: Some(&row.key.kid), detail, ..event }).await?;
        Ok(true)
    }
}

/// The keys that somebody with a root secret may have opened, and that still count.
fn sealed_under(stored: &[KeyRow], id: SecretId) -> Vec<String> {
    let touched = |row: &&KeyRow| {
        row.material.secret_id == id.0 || row.material.sealed_before.contains(&id.0)
    };
    // Those that have left the JWKS, too: whoever vouches for a row vouches for all of it.
    let rows = stored.iter().filter(touched).filter(|row| row.key.compromised_at.is_none());
    rows.map(|row| row.key.kid.clone()).collect()
}

/// The clients that keep a live secret which a person chose.
fn chosen_and_kept(held: &[secrets::StoredSecret], id: SecretId, now: Time) -> Vec<String> {
    let kept = |one: &&secrets::StoredSecret| {
        one.is_live(now) && one.pepper != id && one.hint == CHOSEN_HINT
    };
    let clients: BTreeSet<_> = held.iter().filter(kept).map(|one| one.client.to_string()).collect();
    clients.into_iter().collect()
}

/// The clients all of whose live secrets are stored under a root secret.
pub(super) fn without_secret(
    held: &[secrets::StoredSecret],
    id: SecretId,
    now: Time,
) -> Vec<String> {
    let live = || held.iter().filter(|one| one.is_live(now));
    let keep: BTreeSet<&ClientId> =
        live().filter(|one| one.pepper != id).map(|one| &one.client).collect();
    let lost: BTreeSet<&ClientId> = live().map(|one| &one.client).collect();
    lost.difference(&keep).map(ToString::to_string).collect()
}
