//! The refresh token grant (RFC 6749 §6), with resource indicators (RFC 8707 §2.2).

use std::sync::Arc;

use tracing::Instrument;
use uuid::Uuid;

use super::access_token::{Grant, Session, usual_resource, usual_scopes};
use super::rotation::{Ask, Rotation};
use super::to_its_end::to_its_end;
use super::{AccessToken, Caller, Service, TokenRequest, away};
use crate::domain::decision::Refreshed;
use crate::domain::family::Move;
use crate::domain::token::birth_of;
use crate::domain::{
    AuthMethod, Client, Decision, Facts, Family, GrantType, Inactive, Reason, Refusal, ResourceId,
    Scopes, Time, TokenId,
};
use crate::mirror::{Offer, Registered};
use crate::secret::{NoRefreshToken, RefreshToken};
use crate::store::families;

/// What a request wants less than all of.
#[derive(Debug)]
struct Narrowed {
    resource: Option<ResourceId>,
    scopes: Option<Scopes>,
}

/// Goes on with an authorization. Nothing is spent until nothing can be refused any more: a typo
/// never costs a token.
pub(super) async fn grant(
    service: &Service,
    client: Arc<Registered>,
    request: &TokenRequest<'_>,
    caller: &Caller,
    decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    let client =
        service.as_it_is(client, GrantType::RefreshToken, request, caller, decision).await?;
    let registered = &*client;
    let missing = Refusal::at(Reason::RefreshMissing, "refresh_token");
    let text = request.refresh_token.as_ref().ok_or(missing)?;
    let token = RefreshToken::open(text, &service.secrets.now()).map_err(no_token)?;
    decision.refreshed =
        Some(Refreshed { family: token.family, generation: token.generation, how: None });
    let now = service.clock.now();
    service.may_go_on(registered, &token)?;
    let narrowed = Narrowed::parse(request, registered, decision)?;

    let rules = service.rules.refresh.of(&registered.client);
    let ask = Ask {
        token,
        client: registered.client.id.clone(),
        has_credential: registered.client.auth_method != AuthMethod::None,
        rules,
        request_id: caller.request_id,
        longest_token: service.longest_token(),
    };
    service.can_sign(&registered.client, now)?;
    // As long as a registration is older than the family, what the family was given it still covers.
    let birth = birth_of(token.family).ok_or(Reason::RefreshMalformed)?;
    if narrowed.is_something() || birth < registered.changed_at {
        service.suits(&ask, &narrowed, registered, now).await?;
    }
    let Rotation { family, how } = service.rotate(ask).await?;
    let subject = family.subject.to_string();
    service.still_on(&subject).await?;
    decision.refreshed =
        Some(Refreshed { family: family.id, generation: family.generation, how: Some(how.name()) });
    service.answer(registered, (&family, &subject), &narrowed, decision)
}

fn no_token(why: NoRefreshToken) -> Refusal {
    match why {
        NoRefreshToken::Malformed => Reason::RefreshMalformed.into(),
        NoRefreshToken::Forged => Reason::RefreshMacInvalid.into(),
        NoRefreshToken::SecretUnknown => Reason::SecretUnknown.into(),
    }
}

impl Narrowed {
    fn parse(
        request: &TokenRequest<'_>,
        registered: &Registered,
        decision: &mut Decision,
    ) -> Result<Self, Refusal> {
        let resource = super::client_credentials::named(registered, &request.resources)?;
        decision.asked_resource.clone_from(&resource);
        let scopes = request.scope.map(Scopes::parse).transpose();
        let scopes = scopes.map_err(|_| Refusal::from(Reason::ScopeMalformed))?;
        decision.asked_scopes.clone_from(&scopes);
        Ok(Self { resource, scopes })
    }

    const fn is_something(&self) -> bool {
        self.resource.is_some() || self.scopes.is_some()
    }

    /// What of a family's grant is asked for: one of its resources, and of its scopes those that this
    /// resource has. Registrations may have shrunk since; what is not allowed any more is not given.
    fn of<'a>(
        &self,
        family: &Family,
        registered: &'a Registered,
    ) -> Result<(&'a Offer, Scopes), Refusal> {
        let covers = |asked: &ResourceId| {
            family.resources.iter().any(|one| one.lookup_key() == asked.lookup_key())
        };
        let offer = match &self.resource {
            Some(asked) if covers(asked) => {
                registered.offer(asked).ok_or(Reason::ResourceUnknown)?
            }
            Some(_) => return Err(Reason::ResourceUnknown.into()),
            None => usual_resource(&family.resources, registered)?,
        };
        let allowed = usual_scopes(&family.scopes, offer)?;
        match &self.scopes {
            None => Ok((offer, allowed)),
            Some(asked) if asked.is_subset(&allowed) => Ok((offer, asked.clone())),
            Some(_) => Err(Reason::ScopeNotAllowed.into()),
        }
    }
}

