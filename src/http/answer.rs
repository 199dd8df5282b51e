//! Answers in the one form that OAuth gives them: JSON, never to be stored.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::json;

use crate::domain::{Budget, Reason, Refusal};

/// The media type of every answer but the signed ones.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A 200 that no cache may keep (RFC 6749 §5.1).
pub(super) fn ok() -> HttpResponseBuilder {
    let mut builder = HttpResponse::Ok();
    no_store(&mut builder);
    builder
}

/// A 200 with JSON of about so many bytes: the buffer is not grown while it is written.
pub(super) fn json(value: &impl Serialize, size: usize) -> HttpResponse {
    let mut body = Vec::with_capacity(size);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => ok().content_type(JSON).body(body),
        // What we render has string keys and no error of its own; were it otherwise, it is our fault.
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// A refusal in public (RFC 6749 §5.2): fixed text that follows from the reason and the budget
/// alone. Both go with the request, for the log line.
pub(super) fn refusal(request: &HttpRequest, refusal: &Refusal, realm: &str) -> HttpResponse {
    request.extensions_mut().insert(refusal.reason);
    if let Some(spent) = refusal.spent {
        request.extensions_mut().insert(spent);
    }
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
        429 => {
            let spent = refusal.spent;
            builder.insert_header((RETRY_AFTER, spent.map_or(1, |spent| spent.seconds)));
            // This one is refused before its body is read.
            if spent.is_some_and(|spent| spent.budget == Budget::Network) {
                builder.force_close();
            }
        }
        // What is left unread of the body must not be taken for the next request.
        408 | 413 => {
            builder.force_close();
        }
        _ => {}
    }
    if matches!(refusal.reason, Reason::TransportPlain | Reason::UpgradeAsked) {
        builder.force_close();
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
    builder.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    builder.insert_header((PRAGMA, HeaderValue::from_static("no-cache")));
}
