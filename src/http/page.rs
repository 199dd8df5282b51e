//! The pages that people see. They work without scripts, load nothing, and can be framed by nobody.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    PRAGMA, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;
use url::{Host, Url};

use crate::domain::{Reason, Refusal, RequestId};
use crate::issue::WayBack;

const CSS: &str = include_str!("../../templates/page.css");

/// By its hash the one stylesheet is allowed, and no other that somebody might smuggle in.
static STYLE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(CSS.as_bytes()))));

/// The sign-in form.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignIn<'a> {
    /// The app's name for people.
    pub app: &'a str,
    /// It is the operator's own: nobody is asked what it may.
    pub first_party: bool,
    /// What it wants, and what that means.
    pub wishes: &'a [(&'a str, Option<&'a str>)],
    /// The request, to be judged anew when the form comes back.
    pub hidden: &'a [(&'static str, String)],
    /// That the form is ours.
    pub seal: &'a str,
    /// What was typed before.
    pub username: &'a str,
    /// What went wrong before.
    pub alert: Option<&'a str>,
    /// Where the form goes.
    pub action: &'a str,
    /// Where the browser goes then, in words.
    pub back: &'a str,
    /// The stylesheet.
    pub css: &'static str,
}

impl<'a> SignIn<'a> {
    /// A form with nothing in it yet.
    pub(super) const fn new(app: &'a str, action: &'a str, back: &'a str) -> Self {
        Self {
            app,
            action,
            back,
            first_party: false,
            wishes: &[],
            hidden: &[],
            seal: "",
            username: "",
            alert: None,
            css: CSS,
        }
    }
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    title: &'a str,
    advice: &'a str,
    cause: Option<&'a str>,
    request: &'a str,
    css: &'static str,
}

/// The head of an answer that holds the sign-in form.
pub(super) fn sign_in(status: StatusCode, back: &WayBack) -> HttpResponseBuilder {
    page(status, &format!("'self' {}", form_targets(&back.redirect_uri)))
}

/// Tells a person, and the app's developer, why it does not go on. Nothing of the request is shown.
pub(super) fn refused(request: &HttpRequest, refusal: &Refusal) -> HttpResponse {
    let public = refusal.reason.public();
    let wait = refusal.spent.map_or(1, |spent| spent.seconds);
    let (status, title, advice) = match public.status {
        429 => (429, "Too many attempts", format!("Wait {wait} seconds, then try again.")),
        503 => {
            let advice = "Go back to the app and try again in a moment.";
            (503, "Signing in is not possible right now", advice.to_owned())
        }
        status => {
            let advice = "The app that sent you here asked in a way that this server cannot \
                          answer. Go back to the app and try again. If that does not help, tell \
                          whoever runs the app what stands below.";
            let status = if matches!(status, 408 | 413) { status } else { 400 };
            (status, "This sign-in cannot go on", advice.to_owned())
        }
    };
    let cause = match refusal.reason {
        Reason::ClientUnknown | Reason::ClientDisabled => {
            "client_id: this server has no such client, or it is switched off.".to_owned()
        }
        _ => refusal.parameter.map_or_else(
            || public.text.to_owned(),
            |parameter| format!("{parameter}: {}", public.text),
        ),
    };
    let id = request.extensions().get::<RequestId>().copied().unwrap_or_default();
    let body = Refused {
        title,
        advice: &advice,
        cause: (status != 429 && status != 503).then_some(cause.as_str()),
        request: id.as_str(),
        css: CSS,
    };
    let mut builder =
        page(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), "'none'");
    match status {
        429 | 503 => {
            builder.insert_header((RETRY_AFTER, wait));
        }
        // What is left unread of the body must not be taken for the next request.
        408 | 413 => {
            builder.force_close();
        }
        _ => {}
    }
    rendered(builder, &body)
}

