//! The keys of this replica, opened.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use serde_json::json;

use super::Document;
use crate::domain::schedule::{self, Policy};
use crate::domain::signing_key::KeyRow;
use crate::domain::{Algorithm, Inactive, SigningKey, Stage, Time};
use crate::keys::{self, KeyError, Opened, Signer};
use crate::secret::{RootSecrets, SecretId};

/// How far the clocks of two replicas may be apart when one looks at what the other has signed.
const LEEWAY: Duration = Duration::from_secs(2);

/// One key of the ring.
#[derive(Debug, Clone)]
pub struct RingKey {
    /// Its schedule.
    pub key: SigningKey,
    /// The root secret that its row is sealed and vouched for under.
    pub secret: SecretId,
    /// It is known to be stolen, and its row does not say so (any more).
    pub theft_forgotten: bool,
    /// What its row proved to hold; `None` if it is not to be trusted, or not readable here.
    pub opened: Option<Opened>,
    /// Why it could not be opened.
    pub trouble: Option<String>,
}

impl RingKey {
    /// Whether the JWKS shows it at `now`.
    fn is_shown(&self, now: Time) -> bool {
        self.opened.is_some() && self.key.is_in_jwks(now)
    }
}

/// All keys as last loaded. Stages are computed from the time at each use, so a replica that is cut
/// off from the database still goes on to the next key when its hour has come.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Vec<RingKey>,
    jwks: ArcSwap<Jwks>,
    schedule: ArcSwap<Jwks>,
}

/// A prepared public document about keys, and until when it is right; at first never.
#[derive(Debug)]
pub struct Jwks {
    /// The document.
    pub document: Document,
    /// It is right from here on…
    from: Time,
    /// … until here.
    until: Option<Time>,
}

impl Default for Jwks {
    fn default() -> Self {
        let never = Time::from_micros(0);
        Self { document: Document::default(), from: never, until: Some(never) }
    }
}

impl Jwks {
    fn is_right(&self, now: Time) -> bool {
        self.from <= now && self.until.is_none_or(|end| now < end)
    }
}

impl KeyRing {
    /// Opens the rows. What `before` had opened stays as it was if its root secret has been taken
    /// away meanwhile: a key once opened stays open.
    pub fn load(rows: Vec<KeyRow>, secrets: &RootSecrets, issuer: &str, before: &KeyRing) -> Self {
        let keys = rows.into_iter().map(|row| {
            let known = before.find(&row.key.kid);
            // What takes trust away is believed without proof and never taken back, whatever a
            // database that was restored says; what gives trust is not.
            let stolen = known.and_then(|known| known.key.compromised_at);
            let theft_forgotten = stolen.is_some() && row.key.compromised_at.is_none();
            let mut ring = Self::open(row, known, secrets, issuer);
            ring.key.compromised_at = ring.key.compromised_at.or(stolen);
            ring.theft_forgotten = theft_forgotten;
            ring
        });
        Self { keys: keys.collect(), ..Self::default() }
    }

    fn open(row: KeyRow, known: Option<&RingKey>, secrets: &RootSecrets, issuer: &str) -> RingKey {
        let known = known.filter(|known| known.opened.is_some());
        let before = known.and_then(|known| known.opened.as_ref());
        match (keys::open(&row, secrets, issuer, before), known) {
            (Err(KeyError::UnknownSecret(id)), Some(known)) => {
                let trouble = KeyError::UnknownSecret(id).to_string();
                let mut kept = RingKey { trouble: Some(trouble), ..known.clone() };
                kept.key.compromised_at = kept.key.compromised_at.or(row.key.compromised_at);
                if row.key.destroyed
                    && let Some(opened) = &mut kept.opened
                {
                    opened.signer = None;
                }
                kept
            }
            (opened, _) => {
                let corrupt = matches!(opened, Err(KeyError::Corrupt(_)));
                let trouble = opened.as_ref().err().map(ToString::to_string);
                let secret = SecretId(row.material.secret_id);
                let key = SigningKey { corrupt, ..row.key };
                RingKey { key, secret, theft_forgotten: false, opened: opened.ok(), trouble }
            }
        }
    }

    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = &RingKey> {
        self.keys.iter()
    }

    /// Every key as the schedule sees it.
    pub fn schedule(&self) -> Vec<SigningKey> {
        self.keys.iter().map(|ring| ring.key.clone()).collect()
    }

    /// A key by its name.
    pub fn find(&self, kid: &str) -> Option<&RingKey> {
        self.keys.iter().find(|ring| ring.key.kid == kid)
    }

    /// The payload of an access token of ours, and the key that signed it. A key that is known to
    /// be stolen recognises nothing any more: whoever stole it may have signed it.
    pub fn recognise(&self, token: &str, now: Time) -> Result<(&str, Vec<u8>), Inactive> {
        for ring in &self.keys {
            let Some(opened) = &ring.opened else { continue };
            if opened.recogniser.claims(token) {
                self.trusts(&ring.key.kid, now)?;
                return Ok((&ring.key.kid, opened.recogniser.payload(token)?));
            }
        }
        Err(Inactive::Unknown)
    }

