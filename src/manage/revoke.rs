//! Taking tokens back: one, or everything of a client or a resource, or everything there is.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{Desk, ManageError, shown};
use crate::domain::revocation::MARGIN;
use crate::domain::signing_key::KeyRow;
use crate::domain::{AccessClaims, ClientId, ResourceId, Revocation, Target, Time};
use crate::mirror::KeyRing;
use crate::secret::TokenText;
use crate::store::audit::{self, Action, Event};
use crate::store::versions::{self, Part};
use crate::store::{StoreError, Tx, clients, instance, keys, revocations};

/// What an operator takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One access token, given as itself.
    Token(TokenText),
    /// Everything of a client.
    Client(String),
    /// Everything for a resource.
    Resource(String),
    /// Everything.
    Everything,
}

/// What was, or would be, taken back.
#[derive(Debug, Clone, Serialize)]
pub struct RevocationView {
    /// The kind of act.
    pub kind: &'static str,
    /// Which one of its kind: a `jti`, a client, a resource.
    pub key: String,
    /// What was issued before this is inactive.
    pub issued_before: Option<String>,
    /// Until when the act is remembered: then nothing that it concerns can be alive.
    pub remembered_until: String,
    /// Within what time every replica obeys it; absent if nothing was done.
    pub obeyed_within: Option<String>,
    /// Until when resource servers that check signatures and never ask may accept such tokens.
    pub accepted_without_asking_until: String,
}

impl Desk {
    /// Takes tokens back. `before` is the instant for everything of a kind; it defaults to now. With
    /// `dry_run` nothing is done, and the view says what would be.
    pub async fn revoke(
        &self,
        what: &What,
        before: Option<Time>,
        now: Time,
        dry_run: bool,
    ) -> Result<RevocationView, ManageError> {
        if before.is_some_and(|before| before > now) {
            return Err(ManageError::invalid(
                "--before lies in the future: it would take back what is yet to be issued; to keep \
                 a client from getting tokens, disable it",
            ));
        }
        let rows = keys::load(&self.db).await?;
        let longest = self.longest_token(&rows);
        let (target, ends) = match what {
            What::Token(token) => self.own_token(token.expose(), rows, now)?,
            What::Client(id) => (Target::Client(self.known_client(id).await?), now + longest),
            What::Resource(id) => (Target::Resource(self.known_resource(id).await?), now + longest),
            What::Everything => (Target::Everything, now + longest),
        };
        let act = Revocation {
            issued_before: before.unwrap_or(now),
            expires_at: ends.max(now) + MARGIN,
            target,
        };
        let accepted = before.map_or(ends, |before| ends.min(before + longest));
        if !dry_run {
            self.write_act(&act, now).await?;
        }
        Ok(RevocationView {
            kind: act.target.kind(),
            key: act.target.key(),
            issued_before: act.target.is_dated().then(|| shown(act.issued_before)),
            remembered_until: shown(act.expires_at),
            obeyed_within: (!dry_run)
                .then(|| humantime::format_duration(self.revocation_bound).to_string()),
            // What was issued before T has ended a longest life after T.
            accepted_without_asking_until: shown(accepted),
        })
    }

    /// No token that is alive now lives longer, whatever was configured when it was issued.
    pub(super) fn longest_token(&self, rows: &[KeyRow]) -> Duration {
        let longest = rows.iter().map(|row| row.key.times.longest_token);
        longest.chain([self.policy.longest_token]).max().unwrap_or(Duration::ZERO)
    }

    async fn write_act(&self, act: &Revocation, now: Time) -> Result<(), ManageError> {
        let client = match &act.target {
            Target::Client(id) => ClientId::parse(id).ok(),
            _ => None,
        };
        let resource = match &act.target {
            Target::Resource(id) => ResourceId::parse(id).ok(),
            _ => None,
        };
        let mut detail = json!({ "kind": act.target.kind(), "key": act.target.key() });
        if let (true, Some(members)) = (act.target.is_dated(), detail.as_object_mut()) {
            members.insert("issued_before".to_owned(), json!(shown(act.issued_before)));
        }
        let event = Event {
            client: client.as_ref(),
            resource: resource.as_ref(),
            detail,
            ..Event::new(Action::TokensRevoked, &self.actor, now)
        };
        let write = || {
            self.db.write(async |tx| {
                self.outlast(tx, &act.target, client.as_ref(), act.issued_before).await?;
                audit::add(tx, &event).await?;
                revocations::append(tx, std::slice::from_ref(act)).await
            })
        };
        match write().await {
            // Doing it again is the same as looking whether it happened.
            Err(StoreError::Unknown) => Ok(write().await?),
            outcome => Ok(outcome?),
        }
    }

    /// A refresh token lives longer than any act is remembered, so what is taken back of a client, or
    /// of everybody, is also written where it stays.
    async fn outlast(
        &self,
        tx: &mut Tx,
        target: &Target,
        client: Option<&ClientId>,
        before: Time,
    ) -> Result<(), StoreError> {
        match (target, client) {
            (Target::Client(_), Some(client)) => {
                versions::bump(tx, Part::Directory).await?;
                clients::set_valid_from(tx, client, before).await
            }
            (Target::Everything, _) => {
                versions::bump(tx, Part::Directory).await?;
                instance::set_valid_from(tx, before).await
            }
            _ => Ok(()),
        }
    }

    /// A token of ours, whether it is over or not, and when it ends.
    fn own_token(
        &self,
        token: &str,
        rows: Vec<KeyRow>,
        now: Time,
    ) -> Result<(Target, Time), ManageError> {
        let foreign = || {
            ManageError::invalid(
                "this is not an access token of this issuer: no key of ours signed it",
            )
        };
        let ring =
            KeyRing::load(rows, &self.secrets.now(), self.issuer.as_str(), &KeyRing::default());
        let (kid, payload) = ring.recognise(token, now).map_err(|_| foreign())?;
        let claims = AccessClaims::read(&payload, &self.issuer).ok_or_else(foreign)?;
        let facts = claims.facts(kid).ok_or_else(foreign)?;
        Ok((Target::Token(facts.id), claims.expires_at()))
    }

    async fn known_client(&self, id: &str) -> Result<String, ManageError> {
        Ok(self.client(id).await?.id)
    }

    async fn known_resource(&self, id: &str) -> Result<String, ManageError> {
        Ok(self.resource(id).await?.id)
    }

    /// Writes the acts of a transaction that changed or deleted something, at its end. What was deleted
    /// may be registered anew: what the old one was given, or was given for it, must not come to life.
    pub(super) async fn take_back(
        &self,
        tx: &mut Tx,
        targets: Vec<Target>,
        now: Time,
    ) -> Result<(), StoreError> {
        let acts = targets.into_iter().map(|target| (target, now)).collect();
        self.take_back_until(tx, acts, now).await
    }

    /// The same, where each act has an instant of its own: what was issued from then on stays.
    pub(super) async fn take_back_until(
        &self,
        tx: &mut Tx,
        acts: Vec<(Target, Time)>,
        now: Time,
    ) -> Result<(), StoreError> {
        if acts.is_empty() {
            return Ok(());
        }
        let longest = self.longest_token(&keys::load_in(tx).await?);
        let act = |(target, issued_before): (Target, Time)| Revocation {
            target,
            issued_before,
            expires_at: now.max(issued_before) + longest + MARGIN,
        };
        let acts: Vec<_> = acts.into_iter().map(act).collect();
        revocations::append(tx, &acts).await
    }
}
