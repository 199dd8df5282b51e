//! The authorization endpoint (RFC 6749 §4.1.1, with RFC 7636, RFC 8707 and RFC 9207).
//!
//! What is wrong with a request is told to its client, by way of the browser, as soon as it is sure
//! which client that is and where it lives. Until then it is told to the person, here: whoever sends
//! a browser to wherever a request says is an open redirector, and hands codes to thieves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use super::{Service, SignedIn, away};
use crate::domain::pkce::METHOD;
use crate::domain::redirect::matches;
use crate::domain::{
    Challenge, Decision, GrantType, Network, Reason, Refusal, ResourceId, Scopes, Time, Verdict,
};
use crate::mirror::{Directory, Offer, Registered};
use crate::secret::{TokenText, code_digest, new_code};
use crate::store::codes::{self, Code};
use crate::store::users::{self, PasswordHash};
use crate::store::{Db, StoreError};

/// How long a client may take to redeem its code: the browser's way back, and no more.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// So much of what a browser calls itself is kept.
const USER_AGENT: usize = 100;

/// An authorization request, as it came: nothing of it is believed yet.
#[derive(Debug, Default)]
pub struct AuthorizationRequest<'a> {
    /// `client_id`.
    pub client_id: Option<&'a str>,
    /// `redirect_uri`.
    pub redirect_uri: Option<&'a str>,
    /// `response_type`.
    pub response_type: Option<&'a str>,
    /// `response_mode`.
    pub response_mode: Option<&'a str>,
    /// `scope`.
    pub scope: Option<&'a str>,
    /// `state`, which the client gets back as it is.
    pub state: Option<&'a str>,
    /// `code_challenge` (RFC 7636 §4.3).
    pub code_challenge: Option<&'a str>,
    /// `code_challenge_method`.
    pub code_challenge_method: Option<&'a str>,
    /// `resource`, which may repeat (RFC 8707 §2.1).
    pub resources: Vec<&'a str>,
    /// `prompt` (OpenID Connect Core §3.1.2.1).
    pub prompt: Option<&'a str>,
    /// `request` (RFC 9101).
    pub request: Option<&'a str>,
    /// `request_uri` (RFC 9101).
    pub request_uri: Option<&'a str>,
    /// The first parameter that occurs twice and may occur once.
    pub repeated: Option<&'static str>,
}

/// Where a browser is sent when all is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The client's redirect URI: a registered one.
    pub redirect_uri: String,
    /// What the client wants back, as it came.
    pub state: Option<String>,
}

/// Why a request is not even shown to the person.
#[derive(Debug)]
pub enum Unsound {
    /// Nobody knows whom it would be safe to tell.
    Here(Refusal),
    /// The client is told.
    Back(WayBack, Refusal),
}

impl From<Refusal> for Unsound {
    fn from(refusal: Refusal) -> Self {
        Self::Here(refusal)
    }
}

/// A request that the person may allow or deny.
pub struct Authorization {
    /// The client.
    pub client: Arc<Registered>,
    /// Where it wants the answer.
    pub back: WayBack,
    /// The scopes that it asks for.
    pub scopes: Scopes,
    /// The resources that they are of.
    pub resources: Vec<ResourceId>,
    challenge: Challenge,
    /// Whether the request named the redirect URI: then the client must name it again.
    names_redirect: bool,
    directory: Arc<Directory>,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization({}, {}, {:?})", self.client.client.id, self.scopes, self.back)
    }
}

impl Authorization {
    /// The scopes, and what each means, for the person who is asked.
    pub fn wishes(&self) -> Vec<(&str, Option<&str>)> {
        let meaning =
            |scope| self.resources.iter().find_map(|id| self.directory.meaning(id, scope));
        self.scopes.iter().map(|scope| (scope.as_str(), meaning(scope))).collect()
    }
}

/// With what somebody allows: shown to them later, so that they know their devices again.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// What the browser calls itself.
    pub user_agent: Option<&'a str>,
    /// Where it is.
    pub network: Network,
}

