//! `POST /oauth2/token` (RFC 6749 §3.2).

use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::form::Form;
use super::peer::admit;
use super::{Shared, answer, credentials};
use crate::domain::{Decision, Endpoint, Refusal};
use crate::issue::{AccessToken, TokenRequest};

/// RFC 6749 §5.1. Absent members are left out, never `null`.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

pub(super) async fn post(
    request: HttpRequest,
    payload: Payload,
    shared: Data<Shared>,
) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = answered(&request, payload, &shared, &mut decision).await;
    decision.refused = outcome.as_ref().err().map(|refusal| refusal.reason);
    shared.metrics.decided(&decision);
    let response = match &outcome {
        Ok(token) => answer::ok().json(TokenAnswer {
            access_token: &token.token,
            token_type: "Bearer",
            expires_in: token.expires_in,
            scope: &token.scope,
        }),
        Err(refusal) => answer::refusal(&request, refusal, shared.service.rules.issuer.as_str()),
    };
    request.extensions_mut().insert(decision);
    response
}

async fn answered(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
    decision: &mut Decision,
) -> Result<AccessToken, Refusal> {
    let caller = admit(request, shared, Endpoint::Token)?;
    let form = Form::read(request, payload).await?;
    let presented = credentials::presented(request, &form)?;
    let resources = form.many("resource").filter(|value| !value.is_empty());
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let token_request = TokenRequest {
        presented,
        grant_type: owned(form.one("grant_type")?),
        scope: owned(form.text("scope")?),
        resources: resources.map(str::to_owned).collect(),
    };
    let now = shared.service.clock.now();
    shared.service.token(&token_request, &caller, now, decision)
}
