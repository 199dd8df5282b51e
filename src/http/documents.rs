//! Public documents: JWKS, its schedule, and metadata. They are bytes in memory, the same for
//! everyone, and they survive the loss of the database.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use arc_swap::Guard;
use serde_json::{Map, Value, json};

use super::Handle;
use crate::domain::pkce::METHOD;
use crate::domain::{AuthMethod, GrantType};
use crate::issue::Rules;
use crate::mirror::{Directory, Document};

/// How long metadata may be cached: it changes with the configuration and the scopes.
const METADATA_MAX_AGE: Duration = Duration::from_secs(300);

/// `GET /.well-known/jwks.json` (RFC 7517 §5).
pub(super) async fn jwks(request: HttpRequest, shared: Data<Handle>) -> HttpResponse {
    let now = shared.service.clock.now();
    let keys = shared.service.mirror.keys();
    render(&request, &keys.jwks(now).document, keys.max_age(&shared.policy, now))
}

/// `GET /.well-known/jwks-schedule`: when each key comes and goes, for everyone to check.
pub(super) async fn schedule(request: HttpRequest, shared: Data<Handle>) -> HttpResponse {
    let now = shared.service.clock.now();
    let keys = shared.service.mirror.keys();
    let issuer = shared.service.rules.issuer.as_str();
    let document = keys.schedule_document(issuer, &shared.policy, now);
    render(&request, &document.document, keys.max_age(&shared.policy, now))
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414) and `openid-configuration`: the same
/// document in every place where clients look for it, and never built from what a request says.
pub(super) async fn metadata(request: HttpRequest, shared: Data<Handle>) -> HttpResponse {
    let directory = shared.service.mirror.directory();
    let ready = shared.metadata.load();
    if let Some(ready) = ready.as_ref().filter(|ready| Arc::ptr_eq(&ready.0, &directory)) {
        return render(&request, &ready.1, METADATA_MAX_AGE);
    }
    let document = Document::new(metadata_text(&shared.service.rules, &directory));
    let answer = render(&request, &document, METADATA_MAX_AGE);
    shared.metadata.store(Some(Arc::new((Guard::into_inner(directory), document))));
    answer
}

/// Only what is served is advertised; and where a missing member would mean a default that is not
/// true of us (RFC 8414 §2), the member is there.
fn metadata_text(rules: &Rules, directory: &Directory) -> String {
    let (issuer, lines) = (&rules.issuer, &rules.algorithms);
    let confidential = AuthMethod::ALL.iter().filter(|method| **method != AuthMethod::None);
    let confidential: Vec<_> = confidential.map(|method| method.name()).collect();
    let all: Vec<_> = AuthMethod::ALL.iter().map(|method| method.name()).collect();
    let grants: Vec<_> = GrantType::ALL.iter().map(|grant| grant.name()).collect();
    let scopes: Vec<_> = directory.scopes().iter().map(ToString::to_string).collect();
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("issuer", json!(issuer.as_str()));
    add("authorization_endpoint", json!(issuer.url("/oauth2/authorize")));
    add("response_types_supported", json!(["code"]));
    add("response_modes_supported", json!(["query"]));
    add("code_challenge_methods_supported", json!([METHOD]));
    add("authorization_response_iss_parameter_supported", json!(true));
    add("token_endpoint", json!(issuer.url("/oauth2/token")));
    add("jwks_uri", json!(issuer.url("/.well-known/jwks.json")));
    add("grant_types_supported", json!(grants));
    add("token_endpoint_auth_methods_supported", json!(all));
    add("introspection_endpoint", json!(issuer.url("/oauth2/introspect")));
    let asking: Vec<_> = confidential.iter().copied().chain(["Bearer"]).collect();
    add("introspection_endpoint_auth_methods_supported", json!(asking));
    let signing: Vec<_> = lines.iter().map(|line| line.name()).collect();
    add("introspection_signing_alg_values_supported", json!(signing));
    add("revocation_endpoint", json!(issuer.url("/oauth2/revoke")));
    add("revocation_endpoint_auth_methods_supported", json!(all));
    add("request_uri_parameter_supported", json!(false));
    if rules.refresh.announce {
        add("refresh_token_expiration_types_supported", json!(["authorization", "credential"]));
    }
    // RFC 8414 §2: a member with no elements is left out.
    if !scopes.is_empty() {
        add("scopes_supported", json!(scopes));
    }
    Value::Object(members).to_string()
}

fn render(request: &HttpRequest, document: &Document, max_age: Duration) -> HttpResponse {
    if request.method() == Method::OPTIONS {
        return preflight();
    }
    let gzip = accepts_gzip(request);
    let (body, tag) = if gzip {
        (&document.gzip, document.gzip_etag.as_str())
    } else {
        (&document.plain, document.etag.as_str())
    };
    if matches(request, tag) {
        let mut response = HttpResponse::NotModified();
        cached(&mut response, tag, max_age);
        return response.finish();
    }
    let mut response = HttpResponse::Ok();
    cached(&mut response, tag, max_age);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    if gzip {
        response.insert_header((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    response.body(body.clone())
}

fn cached(response: &mut HttpResponseBuilder, tag: &str, max_age: Duration) {
    let seconds = max_age.as_secs();
    response
        .insert_header((CACHE_CONTROL, format!("public, max-age={seconds}")))
        .insert_header((ETAG, tag))
        .insert_header((VARY, HeaderValue::from_static("Accept-Encoding")))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")))
        .insert_header((ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag")));
}

/// A browser asks before it sends `If-None-Match` to another origin.
fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ALLOW, "GET, HEAD, OPTIONS"))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "If-None-Match"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

/// Whether gzip is acceptable (RFC 9110 §12.5.3): named without a weight of zero.
fn accepts_gzip(request: &HttpRequest) -> bool {
    let values = request.headers().get_all(ACCEPT_ENCODING);
    let mut codings =
        values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        named && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Whether the caller holds the representation already (RFC 9110 §13.1.2: compared weakly).
fn matches(request: &HttpRequest, tag: &str) -> bool {
    let values = request.headers().get_all(IF_NONE_MATCH);
    let mut tags = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    tags.any(|held| {
        let held = held.trim();
        held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag
    })
}
