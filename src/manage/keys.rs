//! Signing keys: look at them, carry out their schedule, bring a rotation forward, hold, import.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Desk, ManageError, shown};
use crate::domain::schedule::{self, NewKey, Step};
use crate::domain::signing_key::KeyRow;
use crate::domain::{Algorithm, SigningKey, Time, Times};
use crate::keys::{self, KeyError, PrivateKey};
use crate::store::audit::{self, Action, Event};
use crate::store::keys as rows;
use crate::store::{StoreError, Tx};

/// A key as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    /// Its name.
    pub kid: String,
    /// Its line.
    pub algorithm: &'static str,
    /// Its place in the line.
    pub epoch: i64,
    /// Where it is in its life.
    pub stage: &'static str,
    /// Whether it is kept in the JWKS beyond its time.
    pub held: bool,
    /// Whether its private half is gone.
    pub destroyed: bool,
    /// Why it cannot be used, if it cannot.
    pub trouble: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is in the JWKS.
    pub publish_at: String,
    /// From when on it signs.
    pub activate_at: String,
    /// Until when it signs.
    pub sign_until: String,
    /// When it leaves the JWKS.
    pub remove_at: String,
    /// The same instants for programs: microseconds since 1970.
    #[serde(skip)]
    pub turns: [Time; 4],
}

/// Something that will happen to a key.
#[derive(Debug, Clone, Serialize)]
pub struct ForecastView {
    /// When.
    pub at: String,
    /// In which line.
    pub algorithm: &'static str,
    /// To which place in it.
    pub epoch: i64,
    /// To which key; absent for keys that do not exist yet.
    pub kid: Option<String>,
    /// The stage it enters.
    pub becomes: &'static str,
}

/// What maintenance did, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What was done.
    pub action: &'static str,
    /// To which key.
    pub kid: String,
}

/// What came of holding a key, or of letting it go.
enum Held {
    Done,
    Missing,
    Stolen,
}

impl Desk {
    /// Every key with its stage, in order of line and place.
    pub async fn keys(&self, now: Time) -> Result<Vec<KeyView>, ManageError> {
        let view = |row: KeyRow| {
            let opened = keys::open(&row, &self.secrets.now(), self.issuer.as_str(), None);
            let KeyRow { key, .. } = row;
            let times = key.times;
            KeyView {
                algorithm: key.algorithm.name(),
                epoch: key.epoch,
                stage: key.stage(now).name(),
                held: key.held,
                destroyed: key.destroyed,
                trouble: opened.err().map(|error| error.to_string()),
                created_at: shown(key.created_at),
                publish_at: shown(times.publish_at),
                activate_at: shown(times.activate_at),
                sign_until: shown(times.sign_until),
                remove_at: shown(times.remove_at),
                turns: [times.publish_at, times.activate_at, times.sign_until, times.remove_at],
                kid: key.kid,
            }
        };
        Ok(rows::load(&self.db).await?.into_iter().map(view).collect())
    }

    /// What will happen to the keys until `until` if nobody intervenes.
    pub async fn forecast(&self, now: Time, until: Time) -> Result<Vec<ForecastView>, ManageError> {
        let rows = rows::load(&self.db).await?;
        let events = schedule::forecast(&self.proven(&rows), &self.policy, now, until);
        Ok(events
            .into_iter()
            .map(|event| ForecastView {
                at: shown(event.at),
                algorithm: event.algorithm.name(),
                epoch: event.epoch,
                kid: event.kid,
                becomes: event.stage.name(),
            })
            .collect())
    }

    /// Carries out what the schedule asks for at `now`. Any number of replicas may do so at once:
    /// each looks again once it holds the lock, and finds what the others have left to do.
    pub async fn maintain(&self, now: Time, certain: bool) -> Result<Vec<Done>, ManageError> {
        let rows = rows::load(&self.db).await?;
        let steps = schedule::plan(&self.proven(&rows), &self.policy, now, certain);
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        // RSA keys take their time, so they are made before the lock is taken.
        let fresh = generate(&steps).await?;
        let done = self
            .db
            .write(async |tx| {
                let rows = self.lock_keys(tx).await?;
                let steps = schedule::plan(&self.proven(&rows), &self.policy, now, certain);
                self.carry_out(tx, &rows, steps, &fresh, now).await
            })
            .await?;
        Ok(done)
    }

