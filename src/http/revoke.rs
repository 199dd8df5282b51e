//! `POST /oauth2/revoke` (RFC 7009).

use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::form::Form;
use super::peer::admit;
use super::{Handle, Shared, answer, cors, credentials};
use crate::domain::{Decision, Endpoint, Refusal};
use crate::issue::RevocationRequest;
use crate::secret::TokenText;

pub(super) async fn post(
    request: HttpRequest,
    payload: Payload,
    shared: Data<Handle>,
) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = answered(&request, payload, &shared, &mut decision).await;
    decision.refused = outcome.as_ref().err().map(|refusal| refusal.reason);
    shared.metrics.revoked(&decision);
    let mut response = match outcome {
        Ok(()) => answer::ok().finish(),
        Err(refusal) => answer::refusal(&request, &refusal, shared.service.rules.issuer.as_str()),
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
) -> Result<(), Refusal> {
    let caller = admit(request, shared, Endpoint::Revoke)?;
    let form = Form::read(request, payload).await?;
    let revocation = RevocationRequest {
        presented: credentials::presented(request, &form)?,
        token: form.text("token")?.map(TokenText::new),
    };
    shared.service.revoke(&revocation, &caller, decision).await
}
