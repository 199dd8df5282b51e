//! `POST /oauth2/introspect` (RFC 7662, RFC 9701).

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::form::Form;
use super::peer::admit;
use super::{Handle, Shared, answer, credentials};
use crate::domain::{Decision, Endpoint, Reason, Refusal};
use crate::issue::{Introspection, IntrospectionRequest};
use crate::secret::TokenText;

/// The media type of a signed answer (RFC 9701 §5).
const SIGNED: &str = "application/token-introspection+jwt";

pub(super) async fn post(
    request: HttpRequest,
    payload: Payload,
    shared: Data<Handle>,
) -> HttpResponse {
    let mut decision = Decision::default();
    let outcome = answered(&request, payload, &shared, &mut decision).await;
    decision.refused = outcome.as_ref().err().map(|refusal| refusal.reason);
    let signed_by = match &outcome {
        Ok(Introspection::Signed { kid, .. }) => Some(kid.as_str()),
        Ok(Introspection::Plain(_)) | Err(_) => None,
    };
    shared.metrics.introspected(&decision, signed_by);
    let response = match outcome {
        Ok(Introspection::Plain(body)) => answer::ok().content_type(answer::JSON).body(body),
        Ok(Introspection::Signed { token, .. }) => answer::ok().content_type(SIGNED).body(token),
        Err(refusal) => refused(&request, &refusal, shared.service.rules.issuer.as_str()),
    };
    request.extensions_mut().insert(decision);
    response
}

async fn answered(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
    decision: &mut Decision,
) -> Result<Introspection, Refusal> {
    let caller = admit(request, shared, Endpoint::Introspect)?;
    let form = Form::read(request, payload).await?;
    let introspection = IntrospectionRequest {
        presented: credentials::presented(request, &form)?,
        token: form.text("token")?.map(TokenText::new),
        signed: wants_signed(request),
    };
    shared.service.introspect(&introspection, &caller, decision).await
}

/// A refusal; a 401 says that an access token would do as well (RFC 6750 §3), and speaks of an
/// error of one only to whoever brought one (§3.1).
fn refused(request: &HttpRequest, refusal: &Refusal, realm: &str) -> HttpResponse {
    let mut response = answer::refusal(request, refusal, realm);
    let challenge = HeaderValue::from_str(&format!("Bearer realm=\"{realm}\""));
    if response.status() == StatusCode::UNAUTHORIZED
        && refusal.reason != Reason::BearerInvalid
        && let Ok(challenge) = challenge
    {
        response.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Whether a signed answer is what the caller prefers (RFC 9110 §12.5.1). It has to be asked for by
/// name: whoever takes anything gets JSON.
fn wants_signed(request: &HttpRequest) -> bool {
    let values = request.headers().get_all(ACCEPT);
    let ranges = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let (mut signed, mut plain) = (None, None);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
        match kind.as_str() {
            SIGNED => signed = Some(weight),
            "application/json" => plain = Some(weight),
            _ => {}
        }
    }
    signed.is_some_and(|signed| signed > 0.0 && signed >= plain.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_signed_answer_is_asked_for_by_name_and_weighed_against_json() {
        let wants = |accept: &str| {
            wants_signed(&TestRequest::post().insert_header((ACCEPT, accept)).to_http_request())
        };
        for accept in [
            SIGNED,
            "Application/Token-Introspection+JWT",
            "application/json;q=0.5, application/token-introspection+jwt",
            "application/json, application/token-introspection+jwt",
            "*/*;q=0.1, application/token-introspection+jwt;q=0.2",
        ] {
            assert!(wants(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "application/jwt",
            "application/token-introspection+jwt;q=0",
            "application/token-introspection+jwt;q=x",
            "application/token-introspection+jwt;q=0.5, application/json",
        ] {
            assert!(!wants(accept), "{accept}");
        }
    }
}
