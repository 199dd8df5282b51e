//! Whether a form comes from where we sent it: the same browser, the same request, a page of ours.
//!
//! The browser has a random mark in a cookie, and the form a seal over the mark and the request.
//! Another site can neither read the one nor make the other.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{HeaderName, HeaderValue, ORIGIN};

use super::Shared;
use crate::domain::Issuer;
use crate::secret::{form_seal_fits, is_browser_mark, new_browser_mark, seal_form};

/// The mark of the browser, and the cookie that gives it one if it has none.
pub(super) fn mark(request: &HttpRequest, issuer: &Issuer) -> (String, Option<Cookie<'static>>) {
    if let Some(mark) = held(request, issuer) {
        return (mark, None);
    }
    let mark = new_browser_mark();
    let cookie = Cookie::build(cookie_name(issuer), mark.clone())
        .path("/")
        .http_only(true)
        .secure(issuer.is_https())
        .same_site(SameSite::Lax)
        .finish();
    (mark, Some(cookie))
}

/// The seal of a form with this request in it.
pub(super) fn seal(shared: &Shared, mark: &str, carried: &[(&'static str, String)]) -> String {
    seal_form(&shared.service.secrets.now(), &parts(mark, carried))
}

/// Whether this is a form of ours, from the browser that we gave it to.
pub(super) fn sent_our_form(
    request: &HttpRequest,
    shared: &Shared,
    carried: &[(&'static str, String)],
    seal: &str,
) -> bool {
    let issuer = &shared.service.rules.issuer;
    let Some(mark) = held(request, issuer) else { return false };
    from_our_page(request, issuer)
        && form_seal_fits(&shared.service.secrets.now(), &parts(&mark, carried), seal)
}

fn parts<'a>(mark: &'a str, carried: &'a [(&'static str, String)]) -> Vec<&'a [u8]> {
    let request = carried.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    std::iter::once(mark.as_bytes()).chain(request).collect()
}

/// On https the name makes browsers refuse a cookie that another host of the domain, or an unsecured
/// page, tries to plant (RFC 6265bis §4.1.3.2).
const fn cookie_name(issuer: &Issuer) -> &'static str {
    if issuer.is_https() { "__Host-jeton-form" } else { "jeton-form" }
}

fn held(request: &HttpRequest, issuer: &Issuer) -> Option<String> {
    let cookie = request.cookie(cookie_name(issuer))?;
    is_browser_mark(cookie.value()).then(|| cookie.value().to_owned())
}

/// What the browser itself says of where the form was. Our pages tell no referrer, and then a browser
/// that knows no `Sec-Fetch-Site` sends `Origin: null`: that says nothing either way.
fn from_our_page(request: &HttpRequest, issuer: &Issuer) -> bool {
    let header = |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
    match (header(HeaderName::from_static("sec-fetch-site")), header(ORIGIN)) {
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, Some(origin)) => origin == b"null" || origin == issuer.origin().as_bytes(),
        (None, None) => true,
    }
}