impl Service {
    /// Judges a request. It is judged twice, when the form is shown and when it comes back.
    pub fn authorization(
        &self,
        request: &AuthorizationRequest<'_>,
        decision: &mut Decision,
    ) -> Result<Authorization, Unsound> {
        let directory = self.directory()?;
        let name = request.client_id.ok_or(Refusal::at(Reason::ClientIdMissing, "client_id"))?;
        let client = directory.client_by_name(name);
        let client = Arc::clone(client.ok_or(Refusal::from(Reason::ClientUnknown))?);
        decision.client = Some(client.client.id.clone());
        if client.client.disabled_at.is_some() {
            return Err(Unsound::Here(Reason::ClientDisabled.into()));
        }
        let redirect_uri = redirect_uri(&client, request.redirect_uri)?.to_owned();
        // Of two states neither is the client's.
        let state = request.state.filter(|_| request.repeated != Some("state")).map(str::to_owned);
        let back = WayBack { redirect_uri, state };
        match judge(&client, request, decision) {
            Ok((challenge, resources, scopes)) => Ok(Authorization {
                back,
                scopes,
                resources,
                challenge,
                names_redirect: request.redirect_uri.is_some(),
                client,
                directory: Guard::into_inner(directory),
            }),
            Err(refusal) => Err(Unsound::Back(back, refusal)),
        }
    }

    /// The person allows it: the code with which the client fetches what was allowed.
    pub async fn allow(
        &self,
        authorization: &Authorization,
        person: SignedIn,
        device: Device<'_>,
        now: Time,
        decision: &mut Decision,
    ) -> Result<TokenText, Refusal> {
        let named = authorization.names_redirect;
        let code = Code {
            client: authorization.client.client.id.clone(),
            subject: person.subject,
            redirect_uri: if named {
                authorization.back.redirect_uri.clone()
            } else {
                String::new()
            },
            challenge: authorization.challenge.clone(),
            resources: authorization.resources.clone(),
            scopes: authorization.scopes.clone(),
            authenticated_at: person.at,
            expires_at: now + CODE_LIFE,
            used_at: None,
            family: None,
            user_agent: device.user_agent.map(shown_agent).filter(|text| !text.is_empty()),
            network: Some(device.network.to_string()),
        };
        let text = new_code();
        let digest = code_digest(&text).ok_or(Refusal::from(Reason::Overloaded))?;
        let kept = keep(&self.db, &digest, &code, &person.hash).await;
        // The password was changed while it was checked, or the account was switched off.
        if !kept.map_err(|error| away(&error))? {
            return Err(Reason::SignInFailed.into());
        }
        decision.verdict = Some(Verdict::Authorized);
        Ok(text)
    }
}

/// Stores a code, if what the person proved themselves by still opens the account. If the answer is
/// lost it is stored once more: a row that is there already is ours, since nobody else has the same
/// 256 random bits.
async fn keep(
    db: &Db,
    digest: &[u8; 32],
    code: &Code,
    proof: &PasswordHash,
) -> Result<bool, StoreError> {
    let add = || {
        db.write(async |tx| {
            if !users::still_opens(tx, code.subject, proof).await? {
                return Ok(false);
            }
            codes::add(tx, digest, code).await.map(|()| true)
        })
    };
    match add().await {
        Err(StoreError::Unknown) => match add().await {
            Err(StoreError::Conflict) => Ok(true),
            outcome => outcome,
        },
        outcome => outcome,
    }
}

/// What a browser calls itself, cut short, and without what could bend a terminal.
fn shown_agent(text: &str) -> String {
    let turns = |c: &char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    text.chars().filter(|c| !c.is_control() && !turns(c)).take(USER_AGENT).collect()
}

/// Where the answer goes: a registered redirect URI (RFC 6749 §3.1.2.3), or the only one that there
/// is, if the request names none.
fn redirect_uri<'a>(client: &'a Registered, asked: Option<&'a str>) -> Result<&'a str, Refusal> {
    let registered = client.client.redirect_uris.as_slice();
    match (asked, registered) {
        (Some(asked), all) if all.iter().any(|one| matches(one, asked)) => Ok(asked),
        (Some(_), _) => Err(Refusal::at(Reason::RedirectUriUnregistered, "redirect_uri")),
        (None, [only]) => Ok(only),
        (None, _) => Err(Refusal::at(Reason::RedirectUriMissing, "redirect_uri")),
    }
}

