//! What becomes of a refresh token that somebody presents. The rule is [`Family::decide`]; this
//! carries it out, so that of many who come at once exactly one advances the family, and an answer
//! that was lost on the way, to the client or from the database, costs nobody a session.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::ending::Ending;
use super::rotator::Rotator;
use crate::clock::Clock;
use crate::domain::family::{Move, Presented, RETENTION, RetryRules};
use crate::domain::revocation::MARGIN;
use crate::domain::token::birth_of;
use crate::domain::{ClientId, Family, Reason, RefreshRetry, RequestId, Time};
use crate::mirror::Mirror;
use crate::secret::RefreshToken;
use crate::store::advance::{self, Advance};
use crate::store::audit::{self, Action, Event};
use crate::store::{Db, StoreError, families, instance};

/// A race with others can be lost so often: each time the family has moved on, and after two steps
/// the token is reused.
const TURNS: u64 = 6;

/// After so long a client is told to come again. It would not wait much longer.
const PATIENCE: Duration = Duration::from_secs(4);

/// So many steps a client may have gone on while a request of its own that it gave up is under way. A
/// token that is further behind was not on its way: it is an old one.
const OVERTAKEN: u32 = 3;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rotation {
    /// The family as it is now: its live token is the answer.
    pub family: Family,
    /// How that came about.
    pub how: How,
}

/// How a client came to the live token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The family advanced.
    Rotated,
    /// It had advanced already: the client asks again.
    Retried,
    /// It advanced beyond what the database remembered.
    Healed,
}

impl How {
    /// Its name in logs and metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Retried => "retried",
            Self::Healed => "healed",
        }
    }
}

/// A refresh token that is presented, by whom, and what holds for them.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub token: RefreshToken,
    pub client: ClientId,
    /// Whether the client proved who it is.
    pub has_credential: bool,
    pub rules: RetryRules,
    pub request_id: RequestId,
    /// Longest life of an access token: so long the end of a family is remembered.
    pub longest_token: Duration,
}

impl Ask {
    /// What is to be done about the token, given its family's row.
    pub(super) fn decide(&self, family: &Family, now: Time) -> Move {
        let presented = Presented {
            generation: self.token.generation,
            client: &self.client,
            has_credential: self.has_credential,
            key_thumbprint: None,
        };
        family.decide(&presented, &self.rules, now)
    }

    /// Whether the client's own next requests have overtaken this one. Under [`RefreshRetry::Strict`] a token
    /// that comes twice is a theft, however close together.
    fn was_overtaken_by(&self, family: &Family, asked_at: Time) -> bool {
        self.rules.policy != RefreshRetry::Strict
            && was_overtaken(family, self.token.generation, asked_at)
    }
}

/// What a rotation works with, and goes on with when its request is gone.
#[derive(Debug)]
pub struct Tools {
    pub(super) db: Db,
    rotator: Rotator,
    pub(super) mirror: Arc<Mirror>,
    pub(super) clock: Clock,
}

impl Tools {
    /// For the families of a database: with `batching`, refreshes that come together are one commit.
    pub fn new(batching: bool, db: &Db, mirror: &Arc<Mirror>, clock: &Clock) -> Self {
        let rotator = Rotator::new(batching, db);
        Self { db: db.clone(), rotator, mirror: Arc::clone(mirror), clock: clock.clone() }
    }

