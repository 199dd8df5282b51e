//! Answers in the one form that OAuth gives them: JSON, never to be stored.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::json;

use crate::domain::{Reason, Refusal};

/// A 200 that no cache may keep (RFC 6749 §5.1).
pub(super) fn ok() -> HttpResponseBuilder {
    let mut builder = HttpResponse::Ok();
    no_store(&mut builder);
    builder
}

/// A refusal in public (RFC 6749 §5.2): fixed text that follows from the reason alone. The reason
/// itself goes with the request, for the log line.
pub(super) fn refusal(request: &HttpRequest, refusal: &Refusal, realm: &str) -> HttpResponse {
    request.extensions_mut().insert(refusal.reason);
    let public = refusal.reason.public();
    let status = StatusCode::from_u16(public.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut builder = HttpResponse::build(status);
    no_store(&mut builder);
    match public.status {
        // RFC 6750 §3: whoever came with an access token hears what is wrong with it.
        401 | 403 if matches!(refusal.reason, Reason::BearerInvalid | Reason::BearerScope) => {
            let scope = if public.status == 403 { ", scope=\"introspect\"" } else { "" };
            let challenge = format!("Bearer realm=\"{realm}\", error=\"{}\"{scope}", public.error);
            builder.insert_header((WWW_AUTHENTICATE, challenge));
        }
        // RFC 9110 §11.6.1: a 401 says how to do it right, whichever way was tried.
        401 => {
            let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
            builder.insert_header((WWW_AUTHENTICATE, challenge));
        }
        503 => {
            builder.insert_header((RETRY_AFTER, "1"));
        }
        // What is left unread of the body must not be taken for the next request.
        408 | 413 => {
            builder.force_close();
        }
        _ => {}
    }
    let description = match refusal.parameter {
        Some(parameter) => format!("{parameter}: {}", public.text),
        None => public.text.to_owned(),
    };
    builder.json(json!({ "error": public.error, "error_description": description }))
}

/// A 405, with the methods that would work.
pub(super) fn method_not_allowed(request: &HttpRequest, allow: &str) -> HttpResponse {
    let mut response = refusal(request, &Reason::MethodNotAllowed.into(), "");
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// `Pragma` is for RFC 6749 §5.1, which still asks for it.
fn no_store(builder: &mut HttpResponseBuilder) {
    builder.insert_header((CACHE_CONTROL, "no-store"));
    builder.insert_header((PRAGMA, "no-cache"));
}
