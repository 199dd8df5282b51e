//! What must be known here before a question about tokens is answered.
//!
//! Memory that is too old could call a revoked token active, and memory that lacks a key calls a good one
//! nothing. Both are mended by asking the database, for which few may wait: so whoever makes us ask has
//! first proved who they are.

use std::sync::Arc;

use super::{Caller, Service, TokenRequest};
use crate::domain::{Decision, GrantType, Reason, Refusal, Time};
use crate::mirror::{Registered, Stale};
use crate::secret::TokenText;

fn stale(_: Stale) -> Refusal {
    Reason::MirrorStale.into()
}

impl Service {
    /// Returns once memory is fresh enough to say that a token is active. What cannot be made fresh
    /// is no answer: "active" may be wrong, and "inactive" would log people out.
    pub async fn fresh(&self) -> Result<(), Refusal> {
        let bound = self.rules.revocation_max_age;
        self.mirror.freshness.within(bound, &self.clock).await.map_err(stale)
    }

    /// Whether it is.
    pub(super) fn is_fresh(&self) -> bool {
        self.mirror.freshness.age(&self.clock) <= self.rules.revocation_max_age
    }

    /// Whether memory is all that an answer about these needs.
    pub(super) fn is_ready_for(&self, tokens: &[Option<&TokenText>], now: Time) -> bool {
        let keys = self.mirror.keys();
        let lacks = |token: &&TokenText| keys.may_lack(token.expose(), now);
        self.is_fresh() && !tokens.iter().flatten().any(lacks)
    }

    /// Returns once it is.
    pub(super) async fn ready_for(&self, tokens: &[Option<&TokenText>]) -> Result<(), Refusal> {
        self.fresh().await?;
        if self.is_ready_for(tokens, self.clock.now()) {
            return Ok(());
        }
        self.mirror.freshness.on_hearsay(&self.clock).await.map_err(stale)
    }

    /// A client as fresh as what it presents will be: it may have been switched off, or its secret
    /// taken away, in what was not known yet when it was let in.
    pub(super) async fn as_it_is(
        &self,
        client: Arc<Registered>,
        grant: GrantType,
        request: &TokenRequest<'_>,
        caller: &Caller,
        decision: &mut Decision,
    ) -> Result<Arc<Registered>, Refusal> {
        if self.is_fresh() {
            return Ok(client);
        }
        self.fresh().await?;
        let directory = self.directory()?;
        let now = self.clock.now();
        let client = self.identify(&directory, &request.presented, caller, now, decision)?;
        super::token::may(client, grant)?;
        Ok(Arc::clone(client))
    }
}
