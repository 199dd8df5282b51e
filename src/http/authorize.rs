//! `GET` and `POST /oauth2/authorize` (RFC 6749 §3.1): the sign-in form, and what comes of it.
//!
//! Nothing is kept between the form and its answer: the form carries the request, sealed, and the
//! request is judged anew when the form comes back. So any replica answers, and no row is written for
//! somebody who goes away.

use actix_web::http::StatusCode;
use actix_web::http::header::USER_AGENT;
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use zeroize::Zeroizing;

use super::form::Form;
use super::peer::admit;
use super::{Handle, Shared, browser, page};
use crate::domain::{Decision, Endpoint, Reason, Refusal};
use crate::issue::{
    Authorization, AuthorizationRequest, Caller, Credentials, Device, Unsound, WayBack,
};
use crate::secret::TokenText;

/// The path, behind the issuer's own.
const PATH: &str = "/oauth2/authorize";

/// What a request is made of, and the form carries; what else there is in it is ignored.
const PARAMETERS: [&str; 12] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "prompt",
    "request",
    "request_uri",
];

/// What a visit comes to.
enum Outcome {
    /// The form is shown, for the first time or because something was wrong with the last answer.
    Form(Box<Shown>),
    /// The browser goes back to the client, with a code.
    Code(WayBack, TokenText),
    /// The browser goes back to the client, with an error.
    Back(WayBack, Refusal),
    /// It ends here.
    Here(Refusal),
}

/// A form that is to be shown.
struct Shown {
    authorization: Authorization,
    hidden: Vec<(&'static str, String)>,
    username: String,
    refusal: Option<Refusal>,
}

impl From<Unsound> for Outcome {
    fn from(unsound: Unsound) -> Self {
        match unsound {
            Unsound::Here(refusal) => Self::Here(refusal),
            Unsound::Back(way, refusal) => Self::Back(way, refusal),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Here(refusal)
    }
}

/// A request in the query.
pub(super) async fn get(request: HttpRequest, shared: Data<Handle>) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = by_query(&request, &shared, &mut decision).unwrap_or_else(|outcome| outcome);
    answered(&request, &shared, outcome, decision)
}

/// A request in the body, or the form that comes back.
pub(super) async fn post(
    request: HttpRequest,
    payload: Payload,
    shared: Data<Handle>,
) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = by_form(&request, payload, &shared, &mut decision).await;
    answered(&request, &shared, outcome.unwrap_or_else(|outcome| outcome), decision)
}

fn by_query(
    request: &HttpRequest,
    shared: &Shared,
    decision: &mut Decision,
) -> Result<Outcome, Outcome> {
    admit(request, shared, Endpoint::Authorize)?;
    let form = Form::parse(request.query_string().as_bytes())?;
    let authorization = shared.service.authorization(&asked(&form)?, decision)?;
    Ok(shown(authorization, &form, None))
}

async fn by_form(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
    decision: &mut Decision,
) -> Result<Outcome, Outcome> {
    let caller = admit(request, shared, Endpoint::Authorize)?;
    let form = Form::read(request, payload).await?;
    let authorization = shared.service.authorization(&asked(&form)?, decision)?;
    // OpenID Connect Core §3.1.2.1: a client may also post its request. That is no answer of anybody.
    let Some(seal) = form.text("form_seal")? else {
        return Ok(shown(authorization, &form, None));
    };
    if !browser::sent_our_form(request, shared, &carried(&form), seal) {
        return Ok(shown(authorization, &form, Some(Reason::FormForeign.into())));
    }
    if form.text("answer")? == Some("deny") {
        return Err(Outcome::Back(authorization.back, Reason::AccessDenied.into()));
    }
    match allowed(request, shared, &form, (&authorization, &caller), decision).await {
        Ok(code) => Ok(Outcome::Code(authorization.back, code)),
        Err(refusal) if refusal.reason == Reason::SignInFailed => {
            Ok(shown(authorization, &form, Some(refusal)))
        }
        Err(refusal) => Err(Outcome::Here(refusal)),
    }
}

/// Somebody signs in, and allows what is asked.
async fn allowed(
    request: &HttpRequest,
    shared: &Shared,
    form: &Form,
    (authorization, caller): (&Authorization, &Caller),
    decision: &mut Decision,
) -> Result<TokenText, Refusal> {
    let (username, password) = (form.text("username")?, form.text("password")?);
    let (Some(username), Some(password)) = (username, password) else {
        return Err(Reason::SignInFailed.into());
    };
    let credentials = Credentials {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    };
    let service = &shared.service;
    let now = service.clock.now();
    let person = service.sign_in(credentials, caller, now).await?;
    let agent = request.headers().get(USER_AGENT);
    let agent = agent.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let device = Device { user_agent: agent.as_deref(), network: caller.network };
    service.allow(authorization, person, device, now, decision).await
}

