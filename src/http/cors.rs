//! Which pages may read what is answered to them: those that clients without a secret registered as the
//! place where people are sent back to (RFC 10017, and CORS in the Fetch standard).
//!
//! It keeps no page from asking, for browsers send a form to anybody, and nobody relies on it to keep a
//! token from being issued: a code needs its verifier. It keeps pages that have nothing to do with a client
//! from reading along. There is no cookie that counts here, so credentials are never allowed.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderValue, ORIGIN, VARY,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Handle, Shared};
use crate::domain::{ClientId, Decision, redirect};

const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
/// What tells a page when to come again, and an operator which request it was.
const READABLE: HeaderValue =
    HeaderValue::from_static("Retry-After, WWW-Authenticate, X-Request-Id");

/// `OPTIONS`, before a page sends what no form could. It cannot say which client it is about.
pub(super) async fn preflight(request: HttpRequest, shared: Data<Handle>) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    response.insert_header((ALLOW, "OPTIONS, POST")).insert_header((VARY, BY_ORIGIN));
    if let Some(origin) = allowed(&request, &shared, None) {
        response
            .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "POST"))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"))
            .insert_header((ACCESS_CONTROL_MAX_AGE, "7200"));
    }
    response.finish()
}

/// Lets the page that sent a request read the answer, if it is one of the client's; of any client's where
/// nobody has proved to be one, so that an app's developer sees what is wrong, and a name that was only
/// guessed at looks like any other. A request that no page sent is left as it is: no cache keeps these
/// answers, so nobody has to be told that they differ.
pub(super) fn share(
    request: &HttpRequest,
    shared: &Shared,
    decision: &Decision,
    response: &mut HttpResponse,
) {
    if !request.headers().contains_key(ORIGIN) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(VARY, BY_ORIGIN);
    let client = decision.authenticated_by.and(decision.client.as_ref());
    if let Some(origin) = allowed(request, shared, client) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    }
}

/// The origin of a request, if it may read.
fn allowed(
    request: &HttpRequest,
    shared: &Shared,
    client: Option<&ClientId>,
) -> Option<HeaderValue> {
    let value = request.headers().get(ORIGIN)?;
    let origin = redirect::registered_origin(value.to_str().ok()?);
    let directory = shared.service.mirror.directory();
    let may = match client.and_then(|id| directory.client(id)) {
        Some(registered) => registered.has_page_at(origin),
        None => directory.has_page_at(origin),
    };
    may.then(|| value.clone())
}
