//! Client authentication (RFC 6749 §2.3).
//!
//! An unknown client, a wrong secret, a wrong method and a disabled client get one and the same
//! answer after the same work: one MAC for each root secret under which any client's secret is stored,
//! and as many comparisons as a client has secrets at most. The reason differs only in the log.
//!
//! A network that has failed too often is refused before its secret is looked at: the right one gets
//! the same answer as a wrong one, so that there is nothing to learn by going on.

use std::sync::Arc;

use super::{Caller, Service};
use crate::domain::{AuthMethod, ClientId, Decision, Reason, Refusal, Time};
use crate::mirror::{Directory, Registered, Secret, SecretUse};
use crate::secret::{ClientSecret, SecretDigest, TokenText};

/// What a request says about who its client is, before any of it is believed.
#[derive(Debug, Clone)]
pub enum Presented {
    /// An id and a secret in an `Authorization: Basic` header.
    Basic(ClientId, ClientSecret),
    /// An id and a secret in the form.
    Post(ClientId, ClientSecret),
    /// An id alone.
    Id(ClientId),
    /// A credential that cannot be any client's: an id or a secret of impossible form.
    Impossible,
    /// An access token in an `Authorization: Bearer` header (RFC 6750 §2.1).
    Bearer(TokenText),
    /// An `Authorization` scheme that clients cannot use here.
    Unsupported,
    /// Nothing.
    Nothing,
}

impl Presented {
    /// The client that is named, registered or not.
    const fn name(&self) -> Option<&ClientId> {
        match self {
            Self::Basic(id, _) | Self::Post(id, _) | Self::Id(id) => Some(id),
            Self::Bearer(_) | Self::Impossible | Self::Unsupported | Self::Nothing => None,
        }
    }

    /// The access token that stands for its client.
    pub(super) const fn bearer(&self) -> Option<&TokenText> {
        match self {
            Self::Bearer(token) => Some(token),
            _ => None,
        }
    }
}