/// The request in a form. Who asks, and where the answer is to go, must be said once, or nobody can be
/// told that something else was said twice.
fn asked(form: &Form) -> Result<AuthorizationRequest<'_>, Refusal> {
    let (client_id, redirect_uri) = (form.text("client_id")?, form.text("redirect_uri")?);
    let mut repeated = None;
    let mut text = |name| {
        form.text(name).unwrap_or_else(|_| {
            repeated.get_or_insert(name);
            None
        })
    };
    Ok(AuthorizationRequest {
        client_id,
        redirect_uri,
        response_type: text("response_type"),
        response_mode: text("response_mode"),
        scope: text("scope"),
        state: text("state"),
        code_challenge: text("code_challenge"),
        code_challenge_method: text("code_challenge_method"),
        prompt: text("prompt"),
        request: text("request"),
        request_uri: text("request_uri"),
        resources: form.many("resource").filter(|value| !value.is_empty()).collect(),
        repeated,
    })
}

/// What the form carries of the request, in a fixed order, because it is sealed.
fn carried(form: &Form) -> Vec<(&'static str, String)> {
    let of = |name| form.many(name).filter(|value| !value.is_empty()).map(move |v| (name, v));
    let all = PARAMETERS.into_iter().flat_map(of);
    all.map(|(name, value)| (name, value.to_owned())).collect()
}

fn shown(authorization: Authorization, form: &Form, refusal: Option<Refusal>) -> Outcome {
    let username = form.text("username").ok().flatten().filter(|_| refusal.is_some());
    Outcome::Form(Box::new(Shown {
        authorization,
        hidden: carried(form),
        username: username.unwrap_or_default().to_owned(),
        refusal,
    }))
}

/// Renders what a visit came to; what came to an end is counted and logged.
fn answered(
    request: &HttpRequest,
    shared: &Shared,
    outcome: Outcome,
    mut decision: Decision,
) -> HttpResponse {
    let refusal = match &outcome {
        Outcome::Form(shown) => shown.refusal,
        Outcome::Code(..) => None,
        Outcome::Back(_, refusal) | Outcome::Here(refusal) => Some(*refusal),
    };
    if refusal.is_some() || matches!(outcome, Outcome::Code(..)) {
        decision.refused = refusal.map(|refusal| refusal.reason);
        shared.metrics.authorized(&decision);
        let mut extensions = request.extensions_mut();
        extensions.insert(decision);
        if let Some(refusal) = refusal {
            extensions.insert(refusal.reason);
        }
        if let Some(spent) = refusal.and_then(|refusal| refusal.spent) {
            extensions.insert(spent);
        }
    }
    let issuer = shared.service.rules.issuer.as_str();
    match outcome {
        Outcome::Form(shown) => form(request, shared, &shown),
        Outcome::Code(way, code) => page::back(&way, &[("code", code.expose())], issuer),
        Outcome::Back(way, refusal) => {
            let public = refusal.reason.public();
            let description = refusal
                .parameter
                .map_or_else(|| public.text.to_owned(), |name| format!("{name}: {}", public.text));
            let error = [("error", public.error), ("error_description", description.as_str())];
            page::back(&way, &error, issuer)
        }
        Outcome::Here(refusal) => page::refused(request, &refusal),
    }
}

fn form(request: &HttpRequest, shared: &Shared, shown: &Shown) -> HttpResponse {
    let Shown { authorization, hidden, username, refusal } = shown;
    let issuer = &shared.service.rules.issuer;
    let (mark, cookie) = browser::mark(request, issuer);
    let seal = browser::seal(shared, &mark, hidden);
    let client = &authorization.client.client;
    let (action, back) =
        (format!("{}{PATH}", issuer.path()), page::destination(&authorization.back.redirect_uri));
    let wishes = authorization.wishes();
    let alert = refusal.map(|refusal| match refusal.reason {
        Reason::SignInFailed => "The username or the password is wrong.",
        _ => "This page had been open for too long, or cookies are switched off. Please try again.",
    });
    let form = page::SignIn {
        first_party: client.first_party,
        wishes: &wishes,
        hidden,
        seal: &seal,
        username,
        alert,
        ..page::SignIn::new(&client.name, &action, &back)
    };
    let status = if refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let mut builder = page::sign_in(status, &authorization.back);
    if let Some(cookie) = cookie {
        builder.cookie(cookie);
    }
    page::rendered(builder, &form)
}
