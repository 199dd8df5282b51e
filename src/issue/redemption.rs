//! Spending a code: once, whoever tries at the same time, whatever answer is lost.

use serde_json::json;
use tokio::task::spawn_local;
use tracing::Instrument;

use super::ending::Ending;
use super::{Service, away};
use crate::domain::{Reason, Refusal, RequestId, Time};
use crate::store::audit::{self, Action, Event};
use crate::store::codes::{self, Code};
use crate::store::families::{self, Stored};
use crate::store::{StoreError, users};

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
    /// The family has begun.
    Begun,
    /// The account is switched off, or that sign-in counts no more. The code was not spent.
    PersonGone,
    /// The code is used, or over.
    TooLate,
}

/// Spends the code and begins the family, or refuses. If the answer of a commit is lost it is done
/// once more, and what then is too late is looked at: the code knows which family it made, and ours
/// has a name that nobody else could have drawn.
pub(super) async fn redeem(of: &Redemption<'_>, stored: &Stored) -> Result<(), Refusal> {
    let mut outcome = spend(of, stored).await;
    if matches!(outcome, Err(StoreError::Unknown)) {
        outcome = spend(of, stored).await;
    }
    match outcome {
        Ok(Spent::Begun) => Ok(()),
        Ok(Spent::PersonGone) => Err(person_gone(of, stored).await),
        Ok(Spent::TooLate) | Err(StoreError::Unknown) => look(of, stored).await,
        Err(error) => Err(away(&error)),
    }
}

async fn spend(of: &Redemption<'_>, stored: &Stored) -> Result<Spent, StoreError> {
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
        Ok(Spent::Begun)
    });
    spend.await
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
/// the answer is an error, and a third time changes nothing more. It is a task of its own, because a
/// caller that hangs up drops the request, and must not keep the family alive by that.
pub(super) async fn replayed(of: &Redemption<'_>, code: &Code) -> Refusal {
    let Some(family) = code.family else { return Reason::CodeUsed.into() };
    let (tools, longest_token) = (of.service.tools(), of.service.longest_token());
    let (client, subject, now) = (code.client.clone(), code.subject, of.now);
    let request_id = of.request_id;
    let ending = spawn_local(
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
        Ok(Ok(_)) => Reason::CodeUsed.into(),
        Ok(Err(error)) => away(&error),
        Err(_) => Reason::DatabaseUnavailable.into(),
    }
}
