//! Spending a code: once, whoever tries at the same time, whatever answer is lost.

use std::num::NonZeroU32;

use std::sync::Arc;

use serde_json::json;
use tracing::Instrument;

use super::ending::Ending;
use super::to_its_end::to_its_end;
use super::{Service, away};
use crate::domain::revocation::MARGIN;
use crate::domain::session::End;
use crate::domain::{Family, Reason, Refusal, RequestId, Revocation, Target, Time};
use crate::store::audit::{self, Action, Event};
use crate::store::codes::{self, Code};
use crate::store::families::{self, Stored};
use crate::store::sessions::{self, Room};
use crate::store::{StoreError, Tx, revocations, users};

/// A code that is being redeemed.
pub(super) struct Redemption<'a> {
    pub service: &'a Service,
    pub digest: [u8; 32],
    /// The request that does it, under which its audit rows are found.
    pub request_id: RequestId,
    pub now: Time,
}

/// What one transaction came to.
enum Spent {
    /// The family has begun, and these acts ended elder ones.
    Begun(Vec<Revocation>),
    /// The account is switched off, or that sign-in counts no more. The code was not spent.
    PersonGone,
    /// The code is used, or over.
    TooLate,
}

/// Spends the code and begins the family, or refuses. If the answer of a commit is lost it is done
/// once more, and what then is too late is looked at: the code knows which family it made, and ours
/// has a name that nobody else could have drawn.
///
/// Where only `most` families may be alive, the eldest end with it.
pub(super) async fn redeem(
    of: &Redemption<'_>,
    stored: &Stored,
    most: Option<NonZeroU32>,
) -> Result<(), Refusal> {
    let mut outcome = spend(of, stored, most).await;
    if matches!(outcome, Err(StoreError::Unknown)) {
        outcome = spend(of, stored, most).await;
    }
    match outcome {
        Ok(Spent::Begun(acts)) => {
            of.service.mirror.acts.wrote(&acts, of.service.clock.tick());
            Ok(())
        }
        Ok(Spent::PersonGone) => Err(person_gone(of, stored).await),
        Ok(Spent::TooLate) | Err(StoreError::Unknown) => look(of, stored).await,
        Err(error) => Err(away(&error)),
    }
}

async fn spend(
    of: &Redemption<'_>,
    stored: &Stored,
    most: Option<NonZeroU32>,
) -> Result<Spent, StoreError> {
    let (family, now) = (&stored.family, of.now);
    let actor = family.subject.to_string();
    let event = Event {
        client: Some(&family.client),
        request: Some(of.request_id.as_str()),
        detail: json!({ "family": family.id, "scope": family.scopes.to_string() }),
        ..Event::new(Action::FamilyBegun, &actor, now)
    };
    let spend = of.service.db.write(async |tx| {
        // The person first: it holds their row until the commit, and it is refused without a trace.
        if !users::signed_in(tx, family.subject, family.authenticated_at, now).await? {
            return Ok(Spent::PersonGone);
        }
        if !codes::redeem(tx, &of.digest, family.id, now).await? {
            return Ok(Spent::TooLate);
        }
        families::add(tx, stored).await?;
        audit::add(tx, &event).await?;
        let Some(most) = most else { return Ok(Spent::Begun(Vec::new())) };
        make_room(tx, of, family, most).await.map(Spent::Begun)
    });
    spend.await
}

/// Ends the eldest of a person's families at a client, so that with the new one no more than `most` are
/// alive. Whoever signs in at the same moment waits for the person's row, and counts this one.
async fn make_room(
    tx: &mut Tx,
    of: &Redemption<'_>,
    family: &Family,
    most: NonZeroU32,
) -> Result<Vec<Revocation>, StoreError> {
    let Family { subject, ref client, id: newest, .. } = *family;
    let (now, why) = (of.now, End::TooMany);
    let room = Room { subject, client, newest, most };
    let ended = sessions::end_eldest(tx, &room, why, now).await?;
    for id in &ended {
        let event = Event {
            client: Some(client),
            request: Some(of.request_id.as_str()),
            detail: json!({
                "family": id, "subject": subject, "why": why.name(), "begun": newest,
            }),
            ..Event::new(Action::FamilyRevoked, "server", now)
        };
        audit::add(tx, &event).await?;
    }
    let expires_at = now + of.service.longest_token() + MARGIN;
    let acts = ended.into_iter().map(|id| Revocation::of(Target::Family(id), expires_at));
    let acts: Vec<_> = acts.collect();
    revocations::append(tx, &acts).await?;
    Ok(acts)
}

async fn look(of: &Redemption<'_>, stored: &Stored) -> Result<(), Refusal> {
    let code = codes::get(&of.service.db, &of.digest).await.map_err(|error| away(&error))?;
    let code = code.ok_or(Reason::CodeUnknown)?;
    match code.family {
        Some(family) if family == stored.family.id => Ok(()),
        Some(_) => Err(replayed(of, &code).await),
        None if of.now >= code.expires_at => Err(Reason::CodeExpired.into()),
        // Twice the answer was lost, and nothing was written: the client may try again.
        None => Err(Reason::DatabaseUnavailable.into()),
    }
}

async fn person_gone(of: &Redemption<'_>, stored: &Stored) -> Refusal {
    match users::get(&of.service.db, stored.family.subject).await {
        Ok(Some(account)) if account.user.disabled_at.is_none() => {
            Reason::IssuedBeforeWatermark.into()
        }
        Ok(_) => Reason::SubjectDisabled.into(),
        Err(error) => away(&error),
    }
}

/// A code was presented twice, by its own client and with the verifier: one of the two is a thief, and
/// nobody can say which. So what the first one began ends (RFC 6749 §4.1.2). It is committed although
/// the answer is an error, and a third time changes nothing more. A caller that
/// hangs up does not keep the family alive by that.
pub(super) async fn replayed(of: &Redemption<'_>, code: &Code) -> Refusal {
    let Some(family) = code.family else { return Reason::CodeUsed.into() };
    let (tools, longest_token) = (Arc::clone(&of.service.tools), of.service.longest_token());
    let (client, subject, now) = (code.client.clone(), code.subject, of.now);
    let request_id = of.request_id;
    let ending = to_its_end(
        async move {
            let event = Event {
                reason: Some(Reason::CodeUsed),
                client: Some(&client),
                request: Some(request_id.as_str()),
                detail: json!({ "family": family, "subject": subject }),
                ..Event::new(Action::FamilyRevoked, client.as_str(), now)
            };
            let why = Reason::CodeUsed.name();
            tools.end(&Ending { family, why, event, longest_token }, now).await
        }
        .in_current_span(),
    );
    match ending.await {
        Ok(_) => Reason::CodeUsed.into(),
        Err(error) => away(&error),
    }
}
