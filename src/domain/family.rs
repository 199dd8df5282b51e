//! Refresh-token families: one authorization, and what is to be done when one of its tokens comes.
//!
//! The whole rule is [`Family::decide`], and it is pure. Storage carries it out by conditional
//! statements, so that of many who decide the same at once exactly one succeeds.

use std::time::Duration;

use uuid::Uuid;

use super::{AuthMethod, Client, ClientId, Reason, RefreshRetry, ResourceId, Scopes, Time};

/// How long a family's row is kept after its end. A token of a younger family whose row is not there
/// was lost by the database.
pub const RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// Longest life of one sign-in that anybody may choose.
pub const LONGEST: Duration = Duration::from_secs(400 * 86_400);

/// One authorization, as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name: a UUIDv7 whose time is its birth.
    pub id: Uuid,
    /// The number of the refresh token that is live.
    pub generation: u32,
    /// When that token was issued.
    pub rotated_at: Time,
    /// Random with each change: tells our own success from another's.
    pub attempt: i64,
    /// Whose it is.
    pub client: ClientId,
    /// Who authorized it.
    pub subject: Uuid,
    /// The resources that it covers.
    pub resources: Vec<ResourceId>,
    /// The scopes that it covers.
    pub scopes: Scopes,
    /// When the person last proved who they are.
    pub authenticated_at: Time,
    /// It ends when nothing was refreshed for so long.
    pub idle: Duration,
    /// It ends here, however much it is used.
    pub ends_at: Time,
    /// Since when its subject is switched off.
    pub suspended_at: Option<Time>,
    /// Since when it is taken back, for good.
    pub revoked_at: Option<Time>,
    /// The key whose holder alone may refresh (RFC 7638).
    pub key_thumbprint: Option<String>,
}

/// Somebody presents a refresh token whose MAC is right.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The token's generation.
    pub generation: u32,
    /// The client, as authenticated.
    pub client: &'a ClientId,
    /// Whether this request proved the client's credential.
    pub has_credential: bool,
    /// The key that this request proved to hold.
    pub key_thumbprint: Option<&'a str>,
}

/// What an operator chose for all families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshRules {
    /// A family ends when nothing was refreshed for so long.
    pub idle: Duration,
    /// A family ends after this time, however much it is used.
    pub absolute: Duration,
    /// What happens with a predecessor, for clients that choose nothing.
    pub retry: RefreshRetry,
    /// How long a predecessor still works under [`RefreshRetry::Window`].
    pub window: Duration,
    /// Whether a family whose last commits the database lost goes on.
    pub heal: bool,
    /// Whether clients are told when their refresh token and the family end.
    pub announce: bool,
}

impl RefreshRules {
    /// What holds for one client. One that proves who it is at each refresh may repeat the last one
    /// for as long as its answer was not used, unless somebody chose otherwise.
    pub fn of(&self, client: &Client) -> RetryRules {
        let proves = client.auth_method != AuthMethod::None;
        let usual = match self.retry {
            RefreshRetry::Window if proves => RefreshRetry::UntilUsed,
            chosen => chosen,
        };
        let policy = client.refresh_retry.unwrap_or(usual);
        RetryRules { policy, window: self.window, heal: self.heal }
    }

    /// How long what is begun for a client now may lie idle, and how long it may live. Where both are
    /// chosen in different places, a family still never lies idle beyond its end.
    pub fn life_of(&self, client: &Client) -> (Duration, Duration) {
        let absolute = client.refresh_absolute.unwrap_or(self.absolute);
        (client.refresh_idle.unwrap_or(self.idle).min(absolute), absolute)
    }
}

/// What holds for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// What happens with the predecessor of the live token.
    pub policy: RefreshRetry,
    /// How long it still works under [`RefreshRetry::Window`].
    pub window: Duration,
    /// Whether a family whose last commits the database lost goes on.
    pub heal: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Advance, if the row is still as it was.
    Rotate,
    /// Give the live token once more; nothing is written.
    Retry,
    /// Take the family back: somebody else has, or had, the live token.
    Reuse,
    /// Advance beyond what the database remembers: it lost its last commit.
    Heal,
    /// Refuse, and change nothing.
    Refuse(Reason),
}

impl Family {
    /// What is to be done about a token of this family. The order matters: whoever is not the
    /// client, or lacks the key, must not be able to end the family, and a family that is over is
    /// not ended again.
    pub fn decide(&self, presented: &Presented<'_>, rules: &RetryRules, now: Time) -> Move {
        if let Err(reason) = self.belongs_to(presented).and_then(|()| self.lives(now)) {
            return Move::Refuse(reason);
        }
        let (presented_is, live) = (presented.generation, self.generation);
        if presented_is == live {
            // There is no number left for a successor.
            return if live == u32::MAX {
                Move::Refuse(Reason::RefreshExpired)
            } else {
                Move::Rotate
            };
        }
        if presented_is > live {
            let lost_one = presented_is - live == 1 && presented_is < u32::MAX;
            return if lost_one && rules.heal {
                Move::Heal
            } else {
                Move::Refuse(Reason::RefreshAhead)
            };
        }
        let is_predecessor = live - presented_is == 1;
        if is_predecessor && self.may_retry(presented, rules, now) {
            return Move::Retry;
        }
        Move::Reuse
    }

    /// In how many seconds its live token ends if it is not used, and in how many the family ends: the
    /// members `refresh_token_timeout` and `authorization_expires_in` of an answer. The first is never
    /// beyond the second.
    pub fn ends_in(&self, now: Time) -> (u64, u64) {
        let family = self.ends_at.since(now).as_secs();
        let token = (self.rotated_at + self.idle).since(now).as_secs();
        (token.min(family), family)
    }

    /// Whether this is the client, with the key if there is one.
    fn belongs_to(&self, presented: &Presented<'_>) -> Result<(), Reason> {
        if self.client != *presented.client {
            return Err(Reason::RefreshWrongClient);
        }
        match (&self.key_thumbprint, presented.key_thumbprint) {
            (Some(bound), Some(proven)) if bound == proven => Ok(()),
            (Some(_), _) => Err(Reason::RefreshWrongKey),
            (None, _) => Ok(()),
        }
    }

    /// Whether it can still be refreshed at all, or why not.
    pub fn lives(&self, now: Time) -> Result<(), Reason> {
        if self.revoked_at.is_some() {
            return Err(Reason::RefreshFamilyRevoked);
        }
        if self.suspended_at.is_some() {
            return Err(Reason::SubjectDisabled);
        }
        if now >= self.ends_at {
            return Err(Reason::RefreshExpired);
        }
        if now >= self.rotated_at + self.idle {
            return Err(Reason::RefreshIdleExpired);
        }
        Ok(())
    }

    fn may_retry(&self, presented: &Presented<'_>, rules: &RetryRules, now: Time) -> bool {
        // Whoever shows nothing but the token has the window at most, whatever the policy says.
        let proved_more = presented.has_credential || self.key_thumbprint.is_some();
        match rules.policy {
            RefreshRetry::Strict => false,
            RefreshRetry::UntilUsed if proved_more => true,
            // A row from a replica whose clock is a little ahead is not of negative age.
            RefreshRetry::UntilUsed | RefreshRetry::Window => {
                now.since(self.rotated_at) <= rules.window
            }
        }
    }
}
