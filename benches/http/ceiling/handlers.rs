//! The bare handlers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use josekit::jws::alg::ecdsa::EcdsaJwsVerifier;
use josekit::jws::{ES256, JwsVerifier};
use openssl::bn::BigNumContext;
use openssl::ec::PointConversionForm;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use super::Signers;
use super::refresh::Refresher;
use super::revoke::Revoker;
use super::signers::Sign;
use crate::bench::{CHECKER, CLIENTS, WEB};
use crate::server::{ISSUER, RESOURCE, SECRET};

/// What the handlers share.
pub struct State {
    pub signers: Signers,
    jwks: Bytes,
    metadata: Bytes,
    mac: Hmac<Sha256>,
    /// The digest of each client's secret.
    clients: HashMap<String, [u8; 32]>,
    josekit: EcdsaJwsVerifier,
    aws_lc: ParsedPublicKey,
    /// The answers for tokens that were asked about before, by the token's hash.
    seen: Mutex<HashMap<[u8; 32], Bytes>>,
    pub revoker: Revoker,
    pub refresher: Refresher,
}

impl State {
    pub async fn new(directory: &Path) -> Self {
        let signers = Signers::new();
        let key = signers.es256.ec_key().unwrap();
        let mut context = BigNumContext::new().unwrap();
        let form = PointConversionForm::UNCOMPRESSED;
        let point = key.public_key().to_bytes(key.group(), form, &mut context).unwrap();
        let public = signers.es256.public_key_to_der().unwrap();
        let mac = Hmac::new_from_slice(&[7; 32]).unwrap();
        let names = CLIENTS.iter().map(|(_, id)| *id).chain([CHECKER, WEB]);
        let read = |name| Bytes::from(std::fs::read(directory.join(name)).unwrap());
        let url = std::fs::read_to_string(directory.join("database")).unwrap();
        let revoker = Revoker::new(&url).await;
        let refresher = Refresher::new(directory, &url, signers.get("ours", "ES256"));
        Self {
            signers,
            jwks: read("jwks"),
            metadata: read("metadata"),
            clients: names.map(|id| (id.to_owned(), digest(&mac, id, SECRET))).collect(),
            mac,
            josekit: ES256.verifier_from_der(public).unwrap(),
            aws_lc: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap(),
            seen: Mutex::default(),
            revoker,
            refresher,
        }
    }

    /// The client that a request is from: one MAC and one comparison.
    pub fn client(&self, request: &HttpRequest) -> Option<String> {
        let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let pair = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
        let (id, secret) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        let stored = self.clients.get(id)?;
        let equal: bool = stored.ct_eq(&digest(&self.mac, id, secret)).into();
        equal.then(|| id.to_owned())
    }
}

fn digest(mac: &Hmac<Sha256>, id: &str, secret: &str) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(id.as_bytes());
    mac.update(secret.as_bytes());
    mac.finalize().into_bytes().into()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn parameter(body: &[u8], wanted: &str) -> Option<String> {
    let found = form_urlencoded::parse(body).find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.into_owned())
}

pub fn refused() -> HttpResponse {
    HttpResponse::Unauthorized().finish()
}

pub fn no_store() -> HttpResponseBuilder {
    let mut builder = HttpResponse::Ok();
    builder.insert_header(("cache-control", "no-store")).insert_header(("pragma", "no-cache"));
    builder
}

fn document(body: &Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .insert_header(("etag", "\"0123456789012345678901234567890123456789012\""))
        .insert_header(("vary", "Accept-Encoding"))
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("access-control-expose-headers", "ETag"))
        .insert_header(("content-type", "application/json"))
        .body(body.clone())
}

pub async fn jwks(state: Data<State>) -> HttpResponse {
    document(&state.jwks)
}

pub async fn metadata(state: Data<State>) -> HttpResponse {
    document(&state.metadata)
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    scope: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a str,
}

/// Reads the form, checks the secret, signs.
pub fn token(request: &HttpRequest, body: &Bytes, state: &State, sign: &Sign) -> HttpResponse {
    let (Some(client), Some(scope)) = (state.client(request), parameter(body, "scope")) else {
        return refused();
    };
    if parameter(body, "grant_type").as_deref() != Some("client_credentials") {
        return refused();
    }
    let iat = now();
    let claims = Claims {
        iss: ISSUER,
        aud: RESOURCE,
        sub: &client,
        client_id: &client,
        iat,
        exp: iat + 600,
        jti: &URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
        scope: &scope,
    };
    let access_token = &sign(serde_json::to_string(&claims).unwrap().as_bytes());
    no_store().json(Answer { access_token, token_type: "Bearer", expires_in: 600, scope: &scope })
}

/// What an introspection says about a token (RFC 7662 §2.2): its claims, and that it is active.
fn introspected(token: &str) -> Option<Bytes> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let live = claims["exp"].as_u64()? > now();
    let inside = claims.to_string();
    live.then(|| Bytes::from(format!("{{\"active\":true,{}", &inside[1..])))
}

fn active(body: Bytes) -> HttpResponse {
    no_store().insert_header(("content-type", "application/json")).body(body)
}

/// Hashes the token and looks it up.
pub async fn seen(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let (Some(_), Some(token)) = (state.client(&request), parameter(&body, "token")) else {
        return refused();
    };
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let known = state.seen.lock().unwrap().get(&hash).cloned();
    match known.or_else(|| introspected(&token)) {
        Some(answer) => {
            state.seen.lock().unwrap().entry(hash).or_insert_with(|| answer.clone());
            active(answer)
        }
        None => refused(),
    }
}

/// The part of a token that is signed, and its signature.
fn parts(token: &str) -> Option<(&[u8], Vec<u8>)> {
    let (input, signature) = token.rsplit_once('.')?;
    Some((input.as_bytes(), URL_SAFE_NO_PAD.decode(signature).ok()?))
}

impl State {
    pub fn aws_lc_says(&self, token: &str) -> bool {
        parts(token).is_some_and(|(input, sig)| self.aws_lc.verify_sig(input, &sig).is_ok())
    }

    fn josekit_says(&self, token: &str) -> bool {
        parts(token).is_some_and(|(input, sig)| self.josekit.verify(input, &sig).is_ok())
    }
}

fn verified(
    request: &HttpRequest,
    body: &Bytes,
    state: &State,
    says: fn(&State, &str) -> bool,
) -> HttpResponse {
    let (Some(_), Some(token)) = (state.client(request), parameter(body, "token")) else {
        return refused();
    };
    match introspected(&token).filter(|_| says(state, &token)) {
        Some(answer) => active(answer),
        None => refused(),
    }
}

/// Verifies the signature each time.
pub async fn verified_by_aws_lc(
    request: HttpRequest,
    body: Bytes,
    state: Data<State>,
) -> HttpResponse {
    verified(&request, &body, &state, State::aws_lc_says)
}

/// The same with OpenSSL, through josekit.
pub async fn verified_by_josekit(
    request: HttpRequest,
    body: Bytes,
    state: Data<State>,
) -> HttpResponse {
    verified(&request, &body, &state, State::josekit_says)
}