impl Service {
    /// Finds out who the client is, or refuses; the request counts towards what the client may ask.
    pub(super) fn authenticate<'a>(
        &self,
        directory: &'a Directory,
        presented: &Presented,
        caller: &Caller,
        now: Time,
        decision: &mut Decision,
    ) -> Result<&'a Arc<Registered>, Refusal> {
        let registered = self.identify(directory, presented, caller, now, decision)?;
        let (client, endpoint) = (&registered.client, caller.endpoint);
        match client.auth_method {
            AuthMethod::None => self.limits.public_client(caller.network, &client.id, endpoint)?,
            _ => self.limits.client(&client.id, endpoint)?,
        }
        Ok(registered)
    }

    /// The same without counting: of a request that waits in between, one half.
    pub(super) fn identify<'a>(
        &self,
        directory: &'a Directory,
        presented: &Presented,
        caller: &Caller,
        now: Time,
        decision: &mut Decision,
    ) -> Result<&'a Arc<Registered>, Refusal> {
        let _span = tracing::trace_span!("authenticate").entered();
        let started = self.clock.tick();
        let (network, endpoint, name) = (caller.network, caller.endpoint, presented.name());
        // Only a registered name is taken down: an unregistered one may be a secret that stands in
        // the wrong place, and made-up ones must not fill the log or the memory.
        let named = name.and_then(|id| directory.client(id));
        decision.client = named.map(|found| found.client.id.clone());
        self.limits.may_try(network, name, endpoint)?;
        let checked = self.prove(directory, presented, now);
        let took = self.clock.elapsed(started).as_micros();
        decision.auth_micros = u64::try_from(took).unwrap_or(u64::MAX);
        let registered = match checked {
            Ok(registered) => registered,
            Err(reason) => {
                if reason.public().status == 401 {
                    self.limits.failed(network, name, endpoint);
                    let (client, id) = (decision.client.as_ref(), caller.request_id.as_str());
                    self.mirror.notes.failed(client, network, now, id);
                }
                return Err(reason.into());
            }
        };
        decision.authenticated_by = Some(registered.client.auth_method);
        Ok(registered)
    }

    fn prove<'a>(
        &self,
        directory: &'a Directory,
        presented: &Presented,
        now: Time,
    ) -> Result<&'a Arc<Registered>, Reason> {
        match presented {
            Presented::Basic(id, secret) => {
                self.check(directory, id, secret, AuthMethod::SecretBasic, now)
            }
            Presented::Post(id, secret) => {
                self.check(directory, id, secret, AuthMethod::SecretPost, now)
            }
            Presented::Id(id) => public(directory, id),
            Presented::Impossible => Err(Reason::ClientUnknown),
            Presented::Unsupported | Presented::Bearer(_) => Err(Reason::ClientAuthUnsupported),
            Presented::Nothing => Err(Reason::ClientAuthMissing),
        }
    }

    fn check<'a>(
        &self,
        directory: &'a Directory,
        id: &ClientId,
        secret: &ClientSecret,
        method: AuthMethod,
        now: Time,
    ) -> Result<&'a Arc<Registered>, Reason> {
        let registered = directory.client(id);
        let stored: Vec<&Secret> = registered
            .map(|found| found.secrets.iter().filter(|one| one.stored.is_live(now)).collect())
            .unwrap_or_default();
        let matched = self.compare(directory, (id, secret), &stored)?;
        let registered = registered.ok_or(Reason::ClientUnknown)?;
        let matched = matched.ok_or(Reason::ClientAuthFailed)?;
        if registered.client.auth_method != method {
            return Err(Reason::ClientAuthMethodWrong);
        }
        if registered.client.disabled_at.is_some() {
            return Err(Reason::ClientDisabled);
        }
        self.note_use(id, secret, matched, now);
        Ok(registered)
    }

    /// Which stored secret is the presented one. What it takes depends on what is stored of all clients
    /// together, so that the time says nothing about who is registered, and with how many secrets.
    fn compare<'a>(
        &self,
        directory: &Directory,
        (id, secret): (&ClientId, &ClientSecret),
        stored: &[&'a Secret],
    ) -> Result<Option<&'a Secret>, Reason> {
        const SECRETS: usize = 2;
        let secrets = self.secrets.now();
        let mut matched = None;
        // Where nobody has a secret, it takes what it will once somebody has.
        let nobody = directory.peppers().next().is_none().then(|| secrets.current());
        for under in directory.peppers().chain(nobody) {
            let Some(pepper) = secrets.pepper(under) else { continue };
            let digest = pepper.digest(id, secret);
            let mut compared = 0;
            for candidate in stored.iter().filter(|one| one.stored.pepper == under) {
                compared += 1;
                if candidate.stored.digest.matches(&digest) {
                    matched = Some(*candidate);
                }
            }
            for _ in compared..SECRETS {
                std::hint::black_box(digest.matches(&SecretDigest::from_bytes([0; 32])));
            }
        }
        // A secret that this replica cannot check is not a wrong secret: another replica can.
        let unreadable = stored.iter().any(|one| secrets.pepper(one.stored.pepper).is_none());
        if matched.is_none() && unreadable {
            return Err(Reason::SecretUnknown);
        }
        Ok(matched)
    }

    fn note_use(&self, id: &ClientId, secret: &ClientSecret, matched: &Secret, now: Time) {
        let secrets = self.secrets.now();
        let to = secrets.current();
        let moves = matched.should_move(to);
        if !moves && !matched.is_worth_noting(now) {
            return;
        }
        let rekeyed =
            moves.then(|| (matched.stored.pepper, to, secrets.current_pepper().digest(id, secret)));
        self.mirror.notes.used(SecretUse { secret: matched.stored.id, at: now, rekeyed });
    }
}

/// A client without a credential: fine for a public one, and for no other.
fn public<'a>(directory: &'a Directory, id: &ClientId) -> Result<&'a Arc<Registered>, Reason> {
    let registered = directory.client(id).ok_or(Reason::ClientUnknown)?;
    if registered.client.auth_method != AuthMethod::None {
        return Err(Reason::ClientAuthMissing);
    }
    if registered.client.disabled_at.is_some() {
        return Err(Reason::ClientDisabled);
    }
    Ok(registered)
}
