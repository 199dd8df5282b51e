//! The authorization code grant (RFC 6749 §4.1.3) with PKCE (RFC 7636) and resource indicators
//! (RFC 8707 §2.2).
//!
//! Nothing is spent until nothing can be refused: whoever presents a code without being its client,
//! or without the verifier, changes nothing, or anybody who catches sight of a code could burn it.
//! And what is signed is signed before the code is spent, so that a client whose token could not be
//! signed still has its code.

use std::sync::Arc;

use uuid::Uuid;

use super::access_token::{Grant, Session, usual_resource, usual_scopes};
use super::redemption::{Redemption, redeem, replayed};
use super::{AccessToken, Caller, Service, TokenRequest, away};
use crate::domain::decision::Refreshed;
use crate::domain::{
    Challenge, Decision, Facts, Family, GrantType, Reason, Refusal, ResourceId, Time, TokenId,
};
use crate::mirror::{Offer, Registered};
use crate::secret::{code_digest, same};
use crate::store::audit;
use crate::store::codes::{self, Code};
use crate::store::families::Stored;

/// Redeems a code.
pub(super) async fn grant(
    service: &Service,
    client: Arc<Registered>,
    request: &TokenRequest<'_>,
    caller: &Caller,
    now: Time,
    decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    let client =
        service.as_it_is(client, GrantType::AuthorizationCode, request, caller, decision).await?;
    let registered = &*client;
    let presented = request.code.as_ref().ok_or(Refusal::at(Reason::CodeMissing, "code"))?;
    let digest = code_digest(presented).ok_or(Reason::CodeUnknown)?;
    let code = codes::get(&service.db, &digest).await.map_err(|error| away(&error))?;
    let code = code.ok_or(Reason::CodeUnknown)?;
    belongs(&code, registered, request, now)?;
    let redemption = Redemption { service, digest, request_id: caller.request_id, now };
    if code.used_at.is_some() {
        return Err(replayed(&redemption, &code).await);
    }
    service.fresh().await?;
    service.still_on(&code.subject.to_string()).await?;
    still_counts(service, &code, registered)?;
    let offer = resource(&code, registered, &request.resources, decision)?;

    let stored = family(service, &code, registered, now);
    let subject = code.subject.to_string();
    let grant = granted(&code, registered, offer, &stored, &subject)?;
    let mut token = service.issue(grant, now, decision)?;
    let family = stored.family.id;
    decision.refreshed = Some(Refreshed { family, generation: 0, how: None });
    let client = &registered.client;
    let refreshes = client.grants.contains(&GrantType::RefreshToken);
    if refreshes {
        service.with_refresh_token(&mut token, &stored.family, now);
    }
    let most = client.refresh_families.filter(|_| refreshes);
    match redeem(&redemption, &stored, most).await {
        Ok(()) => Ok(token),
        Err(refusal) => {
            // It was signed, and nobody will see it.
            decision.granted = None;
            Err(refusal)
        }
    }
}

/// Whether whoever presents a code is whoever began it. A code that was used may be over by now: it
/// still tells that somebody else has it.
fn belongs(
    code: &Code,
    registered: &Registered,
    request: &TokenRequest<'_>,
    now: Time,
) -> Result<(), Refusal> {
    if code.client != registered.client.id {
        return Err(Reason::CodeWrongClient.into());
    }
    if code.used_at.is_none() && now >= code.expires_at {
        return Err(Reason::CodeExpired.into());
    }
    if !names_redirect(code, registered, request.redirect_uri) {
        return Err(Reason::RedirectUriMismatch.into());
    }
    let verifier = request.code_verifier.as_ref().ok_or(Reason::PkceMissing)?;
    let answered = Challenge::of(verifier.expose()).map_err(|_| Reason::PkceMismatch)?;
    if !same(answered.as_str().as_bytes(), code.challenge.as_str().as_bytes()) {
        return Err(Reason::PkceMismatch.into());
    }
    Ok(())
}

/// Whether the client names the redirect URI as it did before: a request that named it wants it
/// again, the same byte for byte (RFC 6749 §4.1.3); one that did not need not now either.
fn names_redirect(code: &Code, registered: &Registered, named: Option<&str>) -> bool {
    match (code.redirect_uri.as_str(), named) {
        ("", None) => true,
        ("", Some(named)) => registered.client.redirect_uris.iter().any(|one| one == named),
        (asked, named) => named == Some(asked),
    }
}