    /// Whether tokens of a key still count: no longer than the JWKS shows it. Whoever gets hold of a
    /// key that has left it can date a token as he likes.
    pub fn trusts(&self, kid: &str, now: Time) -> Result<(), Inactive> {
        let ring = self.find(kid).ok_or(Inactive::Unknown)?;
        if ring.key.compromised_at.is_some() {
            return Err(Inactive::KeyCompromised);
        }
        // In an emergency a key signs from the moment it is shown, and another replica's clock may be
        // a little ahead.
        let shown = ring.is_shown(now) || ring.is_shown(now + LEEWAY);
        if shown { Ok(()) } else { Err(Inactive::Unknown) }
    }

    /// Whether a token names a key of ours that is not known here, or is not shown yet as far as is known
    /// here. In an emergency a new key signs before every replica has heard of it.
    pub fn may_lack(&self, token: &str, now: Time) -> bool {
        let claimed = |ring: &&RingKey| {
            ring.opened.as_ref().is_some_and(|opened| opened.recogniser.claims(token))
        };
        let waits = |ring: &RingKey| now + LEEWAY < ring.key.times.publish_at;
        if let Some(ring) = self.keys.iter().find(claimed) {
            return waits(ring);
        }
        keys::key_named_by(token).is_some_and(|kid| self.find(&kid).is_none_or(waits))
    }

    /// The key that signs for a line at `now`: published, unexpired, and open here. There is none
    /// rather than a wrong one.
    pub fn signer(&self, algorithm: Algorithm, now: Time) -> Option<(&SigningKey, &Signer)> {
        self.keys
            .iter()
            .filter(|ring| ring.key.algorithm == algorithm && ring.key.is_usable())
            .filter(|ring| ring.key.stage(now) == Stage::Active)
            .find_map(|ring| Some((&ring.key, ring.opened.as_ref()?.signer.as_deref()?)))
    }

    /// Whether a line can sign at `now`.
    pub fn can_sign(&self, algorithm: Algorithm, now: Time) -> bool {
        self.signer(algorithm, now).is_some()
    }

    /// The JWKS (RFC 7517 §5) at `now`: the active keys first, then the next, then the retiring.
    pub fn jwks(&self, now: Time) -> Guard<Arc<Jwks>> {
        self.prepared(&self.jwks, now, || {
            let entries: Vec<_> = self
                .shown(now)
                .filter_map(|ring| {
                    let public = &ring.opened.as_ref()?.public;
                    Some(public.entry(&ring.key.kid, ring.key.algorithm))
                })
                .collect();
            format!(r#"{{"keys":[{}]}}"#, entries.join(","))
        })
    }

    /// The public schedule at `now`: for each key of the JWKS, the instants of its turns.
    pub fn schedule_document(&self, issuer: &str, policy: &Policy, now: Time) -> Guard<Arc<Jwks>> {
        self.prepared(&self.schedule, now, || {
            let keys: Vec<_> = self
                .shown(now)
                .map(|ring| {
                    let times = &ring.key.times;
                    json!({
                        "kid": ring.key.kid,
                        "alg": ring.key.algorithm.name(),
                        "stage": ring.key.stage(now).name(),
                        "publish_at": times.publish_at.seconds(),
                        "activate_at": times.activate_at.seconds(),
                        "sign_until": times.sign_until.seconds(),
                        "remove_at": (!ring.key.held).then(|| times.remove_at.seconds()),
                    })
                })
                .collect();
            json!({
                "issuer": issuer,
                "lead": policy.lead.as_secs(),
                "max_age": policy.longest_max_age().as_secs(),
                "next_change": self.next_turn(now).map(Time::seconds),
                "keys": keys,
            })
            .to_string()
        })
    }

    /// The `max-age` for documents about keys at `now`.
    pub fn max_age(&self, policy: &Policy, now: Time) -> Duration {
        schedule::max_age(self.keys.iter().map(|ring| &ring.key), policy, now)
    }

    /// The next instant at which the JWKS or the signer changes.
    pub fn next_turn(&self, now: Time) -> Option<Time> {
        self.keys.iter().filter_map(|ring| ring.key.next_turn(now)).min()
    }

    fn shown(&self, now: Time) -> impl Iterator<Item = &RingKey> {
        let mut shown: Vec<_> = self.keys.iter().filter(|ring| ring.is_shown(now)).collect();
        shown.sort_by_key(|ring| (ring.key.stage(now), ring.key.algorithm, ring.key.epoch));
        shown.into_iter()
    }

    /// Two that find it out of date at once both make it anew: that is once in a key's stage.
    fn prepared(
        &self,
        slot: &ArcSwap<Jwks>,
        now: Time,
        text: impl FnOnce() -> String,
    ) -> Guard<Arc<Jwks>> {
        let ready = slot.load();
        if ready.is_right(now) {
            return ready;
        }
        let made = Jwks { document: Document::new(text()), from: now, until: self.next_turn(now) };
        let made = Arc::new(made);
        slot.store(Arc::clone(&made));
        Guard::from_inner(made)
    }
}
