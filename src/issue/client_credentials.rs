//! The client credentials grant (RFC 6749 §4.4) with resource indicators (RFC 8707).

use super::access_token::Grant;
use super::{AccessToken, Service, TokenRequest};
use crate::domain::{AuthMethod, Decision, Reason, Refusal, ResourceId, Scopes, Time};
use crate::mirror::{Offer, Registered};

/// Grants a client a token on its own behalf: one resource, and of its scopes what was asked.
pub(super) fn grant(
    service: &Service,
    registered: &Registered,
    request: &TokenRequest<'_>,
    now: Time,
    decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    // RFC 6749 §4.4: confidential clients only, whatever the registration says.
    if registered.client.auth_method == AuthMethod::None {
        return Err(Reason::GrantNotAllowed.into());
    }
    let named = named(registered, &request.resources)?;
    let offer = resource(registered, named, decision)?;
    let scopes = scopes(offer, request.scope, decision)?;
    let mut limited_by = Vec::new();
    if decision.asked_scopes.is_none() && offer.default != offer.allowed {
        limited_by.push("default_scopes");
    }
    if decision.asked_scopes.is_none() && offer.limited_by_client {
        limited_by.push("client_scopes");
    }
    let subject = registered.client.id.as_str();
    let client = &registered.client;
    let grant = Grant { client, subject, offer, scopes, limited_by, session: None };
    service.issue(grant, now, decision)
}

/// The one resource that the token is for (RFC 8707 §2).
fn resource<'a>(
    registered: &'a Registered,
    named: Option<ResourceId>,
    decision: &mut Decision,
) -> Result<&'a Offer, Refusal> {
    let Some(named) = named else {
        let default = registered.client.default_resource().ok_or(Reason::ResourceMissing)?;
        return Ok(registered.offer(default).ok_or(Reason::ResourceUnknown)?);
    };
    let offer = registered.offer(&named);
    decision.asked_resource = Some(named);
    Ok(offer.ok_or(Reason::ResourceUnknown)?)
}

/// The one resource that a request names, if it names any, however it is spelt.
pub(super) fn named(
    registered: &Registered,
    named: &[&str],
) -> Result<Option<ResourceId>, Refusal> {
    let malformed = |_| Refusal::from(Reason::ResourceMalformed);
    // One that is spelt as it is registered was parsed when it was registered.
    let parsed = |text: &&str| match registered.spelt(text) {
        Some(offer) => Ok(offer.resource.clone()),
        None => ResourceId::parse(text).map_err(malformed),
    };
    let mut named = named.iter().map(parsed).collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = named.next();
    let same =
        |one: &ResourceId| first.as_ref().map(ResourceId::lookup_key) == Some(one.lookup_key());
    if !named.all(|other| same(&other)) {
        return Err(Reason::ResourceSeveral.into());
    }
    Ok(first)
}

/// The scopes of the token (RFC 6749 §3.3): exactly what was asked if all of it is allowed, else
/// nothing; what the registration says if nothing was asked.
fn scopes(offer: &Offer, asked: Option<&str>, decision: &mut Decision) -> Result<Scopes, Refusal> {
    let Some(asked) = asked else {
        if offer.default.is_empty() && offer.has_scopes {
            return Err(Reason::ScopeEmpty.into());
        }
        return Ok(offer.default.clone());
    };
    let asked = Scopes::parse(asked).map_err(|_| Refusal::from(Reason::ScopeMalformed))?;
    let allowed = asked.is_subset(&offer.allowed);
    decision.asked_scopes = Some(asked.clone());
    if allowed { Ok(asked) } else { Err(Reason::ScopeNotAllowed.into()) }
}