/// Whether nobody has taken back meanwhile what was allowed, also by switching the account off and on
/// again. The mirror's acts are enough: they are remembered for longer than any code lives.
fn still_counts(service: &Service, code: &Code, registered: &Registered) -> Result<(), Refusal> {
    let facts = |resource: &ResourceId| Facts {
        id: TokenId::new(code.authenticated_at, rand::random()),
        birth: code.authenticated_at,
        issued: code.authenticated_at,
        family: None,
        subject: code.subject.to_string(),
        client: code.client.as_str().to_owned(),
        resource: resource.as_str().to_owned(),
        kid: String::new(),
    };
    // Another client may have had the name when the person allowed it.
    let is_other = code.authenticated_at < registered.client.created_at;
    let acts = &service.mirror.acts;
    let taken = code.resources.iter().any(|one| acts.verdict(&facts(one)).is_some());
    let off_at = acts.switched(&code.subject.to_string()).off_at;
    let was_off = off_at.is_some_and(|off_at| code.authenticated_at < off_at);
    if is_other || taken || was_off { Err(Reason::IssuedBeforeWatermark.into()) } else { Ok(()) }
}

/// The one resource of the access token, among those that were allowed (RFC 8707 §2.2).
fn resource<'a>(
    code: &Code,
    registered: &'a Registered,
    named: &[&str],
    decision: &mut Decision,
) -> Result<&'a Offer, Refusal> {
    let covered = |id: &ResourceId| code.resources.contains(id);
    let Some((first, others)) = named.split_first() else {
        return usual_resource(&code.resources, registered);
    };
    let parse = |text: &&str| ResourceId::parse(text).map_err(|_| Reason::ResourceMalformed);
    let first = parse(first)?;
    for other in others {
        if parse(other)?.lookup_key() != first.lookup_key() {
            return Err(Reason::ResourceSeveral.into());
        }
    }
    let offer = registered.offer(&first).filter(|offer| covered(&offer.resource));
    let offer = offer.ok_or(Reason::ResourceUnknown)?;
    decision.asked_resource = Some(offer.resource.clone());
    Ok(offer)
}

/// The family that the code begins. A client that may not refresh has one too, for as long as its
/// access token lives: so that a second use of the code can end it.
fn family(service: &Service, code: &Code, registered: &Registered, now: Time) -> Stored {
    let (rules, client) = (&service.rules, &registered.client);
    let (idle, absolute) = rules.refresh.life_of(client);
    let life = if client.grants.contains(&GrantType::RefreshToken) {
        absolute
    } else {
        let wanted = client.access_token_ttl.unwrap_or(rules.access_token_ttl);
        wanted.min(rules.access_token_ttl_max)
    };
    Stored {
        family: Family {
            id: new_family(code.authenticated_at),
            generation: 0,
            rotated_at: now,
            attempt: rand::random(),
            client: code.client.clone(),
            subject: code.subject,
            resources: code.resources.clone(),
            scopes: code.scopes.clone(),
            authenticated_at: code.authenticated_at,
            idle,
            ends_at: now + life,
            suspended_at: None,
            revoked_at: None,
            key_thumbprint: None,
        },
        ended_by: None,
        user_agent: code.user_agent.clone(),
        network: code.network.clone(),
    }
}

/// The name of a family, whose time is its birth: when the person allowed it, not when its client
/// fetched it. What was taken back in between does not come to life by being fetched late.
fn new_family(authenticated_at: Time) -> Uuid {
    audit::row_id(authenticated_at)
}

/// What the access token grants: of what was allowed, what is of this resource and what the client
/// may still have.
fn granted<'a>(
    code: &Code,
    registered: &'a Registered,
    offer: &'a Offer,
    stored: &Stored,
    subject: &'a str,
) -> Result<Grant<'a>, Refusal> {
    let scopes = usual_scopes(&code.scopes, offer)?;
    let limited_by = if scopes == code.scopes { Vec::new() } else { vec!["resource"] };
    let Family { id, authenticated_at, ends_at, .. } = stored.family;
    let session = Some(Session { family: id, authenticated_at, ends_at });
    Ok(Grant { client: &registered.client, subject, offer, scopes, limited_by, session })
}