impl Service {
    /// Whether anything that is in memory speaks against a family, before the database is asked.
    fn may_go_on(&self, registered: &Registered, token: &RefreshToken) -> Result<(), Refusal> {
        let client = &registered.client;
        self.not_taken_back(client, token.family, "").map_err(Refusal::from)
    }

    /// Why a family of this client is worth nothing, as far as memory knows.
    pub(super) fn taken_back(&self, client: &Client, family: &Family) -> Option<Reason> {
        self.not_taken_back(client, family.id, &family.subject.to_string()).err()
    }

    /// Whether an act in memory takes a family back. It stands even where the database has lost it. A
    /// refresh token does not tell whom it is about; before the row was read the subject is empty.
    fn not_taken_back(&self, client: &Client, family: Uuid, about: &str) -> Result<(), Reason> {
        let birth = birth_of(family).ok_or(Reason::RefreshMalformed)?;
        // What was authorized for whoever had this name before it was deleted is none of its business.
        let marks =
            [Some(client.created_at), client.valid_from, self.mirror.directory().valid_from()];
        if marks.into_iter().flatten().any(|mark| birth < mark) {
            return Err(Reason::IssuedBeforeWatermark);
        }
        let facts = Facts {
            id: TokenId::new(birth, [0; 9]),
            birth,
            issued: birth,
            family: Some(family),
            subject: about.to_owned(),
            client: client.id.to_string(),
            resource: String::new(),
            kid: String::new(),
        };
        match self.mirror.acts.verdict(&facts) {
            None => Ok(()),
            Some(Inactive::FamilyRevoked) => Err(Reason::RefreshFamilyRevoked),
            Some(Inactive::SubjectDisabled) => Err(Reason::SubjectDisabled),
            Some(_) => Err(Reason::IssuedBeforeWatermark),
        }
    }

    /// Reads the family first, so that what it does not cover is refused before anything is spent.
    /// A token that is to be refused anyway is left to the rotation.
    async fn suits(
        &self,
        ask: &Ask,
        narrowed: &Narrowed,
        registered: &Registered,
        now: Time,
    ) -> Result<(), Refusal> {
        let stored = families::get(&self.db, ask.token.family).await;
        let stored = stored.map_err(|error| away(&error))?;
        let Some(family) = stored.map(|stored| stored.family) else { return Ok(()) };
        match ask.decide(&family, now) {
            Move::Rotate | Move::Retry | Move::Heal => {}
            Move::Refuse(Reason::RefreshAhead)
                if self.tools.may_recover(ask, &family).await.is_ok() => {}
            Move::Reuse | Move::Refuse(_) => return Ok(()),
        }
        narrowed.of(&family, registered).map(drop)
    }

    /// Carries a rotation out to its end, even if the client hangs up meanwhile.
    async fn rotate(&self, ask: Ask) -> Result<Rotation, Refusal> {
        let tools = Arc::clone(&self.tools);
        let rotation = async move { tools.rotate(&ask).await };
        Ok(to_its_end(rotation.in_current_span()).await?)
    }

    /// The live token of the family and a fresh access token.
    fn answer(
        &self,
        registered: &Registered,
        (family, subject): (&Family, &str),
        narrowed: &Narrowed,
        decision: &mut Decision,
    ) -> Result<AccessToken, Refusal> {
        if let Err(reason) = self.not_taken_back(&registered.client, family.id, subject) {
            return Err(reason.into());
        }
        let (offer, scopes) = narrowed.of(family, registered)?;
        let limited = narrowed.scopes.is_none() && scopes != family.scopes;
        let grant = Grant {
            client: &registered.client,
            subject,
            offer,
            scopes,
            limited_by: if limited { vec!["resource"] } else { Vec::new() },
            session: Some(Session {
                family: family.id,
                authenticated_at: family.authenticated_at,
                ends_at: family.ends_at,
            }),
        };
        let mut access = self.issue(grant, self.clock.now(), decision)?;
        self.with_refresh_token(&mut access, family, self.clock.now());
        Ok(access)
    }
}
