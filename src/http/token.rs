//! `POST /oauth2/token` (RFC 6749 §3.2).

use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::form::Form;
use super::peer::admit;
use super::{Shared, answer, credentials};
use crate::domain::{Decision, Endpoint, Refusal};
use crate::issue::{AccessToken, TokenRequest};

/// What an answer holds besides its token and scopes, in bytes.
const REST: usize = 96;

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
        Ok(token) => {
            let answer = TokenAnswer {
                access_token: &token.token,
                token_type: "Bearer",
                expires_in: token.expires_in,
                scope: &token.scope,
            };
            answer::json(&answer, token.token.len() + token.scope.len() + REST)
        }
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
    let token_request = TokenRequest {
        presented,
        grant_type: form.one("grant_type")?,
        scope: form.text("scope")?,
        resources: resources.collect(),
    };
    let now = shared.service.clock.now();
    shared.service.token(&token_request, &caller, now, decision)
}
