//! Would a careful resource server accept this token, and if not, why? Pure: whoever calls has
//! fetched what there is to know.

use std::time::Duration;

use serde_json::Value;

use super::times::{instant, relative};
use super::{Token, key};
use crate::domain::{Issuer, Time};
use crate::manage::finding::Finding;

/// A clock may be ahead of ours by so much before we say that it is wrong.
const AHEAD: Duration = Duration::from_secs(60);

/// What the token should say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Its issuer.
    pub issuer: &'a Issuer,
    /// Its audience, if the caller knows.
    pub audience: Option<&'a str>,
}

/// What the issuer says.
#[derive(Debug)]
pub struct Evidence {
    /// Whether metadata was found and is this issuer's: where, or why not.
    pub metadata: Result<String, String>,
    /// The JWKS, or why there is none.
    pub jwks: Result<Value, String>,
    /// The key schedule, if the issuer publishes one.
    pub schedule: Option<Value>,
    /// Whether the token was taken back.
    pub revocation: Revocation,
}

/// What introspection says.
#[derive(Debug)]
pub enum Revocation {
    /// It was not asked, and why.
    NotAsked(String),
    /// Its answer.
    Answer(Value),
}

/// One line for each check.
pub fn explain(
    token: &Token,
    expected: &Expected<'_>,
    evidence: &Evidence,
    now: Time,
) -> Vec<Finding> {
    let mut found = vec![Finding::good("form", "three parts of base64url, two of them JSON")];
    found.push(kind(token));
    found.extend(critical(token));
    let (finding, algorithm) = key::algorithm(token);
    found.push(finding);
    found.push(match &evidence.metadata {
        Ok(url) => Finding::good("metadata", format!("{url} is this issuer's")),
        Err(why) => Finding::bad("metadata", why.clone()),
    });
    match &evidence.jwks {
        Ok(jwks) => {
            let (finding, keys) = key::find(token, jwks, evidence.schedule.as_ref(), now);
            found.push(finding);
            found.push(key::signature(token, algorithm, &keys));
        }
        Err(why) => {
            // Without a key nothing is proven, and that must not look like success.
            found.push(Finding::bad("key", why.clone()));
            found.push(Finding::unknown("signature", format!("not checked: {why}")));
        }
    }
    found.push(issuer(token, expected.issuer));
    found.push(audience(token, expected.audience));
    found.extend(times(token, now));
    found.push(revocation(&evidence.revocation));
    found
}

/// RFC 9068 §4: nothing but an access token may pass for one.
fn kind(token: &Token) -> Finding {
    const CHECK: &str = "type";
    let is = |name: &str| {
        let plain =
            name.get(.."application/".len()).filter(|p| p.eq_ignore_ascii_case("application/"));
        let rest = plain.map_or(name, |plain| name.get(plain.len()..).unwrap_or(name));
        rest.eq_ignore_ascii_case("at+jwt")
    };
    match token.header.get("typ") {
        Some(Value::String(name)) if is(name) => Finding::good(CHECK, "at+jwt, an access token"),
        Some(Value::String(name)) => Finding::bad(
            CHECK,
            format!("{name:?} is not at+jwt: it may be meant for something else"),
        ),
        Some(_) => Finding::bad(CHECK, "it is not a text"),
        None => Finding::bad(CHECK, "there is none: it may be meant for something else"),
    }
}

/// RFC 7515 §4.1.11: who does not understand an extension must refuse the token.
fn critical(token: &Token) -> Option<Finding> {
    token.header.get("crit")?;
    let what = "the header names extensions that must be understood, and none of ours are";
    Some(Finding::bad("crit", what))
}

fn issuer(token: &Token, expected: &Issuer) -> Finding {
    const CHECK: &str = "issuer";
    match token.claims.get("iss") {
        Some(Value::String(iss)) if iss == expected.as_str() => Finding::good(CHECK, iss.as_str()),
        Some(Value::String(iss)) => {
            Finding::bad(CHECK, format!("{iss:?} is not {expected}, byte for byte"))
        }
        Some(_) => Finding::bad(CHECK, "iss is not a text"),
        None => Finding::bad(CHECK, "the token names none"),
    }
}

fn audience(token: &Token, expected: Option<&str>) -> Finding {
    const CHECK: &str = "audience";
    let list: Option<Vec<_>> = match token.claims.get("aud") {
        Some(Value::String(aud)) => Some(vec![aud.as_str()]),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
        None => return Finding::bad(CHECK, "the token names none"),
    };
    let Some(list) = list else { return Finding::bad(CHECK, "aud is neither a text nor texts") };
    match expected {
        Some(expected) if list.contains(&expected) => Finding::good(CHECK, expected),
        Some(expected) => {
            Finding::bad(CHECK, format!("{list:?} does not hold {expected:?}, byte for byte"))
        }
        None => Finding::unknown(CHECK, format!("it is for {list:?}; say --audience to compare")),
    }
}

fn times(token: &Token, now: Time) -> Vec<Finding> {
    let claim = |name: &'static str| match token.claims.get(name).map(instant) {
        Some(Ok(at)) => Ok(Some((at, format!("{}, {}", at.rfc3339(), relative(at, now))))),
        Some(Err(why)) => Err(Finding::bad(name, why)),
        None => Ok(None),
    };
    let expiry = match claim("exp") {
        Ok(Some((at, what))) if at > now => Finding::good("exp", what),
        Ok(Some((_, what))) => Finding::bad("exp", format!("it has expired: {what}")),
        Ok(None) => Finding::bad("exp", "the token does not say when it expires"),
        Err(finding) => finding,
    };
    let issued = match claim("iat") {
        Ok(Some((at, what))) if at > now + AHEAD => {
            Finding::bad("iat", format!("it comes from the future: {what}"))
        }
        Ok(Some((at, what))) if at > now => {
            Finding::unknown("iat", format!("its issuer's clock is ahead of ours: {what}"))
        }
        Ok(Some((_, what))) => Finding::good("iat", what),
        Ok(None) => Finding::bad("iat", "the token does not say when it was issued"),
        Err(finding) => finding,
    };
    let begun = match claim("nbf") {
        Ok(Some((at, what))) if at > now => Finding::bad("nbf", format!("not yet: {what}")),
        Ok(Some((_, what))) => Finding::good("nbf", what),
        Ok(None) => return vec![expiry, issued],
        Err(finding) => finding,
    };
    vec![expiry, issued, begun]
}

fn revocation(revocation: &Revocation) -> Finding {
    const CHECK: &str = "revocation";
    let answer = match revocation {
        Revocation::NotAsked(why) => return Finding::unknown(CHECK, format!("not checked: {why}")),
        Revocation::Answer(answer) => answer,
    };
    match answer.get("active") {
        Some(Value::Bool(true)) => Finding::good(CHECK, "introspection says that it is active"),
        Some(Value::Bool(false)) => Finding::bad(
            CHECK,
            "introspection says that it is not active: taken back, expired, or not for this client \
             to ask about",
        ),
        _ => Finding::unknown(CHECK, "introspection does not say whether it is active"),
    }
}
