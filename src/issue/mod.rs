//! What the issuer does, one file for each thing it does; each reads like its RFC.
//!
//! A request that was parsed comes in, a [`Refusal`] or an answer goes out, and the
//! [`Decision`](crate::domain::Decision) that is filled in on the way says why. Nothing here knows
//! HTTP.

mod access_token;
mod authenticate;
mod authorization_code;
mod authorize;
mod client_credentials;
mod crowd;
mod ending;
mod examine;
mod introspect;
mod ready;
mod redemption;
mod refresh;
mod refresh_token;
mod revoke;
mod rotation;
mod rotator;
mod sign_in;
mod to_its_end;
mod token;

pub use access_token::AccessToken;
pub use authenticate::Presented;
pub use authorize::{Authorization, AuthorizationRequest, Device, Unsound, WayBack};
pub use crowd::Crowd;
pub use examine::Memory;
pub use introspect::{Introspection, IntrospectionRequest};
pub use revoke::RevocationRequest;
pub use rotation::Tools;
pub use sign_in::{Credentials, SignedIn};
pub use token::TokenRequest;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use crate::clock::Clock;
use crate::domain::family::RefreshRules;
use crate::domain::{Algorithm, Endpoint, Issuer, Network, Reason, Refusal, RequestId, Time};
use crate::hashing::Hashing;
use crate::limits::Limits;
use crate::mirror::{Directory, Mirror};
use crate::secret::Vault;
use crate::store::{Db, StoreError};

/// What decides about every request.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who issues.
    pub issuer: Issuer,
    /// The lines that may sign, the default first.
    pub algorithms: Vec<Algorithm>,
    /// How long an access token lives if its client says nothing else.
    pub access_token_ttl: Duration,
    /// The most that a client may say.
    pub access_token_ttl_max: Duration,
    /// How long clients in memory may be trusted while the database is away.
    pub directory_max_age: Duration,
    /// How old may be what is known of revocations when a token is called active.
    pub revocation_max_age: Duration,
    /// Refresh tokens.
    pub refresh: RefreshRules,
}

/// Who calls, as far as that is known before anybody has proved anything.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where the caller stands.
    pub network: Network,
    /// What it calls.
    pub endpoint: Endpoint,
    /// The name of its request, under which log line and audit rows are found.
    pub request_id: RequestId,
}

/// The issuer at work on one replica.
#[derive(Debug)]
pub struct Service {
    /// What decides.
    pub rules: Rules,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub db: Db,
    /// What changes refresh-token families.
    pub tools: Arc<Tools>,
    /// Who is signing in.
    pub signing_in: Crowd,
    /// Where passwords are checked.
    pub hashing: Hashing,
    /// What is in memory.
    pub mirror: Arc<Mirror>,
    /// What client secrets are checked against.
    pub secrets: Arc<Vault>,
    /// Tokens whose signature was checked before.
    pub examined: Memory,
    /// How often callers may call.
    pub limits: Arc<Limits>,
}

impl Service {
    /// Clients and resources, if they are fresh enough to be trusted: while the database is away a
    /// client that was disabled meanwhile must not go on for ever.
    fn directory(&self) -> Result<Guard<Arc<Directory>>, Refusal> {
        if self.mirror.freshness.age(&self.clock) > self.rules.directory_max_age {
            return Err(Reason::DatabaseUnavailable.into());
        }
        Ok(self.mirror.directory())
    }

    /// Whether somebody's account is on, for whoever is about to issue what the rows allow. If memory
    /// says that it is off, either it was switched on a moment ago, and a poll will bring that, or the
    /// database has lost that it was switched off: then memory is right.
    async fn still_on(&self, subject: &str) -> Result<(), Refusal> {
        let is_off = || self.mirror.acts.switched(subject).is_off();
        if !is_off() {
            return Ok(());
        }
        let asked = self.clock.tick();
        let polled = self.mirror.freshness.since(asked, &self.clock).await;
        polled.map_err(|_| Refusal::from(Reason::MirrorStale))?;
        if is_off() { Err(Reason::SubjectDisabled.into()) } else { Ok(()) }
    }

    /// The line that signs for clients that choose none: the first configured one that can sign. A
    /// line that was just added to the configuration still waits for its lead.
    fn default_algorithm(&self, now: Time) -> Option<Algorithm> {
        let keys = self.mirror.keys();
        self.rules.algorithms.iter().copied().find(|line| keys.can_sign(*line, now))
    }
}

/// The database could not do what was asked of it; whoever asked may try again.
fn away(error: &StoreError) -> Refusal {
    if matches!(error, StoreError::Contended) {
        return Reason::Overloaded.into();
    }
    tracing::warn!(%error, "the database could not be asked");
    Reason::DatabaseUnavailable.into()
}