    /// Carries the rule out. It must run to its end whether or not anybody waits for the answer.
    ///
    /// Memory is taken for it each time, so whatever does not happen to most is boxed: less than a kilobyte
    /// comes from the thread's own store.
    pub(super) async fn rotate(&self, ask: &Ask) -> Result<Rotation, Reason> {
        let (generation, began) = (ask.token.generation, self.clock.tick());
        let asked_at = self.clock.now();
        let mut next = Step { from: generation, how: How::Rotated };
        // The marks of attempts that may have been committed without our knowing.
        let mut doubts = Vec::new();
        for turn in 0..TURNS {
            if self.clock.elapsed(began) > PATIENCE {
                break;
            }
            // Whoever has to come again gives others, who may hold the row, a moment.
            if turn > 0 {
                tokio::time::sleep(Duration::from_millis(5 * turn)).await;
            }
            let now = self.clock.now();
            let attempt: i64 = rand::random();
            match self.advance(ask, &next, attempt, now).await {
                Ok(Some(family)) => return Ok(Rotation { family, how: next.how }),
                Ok(None) => {}
                // It happened, or it did not. Only the row can tell.
                Err(StoreError::Unknown) => doubts.push(attempt),
                Err(error) => return Err(away(&error)),
            }
            let family = Box::pin(self.look(ask, now)).await?;
            if doubts.contains(&family.attempt) {
                return Ok(Rotation { family, how: next.how });
            }
            match ask.decide(&family, now) {
                Move::Rotate => next = Step { from: generation, how: How::Rotated },
                Move::Retry => return Ok(Rotation { family, how: How::Retried }),
                // Our own attempt may have made the token a predecessor, and others may have gone on
                // from there: to call that a theft would log somebody out for a lost answer.
                Move::Reuse if !doubts.is_empty() => return Err(Reason::DatabaseUnavailable),
                // Its own client gave this request up, came again, and went on: the request was on its
                // way before the token had a successor that was used. Whoever comes again is judged.
                Move::Reuse if ask.was_overtaken_by(&family, asked_at) => {
                    return Err(Reason::Overloaded);
                }
                Move::Reuse => return Err(Box::pin(self.reused(ask, &family, now)).await),
                Move::Heal => {
                    Box::pin(self.may_heal(&family)).await?;
                    next = Step { from: family.generation, how: How::Healed };
                }
                Move::Refuse(Reason::RefreshAhead) => {
                    Box::pin(self.may_recover(ask, &family)).await?;
                    Box::pin(self.may_heal(&family)).await?;
                    next = Step { from: family.generation, how: How::Healed };
                }
                Move::Refuse(reason) => return Err(reason),
            }
        }
        Err(Reason::Overloaded)
    }

    async fn advance(
        &self,
        ask: &Ask,
        next: &Step,
        attempt: i64,
        now: Time,
    ) -> Result<Option<Family>, StoreError> {
        let Some(to) = ask.token.generation.checked_add(1) else { return Ok(None) };
        let (id, client) = (ask.token.family, ask.client.clone());
        let step = Advance { id, from: next.from, to, now, attempt, client, key_thumbprint: None };
        if next.how != How::Healed {
            return self.rotator.advance(step).await;
        }
        let healed = self.db.write(async |tx| {
            let Some(family) = advance::within(tx, &step).await? else { return Ok(None) };
            let detail = json!({
                "family": id, "subject": family.subject, "found": next.from, "now": to,
            });
            let event = Event {
                client: Some(&family.client),
                request: Some(ask.request_id.as_str()),
                detail,
                ..Event::new(Action::FamilyHealed, "server", now)
            };
            audit::add(tx, &event).await?;
            Ok(Some(family))
        });
        Box::pin(healed).await
    }

    /// The family as it is now.
    async fn look(&self, ask: &Ask, now: Time) -> Result<Family, Reason> {
        let stored = families::get(&self.db, ask.token.family).await;
        let stored = stored.map_err(|error| away(&error))?;
        let family = stored.map(|stored| stored.family).ok_or_else(|| unknown(&ask.token, now))?;
        if self.goes_on_again(&family) {
            self.mirror.freshness.want();
            return Err(Reason::MirrorStale);
        }
        Ok(family)
    }

    /// Whether the database has lost that the person was switched on again: to be told that the
    /// account is off would end a sign-in that is only waiting for the row to get this back.
    fn goes_on_again(&self, family: &Family) -> bool {
        let known = self.mirror.acts.switched(&family.subject.to_string());
        let is_later = |off: Time| known.on_at > Some(off) && !known.is_off();
        family.revoked_at.is_none() && family.suspended_at.is_some_and(is_later)
    }

    /// Ends a family one of whose old tokens was used. It is committed before the caller is refused.
    async fn reused(&self, ask: &Ask, family: &Family, now: Time) -> Reason {
        let event = Event {
            reason: Some(Reason::RefreshReused),
            client: Some(&family.client),
            request: Some(ask.request_id.as_str()),
            detail: json!({
                "family": family.id,
                "subject": family.subject,
                "presented": ask.token.generation,
                "live": family.generation,
            }),
            ..Event::new(Action::FamilyReused, "server", now)
        };
        let (why, longest_token) = (Reason::RefreshReused.name(), ask.longest_token);
        match self.end(&Ending { family: family.id, why, event, longest_token }, now).await {
            Ok(true) => Reason::RefreshReused,
            // Somebody else ended it at the same moment.
            Ok(false) => Reason::RefreshFamilyRevoked,
            Err(error) => away(&error),
        }
    }

