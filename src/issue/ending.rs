//! Ends an authorization for good: every refresh token of it, and every access token.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::revocation::MARGIN;
use crate::domain::{Revocation, Target, Time};
use crate::store::audit::{self, Event};
use crate::store::{StoreError, families, revocations};

use super::Service;
use super::rotation::Tools;

/// What ends a family, and why.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub family: Uuid,
    /// What its row says from now on.
    pub why: &'static str,
    /// What the audit trail says.
    pub event: Event<'a>,
    /// So long its access tokens may still be alive.
    pub longest_token: Duration,
}

impl Service {
    /// No access token that is alive now lives longer, whatever was configured when it was issued.
    pub(super) fn longest_token(&self) -> Duration {
        let keys = self.mirror.keys();
        let longest = keys.iter().map(|ring| ring.key.times.longest_token);
        longest.fold(self.rules.access_token_ttl_max, Ord::max)
    }
}

impl Tools {
    /// Ends a family; says whether it was this that ended it. It is durable, and obeyed here at once,
    /// when this returns (if another replica did it, as far as the database can be asked for that). Of
    /// many who do it at once exactly one writes its event.
    pub(super) async fn end(&self, ending: &Ending<'_>, now: Time) -> Result<bool, StoreError> {
        let Ending { family, why, event, longest_token } = ending;
        let act = Revocation::of(Target::Family(*family), now + *longest_token + MARGIN);
        let write = || {
            self.db.write(async |tx| {
                if !families::end_as(tx, *family, why, now).await? {
                    return Ok(false);
                }
                audit::add(tx, event).await?;
                revocations::append(tx, std::slice::from_ref(&act)).await?;
                Ok(true)
            })
        };
        let ended = match write().await {
            // Either it was written, or this writes it.
            Err(StoreError::Unknown) => write().await.map(|_| true),
            outcome => outcome,
        }?;
        if ended {
            self.mirror.acts.wrote(std::slice::from_ref(&act), self.clock.tick());
        } else if !self.mirror.acts.names_family(*family) {
            // Somebody else did, and the outbox has it already, so a poll brings it. It is no act of
            // ours: as one it would be missed there, and taken for lost.
            let asked = self.clock.tick();
            let _ = self.mirror.freshness.since(asked, &self.clock).await;
        }
        Ok(ended)
    }
}
