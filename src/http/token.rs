//! `POST /oauth2/token` (RFC 6749 §3.2).

use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::form::Form;
use super::peer::admit;
use super::{Handle, Shared, answer, cors, credentials};
use crate::domain::{Decision, Endpoint, Refusal};
use crate::issue::{AccessToken, TokenRequest};
use crate::secret::TokenText;

/// What an answer holds besides its token and scopes, in bytes.
const REST: usize = 256;

/// RFC 6749 §5.1. Absent members are left out, never `null`.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_expires_in: Option<u64>,
}

pub(super) async fn post(
    request: HttpRequest,
    payload: Payload,
    shared: Data<Handle>,
) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = answered(&request, payload, &shared, &mut decision).await;
    decision.refused = outcome.as_ref().err().map(|refusal| refusal.reason);
    shared.metrics.decided(&decision);
    let mut response = match &outcome {
        Ok(token) => {
            let answer = TokenAnswer {
                access_token: &token.token,
                token_type: "Bearer",
                expires_in: token.expires_in,
                scope: &token.scope,
                refresh_token: token.refresh_token.as_ref().map(TokenText::expose),
                refresh_token_timeout: token.ends_in.map(|(token, _)| token),
                authorization_expires_in: token.ends_in.map(|(_, family)| family),
            };
            answer::json(&answer, token.token.len() + token.scope.len() + REST)
        }
        Err(refusal) => answer::refusal(&request, refusal, shared.service.rules.issuer.as_str()),
    };
    cors::share(&request, &shared, &decision, &mut response);
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
        code: form.text("code")?.map(TokenText::new),
        code_verifier: form.text("code_verifier")?.map(TokenText::new),
        redirect_uri: form.text("redirect_uri")?,
        refresh_token: form.text("refresh_token")?.map(TokenText::new),
    };
    let now = shared.service.clock.now();
    shared.service.token(&token_request, &caller, now, decision).await
}