fn judge(
    client: &Registered,
    request: &AuthorizationRequest<'_>,
    decision: &mut Decision,
) -> Result<(Challenge, Vec<ResourceId>, Scopes), Refusal> {
    if let Some(name) = request.repeated {
        return Err(Refusal::at(Reason::ParameterRepeated, name));
    }
    // RFC 6749 appendix A.5 has printable ASCII here. More is given back as it came, but what a form
    // cannot carry would come back changed, and the client would take the answer for a forged one.
    if request.state.is_some_and(|state| state.chars().any(char::is_control)) {
        return Err(Refusal::at(Reason::ParameterMalformed, "state"));
    }
    if request.request.is_some() {
        return Err(Reason::RequestObjectUnsupported.into());
    }
    if request.request_uri.is_some() {
        return Err(Reason::RequestUriUnsupported.into());
    }
    match request.response_type {
        Some("code") => {}
        Some(_) => return Err(Reason::ResponseTypeUnsupported.into()),
        None => return Err(Refusal::at(Reason::ResponseTypeMissing, "response_type")),
    }
    if request.response_mode.is_some_and(|mode| mode != "query") {
        return Err(Reason::ResponseModeUnsupported.into());
    }
    if !client.client.grants.contains(&GrantType::AuthorizationCode) {
        return Err(Reason::AuthorizationNotAllowed.into());
    }
    decision.grant = Some(GrantType::AuthorizationCode);
    let challenge = challenge(request)?;
    let offers = offers(client, &request.resources, decision)?;
    let scopes = scopes(&offers, request.scope, decision)?;
    // There are no sessions of sign-in yet, so nobody ever is signed in already.
    if request.prompt.is_some_and(|prompt| prompt.split(' ').any(|one| one == "none")) {
        return Err(Reason::LoginRequired.into());
    }
    let resources = offers.into_iter().map(|offer| offer.resource.clone()).collect();
    Ok((challenge, resources, scopes))
}

/// The challenge, which every client needs. A method that is left out means `plain`, however much
/// the challenge looks like one of `S256` (RFC 7636 §4.3).
fn challenge(request: &AuthorizationRequest<'_>) -> Result<Challenge, Refusal> {
    let missing = Refusal::at(Reason::ChallengeMissing, "code_challenge");
    let challenge = request.code_challenge.ok_or(missing)?;
    if request.code_challenge_method != Some(METHOD) {
        return Err(Reason::ChallengeMethodUnsupported.into());
    }
    Challenge::parse(challenge).map_err(|_| Reason::ChallengeMalformed.into())
}

/// The resources that the request is for: all that it names (RFC 8707 §2.1), or the client's default.
fn offers<'a>(
    client: &'a Registered,
    named: &[&str],
    decision: &mut Decision,
) -> Result<Vec<&'a Offer>, Refusal> {
    if named.is_empty() {
        let default = client.client.default_resource().ok_or(Reason::ResourceMissing)?;
        return Ok(vec![client.offer(default).ok_or(Reason::ResourceUnknown)?]);
    }
    let mut offers: Vec<&Offer> = Vec::new();
    for text in named {
        let id = ResourceId::parse(text).map_err(|_| Reason::ResourceMalformed)?;
        let offer = client.offer(&id).ok_or(Reason::ResourceUnknown)?;
        if offers.iter().all(|other| other.resource != offer.resource) {
            offers.push(offer);
        }
    }
    if let [only] = offers.as_slice() {
        decision.asked_resource = Some(only.resource.clone());
    }
    Ok(offers)
}

/// The scopes (RFC 6749 §3.3): exactly what was asked if all of it is allowed, else nothing; what the
/// registration says if nothing was asked.
fn scopes(
    offers: &[&Offer],
    asked: Option<&str>,
    decision: &mut Decision,
) -> Result<Scopes, Refusal> {
    let all = |of: fn(&Offer) -> &Scopes| -> Scopes {
        offers.iter().flat_map(|offer| of(offer).iter().cloned().collect::<Vec<_>>()).collect()
    };
    let Some(asked) = asked else {
        let default = all(|offer| &offer.default);
        if default.is_empty() && offers.iter().any(|offer| offer.has_scopes) {
            return Err(Reason::ScopeEmpty.into());
        }
        return Ok(default);
    };
    let asked = Scopes::parse(asked).map_err(|_| Refusal::from(Reason::ScopeMalformed))?;
    decision.asked_scopes = Some(asked.clone());
    let allowed = asked.is_subset(&all(|offer| &offer.allowed));
    if allowed { Ok(asked) } else { Err(Reason::ScopeNotAllowed.into()) }
}