    /// Whether a token may be ahead of its row by any number. An operator must have said that a backup
    /// was restored, and the row must be one of the backup: with a row that was refreshed after that
    /// somebody has gone on, and whoever comes from further ahead is somebody else.
    pub(super) async fn may_recover(&self, ask: &Ask, family: &Family) -> Result<(), Reason> {
        let since = instance::lost_since(&self.db).await.map_err(|error| away(&error))?;
        let restored = since.is_some_and(|since| family.rotated_at <= since + MARGIN);
        // There is no number left for a successor of the last one.
        if restored && ask.token.generation < u32::MAX {
            return Ok(());
        }
        Err(Reason::RefreshAhead)
    }

    /// Whether a family may go on whose last commits the database lost. What else it lost must be
    /// written again first: a revocation in memory stands, whatever the row says.
    async fn may_heal(&self, family: &Family) -> Result<(), Reason> {
        let asked = self.clock.tick();
        let stale = |_| Reason::MirrorStale;
        self.mirror.freshness.since(asked, &self.clock).await.map_err(stale)?;
        if self.mirror.is_owed_acts() {
            return Err(Reason::MirrorStale);
        }
        if self.mirror.acts.names_family(family.id) {
            return Err(Reason::RefreshFamilyRevoked);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    from: u32,
    how: How,
}

/// Whether the token may have become an old one only while its request was under way. A time that no
/// request can last for is another replica's clock, and nobody is spared for that.
fn was_overtaken(family: &Family, presented: u32, asked_at: Time) -> bool {
    family.rotated_at > asked_at
        && family.rotated_at < asked_at + 2 * PATIENCE
        && family.generation.saturating_sub(presented) <= OVERTAKEN
}

/// Why there is no row for a token that we made.
fn unknown(token: &RefreshToken, now: Time) -> Reason {
    if birth_of(token.family).is_some_and(|born| now.since(born) < RETENTION) {
        return Reason::RefreshFamilyLost;
    }
    Reason::RefreshFamilyUnknown
}

fn away(error: &StoreError) -> Reason {
    super::away(error).reason
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Scopes;

    const ASKED_AT: Time = Time::from_seconds(1_000_000);

    fn family(generation: u32, rotated_at: Time) -> Family {
        Family {
            id: Uuid::nil(),
            generation,
            rotated_at,
            attempt: 0,
            client: ClientId::parse("app").unwrap(),
            subject: Uuid::nil(),
            resources: Vec::new(),
            scopes: Scopes::default(),
            authenticated_at: ASKED_AT,
            idle: Duration::ZERO,
            ends_at: ASKED_AT,
            suspended_at: None,
            revoked_at: None,
            key_thumbprint: None,
        }
    }

    #[test]
    fn only_a_request_that_was_overtaken_by_few_steps_while_under_way_is_spared() {
        let ms = Duration::from_millis;
        let was = |generation, after| was_overtaken(&family(generation, after), 10, ASKED_AT);
        assert!(was(12, ASKED_AT + ms(1)));
        assert!(was(13, ASKED_AT + ms(7999)));
        assert!(!was(14, ASKED_AT + ms(1)), "an old one");
        assert!(!was(12, ASKED_AT), "old before it was asked");
        assert!(!was(12, ASKED_AT + ms(8000)), "a clock");
    }

    #[test]
    fn under_strict_nobody_is_spared_who_comes_twice() {
        let now = family(11, ASKED_AT + Duration::from_millis(1));
        for (policy, spared) in [
            (RefreshRetry::Strict, false),
            (RefreshRetry::Window, true),
            (RefreshRetry::UntilUsed, true),
        ] {
            let ask = Ask {
                token: RefreshToken { family: Uuid::nil(), generation: 10 },
                client: ClientId::parse("app").unwrap(),
                has_credential: false,
                rules: RetryRules { policy, window: Duration::ZERO, heal: true },
                request_id: RequestId::default(),
                longest_token: Duration::ZERO,
            };
            assert_eq!(ask.was_overtaken_by(&now, ASKED_AT), spared, "{policy:?}");
        }
    }
}