    /// Brings a line's next rotation forward to the earliest safe instant.
    pub async fn rotate(
        &self,
        algorithm: Algorithm,
        now: Time,
    ) -> Result<Vec<KeyView>, ManageError> {
        self.db
            .write(async |tx| {
                let rows = self.lock_keys(tx).await?;
                let proven = self.proven(&rows);
                let steps =
                    match schedule::rotate(&proven, &self.policy, algorithm, now, self.trusted) {
                        Ok(steps) => steps,
                        Err(cannot) => return Ok(Err(cannot)),
                    };
                self.carry_out(tx, &rows, steps, &HashMap::new(), now).await.map(Ok)
            })
            .await??;
        self.keys(now).await
    }

    /// Keeps a key in the JWKS beyond its time, or lets it go.
    pub async fn hold(&self, kid: &str, held: bool, now: Time) -> Result<(), ManageError> {
        let action = if held { Action::KeyHeld } else { Action::KeyReleased };
        let found = self
            .db
            .write(async |tx| {
                let rows = self.lock_keys(tx).await?;
                let stolen = |row: &KeyRow| row.key.kid == kid && row.key.compromised_at.is_some();
                if held && rows.iter().any(stolen) {
                    return Ok(Held::Stolen);
                }
                let amended = self.amend(tx, &rows, kid, |row| row.key.held = held).await?;
                if !amended {
                    return Ok(Held::Missing);
                }
                let event = Event::new(action, &self.actor, now);
                audit::add(tx, &Event { kid: Some(kid), ..event }).await?;
                Ok(Held::Done)
            })
            .await?;
        match found {
            Held::Done => Ok(()),
            Held::Missing => Err(ManageError::NotFound { kind: "keys", id: kid.to_owned() }),
            Held::Stolen => Err(ManageError::invalid(format!(
                "{kid} is declared stolen, and never comes back into the JWKS"
            ))),
        }
    }

    /// Brings in a private key that another issuer signed with, so that its verifiers need not
    /// notice the move. Returns its kid.
    pub async fn import_key(
        &self,
        private: PrivateKey,
        algorithm: Algorithm,
        now: Time,
    ) -> Result<String, ManageError> {
        if !self.policy.algorithms.contains(&algorithm) {
            return Err(ManageError::invalid(format!("{algorithm} is not among keys.algorithms")));
        }
        let kid = keys::PublicJwk::of(&private)?.thumbprint();
        let rows = rows::load(&self.db).await?;
        if rows.iter().any(|row| row.key.kid == kid) {
            return Err(ManageError::Exists { kind: "key", id: kid });
        }
        let (epoch, steps) = schedule::joining(&self.proven(&rows), &self.policy, algorithm, now);
        let mut fresh = generate(&steps).await?;
        fresh.insert((algorithm, epoch), private);
        self.db
            .write(async |tx| {
                let rows = self.lock_keys(tx).await?;
                let proven = self.proven(&rows);
                let (_, steps) = schedule::joining(&proven, &self.policy, algorithm, now);
                let done = self.carry_out(tx, &rows, steps, &fresh, now).await?;
                if !done.iter().any(|one| one.kid == kid) {
                    // Its place was taken meanwhile; nothing of this may be kept.
                    return Err(StoreError::Contended);
                }
                let event = Event::new(Action::KeyImported, &self.actor, now);
                audit::add(tx, &Event { kid: Some(&kid), ..event }).await
            })
            .await?;
        Ok(kid)
    }

    /// The rows as the schedule sees them, with those marked that do not prove themselves.
    pub(super) fn proven(&self, rows: &[KeyRow]) -> Vec<SigningKey> {
        rows.iter()
            .map(|row| {
                let checked = keys::check(row, &self.secrets.now(), self.issuer.as_str());
                let corrupt = matches!(checked, Err(KeyError::Corrupt(_)));
                SigningKey { corrupt, ..row.key.clone() }
            })
            .collect()
    }

    /// Carries steps out, each with its row in the audit trail.
    pub(super) async fn carry_out(
        &self,
        tx: &mut Tx,
        rows: &[KeyRow],
        steps: Vec<Step>,
        fresh: &Fresh,
        now: Time,
    ) -> Result<Vec<Done>, StoreError> {
        let mut all = Vec::new();
        for step in steps {
            let done = match step {
                Step::Create(new) => self.create(tx, &new, fresh, now).await?,
                Step::Reschedule { kid, times } => self.reschedule(tx, rows, kid, times).await?,
                Step::Destroy { kid } => self.destroy(tx, rows, kid).await?,
                Step::Compromise { kid } => self.declare_stolen(tx, rows, kid, now).await?,
            };
            let Some((action, kid, detail)) = done else { continue };
            let event = Event::new(action, &self.actor, now);
            audit::add(tx, &Event { kid: Some(&kid), detail, ..event }).await?;
            all.push(Done { action: action.name(), kid });
        }
        Ok(all)
    }