/// Writes a page into its answer.
pub(super) fn rendered(mut builder: HttpResponseBuilder, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(text) => builder.body(text),
        // A template over plain texts cannot fail to be written to memory.
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// Sends the browser back to the client with an answer. 303: the next request is a GET, without the
/// password that this one carried.
pub(super) fn back(to: &WayBack, answer: &[(&str, &str)], issuer: &str) -> HttpResponse {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(answer);
    query.extend_pairs(to.state.iter().map(|state| ("state", state)));
    // RFC 9207: a client of several issuers must be able to tell whose answer this is.
    query.append_pair("iss", issuer);
    let uri = &to.redirect_uri;
    // RFC 6749 §3.1.2: what stands in its query already stays.
    let joint = match uri.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let location = format!("{uri}{joint}{}", query.finish());
    let mut builder = HttpResponse::SeeOther();
    private(&mut builder);
    builder.insert_header((LOCATION, location)).finish()
}

/// An HTML answer with everything that protects it.
fn page(status: StatusCode, form_targets: &str) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    private(&mut builder);
    let policy = format!(
        "default-src 'none'; style-src {}; form-action {form_targets}; frame-ancestors 'none'; \
         base-uri 'none'",
        *STYLE
    );
    builder
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_FRAME_OPTIONS, HeaderValue::from_static("DENY")))
        .insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")));
    builder
}

/// Nobody keeps the answer, and no other site learns from where somebody came: its address holds the
/// request.
fn private(builder: &mut HttpResponseBuilder) {
    const PRIVATE: [(HeaderName, &str); 3] =
        [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache"), (REFERRER_POLICY, "no-referrer")];
    for (name, value) in PRIVATE {
        builder.insert_header((name, value));
    }
}

/// Where the form may lead besides ourselves. Chromium and Safari hold `form-action` against every
/// redirect that follows the form, those of the client's own site among them: with the redirect URI
/// alone, an app that sends people on to another host of its own would stop dead, and say nothing. So
/// any https will do, for apps on this machine any port here, and for others their own scheme.
fn form_targets(redirect_uri: &str) -> String {
    let scheme = redirect_uri.split(':').next().unwrap_or_default();
    let sound = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let url = Url::parse(redirect_uri).ok();
    let more = match (scheme, url.as_ref().and_then(Url::host)) {
        ("https", _) => return "https:".to_owned(),
        // A policy has no way to write an IPv6 address.
        ("http", Some(Host::Ipv6(_))) => "http:".to_owned(),
        ("http", _) => "http://127.0.0.1:* http://localhost:*".to_owned(),
        (own, _) if own.chars().all(sound) => format!("{own}:"),
        _ => return "https:".to_owned(),
    };
    format!("https: {more}")
}

/// Where somebody goes, in words: the host, or the scheme that an app keeps for itself.
pub(super) fn destination(redirect_uri: &str) -> String {
    let url = Url::parse(redirect_uri).ok();
    let host = url.as_ref().filter(|url| matches!(url.scheme(), "http" | "https"));
    match host.and_then(Url::host_str) {
        Some("127.0.0.1" | "[::1]" | "localhost") => "the app on this computer".to_owned(),
        Some(host) => host.to_owned(),
        None => "the app on this device".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(uri: &str, state: Option<&str>) -> String {
        let to = WayBack { redirect_uri: uri.to_owned(), state: state.map(str::to_owned) };
        let response = back(&to, &[("code", "x")], "https://i.test");
        response.headers().get(LOCATION).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_answer_is_added_to_what_the_redirect_uri_has_already() {
        let added = "code=x&iss=https%3A%2F%2Fi.test";
        assert_eq!(location("https://a.test", None), format!("https://a.test?{added}"));
        assert_eq!(location("https://a.test/?", None), format!("https://a.test/?{added}"));
        assert_eq!(location("https://a.test/?a=b", None), format!("https://a.test/?a=b&{added}"));
        assert_eq!(location("https://a.test/?a=b&", None), format!("https://a.test/?a=b&{added}"));
        assert_eq!(location("com.a.b:/cb", None), format!("com.a.b:/cb?{added}"));
        let state = location("https://a.test", Some("&=%+\u{e9}\r\n #"));
        assert!(state.contains("&state=%26%3D%25%2B%C3%A9%0D%0A+%23&iss="), "{state}");
    }

    #[test]
    fn a_policy_names_where_the_form_may_lead_and_nobody_can_write_into_it() {
        for (uri, targets) in [
            ("https://a.test/;script-src *", "https:"),
            ("http://127.0.0.1:8765/cb", "https: http://127.0.0.1:* http://localhost:*"),
            ("http://localhost:3000/cb;x", "https: http://127.0.0.1:* http://localhost:*"),
            ("http://[::1]:8765/cb", "https: http:"),
            ("com.example.app:/cb", "https: com.example.app:"),
            ("x;y:/cb", "https:"),
        ] {
            assert_eq!(form_targets(uri), targets, "{uri}");
        }
    }
}