    /// Adds a key with the private half that was made for its place. If none was, another replica
    /// has changed the plan meanwhile, and the next round makes it.
    async fn create(
        &self,
        tx: &mut Tx,
        new: &NewKey,
        fresh: &Fresh,
        now: Time,
    ) -> Result<Option<Act>, StoreError> {
        let Some(private) = fresh.get(&(new.algorithm, new.epoch)) else { return Ok(None) };
        let schedule = &new.key(String::new(), now);
        let row = keys::seal(private, schedule, &self.secrets.now(), self.issuer.as_str());
        let row = row.map_err(|error| refused(&error))?;
        if !rows::insert(tx, &row).await? {
            return Ok(None);
        }
        let detail = json!({
            "algorithm": new.algorithm.name(),
            "epoch": new.epoch,
            "activate_at": shown(new.times.activate_at),
        });
        Ok(Some((Action::KeyCreated, row.key.kid, detail)))
    }

    async fn reschedule(
        &self,
        tx: &mut Tx,
        rows: &[KeyRow],
        kid: String,
        times: Times,
    ) -> Result<Option<Act>, StoreError> {
        let amended = self.amend(tx, rows, &kid, |row| row.key.times = times).await?;
        let detail = json!({
            "activate_at": shown(times.activate_at),
            "sign_until": shown(times.sign_until),
            "remove_at": shown(times.remove_at),
        });
        Ok(amended.then_some((Action::KeyRescheduled, kid, detail)))
    }

    async fn destroy(
        &self,
        tx: &mut Tx,
        rows: &[KeyRow],
        kid: String,
    ) -> Result<Option<Act>, StoreError> {
        let amended = self.amend(tx, rows, &kid, |row| row.material.sealed = None).await?;
        Ok(amended.then_some((Action::KeyDestroyed, kid, json!({}))))
    }

    async fn declare_stolen(
        &self,
        tx: &mut Tx,
        rows: &[KeyRow],
        kid: String,
        now: Time,
    ) -> Result<Option<Act>, StoreError> {
        let amended = self.amend(tx, rows, &kid, |row| row.key.compromised_at = Some(now)).await?;
        Ok(amended.then_some((Action::KeyCompromised, kid, json!({}))))
    }

    /// Changes one row that was read under the lock, and vouches for it. False if there is none
    /// that proves itself: what somebody planted is left as it is, and never vouched for.
    async fn amend(
        &self,
        tx: &mut Tx,
        rows: &[KeyRow],
        kid: &str,
        change: impl FnOnce(&mut KeyRow),
    ) -> Result<bool, StoreError> {
        let Some(row) = rows.iter().find(|row| row.key.kid == kid) else { return Ok(false) };
        match keys::amend(row, &self.secrets.now(), self.issuer.as_str(), change) {
            Ok(amended) => rows::update(tx, &amended).await.map(|()| true),
            Err(KeyError::Corrupt(_)) => Ok(false),
            // A replica that holds the root secret will do it.
            Err(error) => Err(refused(&error)),
        }
    }
}

/// What was done to which key, and what else there is to know of it.
type Act = (Action, String, Value);

/// Private halves that lie ready, by line and place in it.
pub(super) type Fresh = HashMap<(Algorithm, i64), PrivateKey>;

pub(super) async fn generate(steps: &[Step]) -> Result<Fresh, ManageError> {
    let created = |step: &Step| match step {
        Step::Create(new) => Some((new.algorithm, new.epoch)),
        _ => None,
    };
    let places: Vec<_> = steps.iter().filter_map(created).collect();
    let made = tokio::task::spawn_blocking(move || {
        places
            .into_iter()
            .map(|place| Ok((place, PrivateKey::generate(place.0)?)))
            .collect::<Result<Fresh, KeyError>>()
    });
    let gone = |_| KeyError::Library("the thread that makes keys was stopped".to_owned());
    Ok(made.await.map_err(gone)??)
}

/// Key material failed inside a transaction, which is rolled back.
fn refused(error: &KeyError) -> StoreError {
    StoreError::Fault(error.to_string())
}
