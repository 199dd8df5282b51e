//! Which key a token says signed it, and whether that key did.

use serde_json::{Map, Value};

use super::Token;
use super::times::{instant, relative};
use crate::domain::{Algorithm, Time};
use crate::keys::{PublicJwk, Verifier};
use crate::manage::finding::Finding;

/// So many keys of one name are tried, and no more.
const TRIED: usize = 4;

/// The token's algorithm, if it is one that may be used.
pub(super) fn algorithm(token: &Token) -> (Finding, Option<Algorithm>) {
    const CHECK: &str = "algorithm";
    let Some(name) = token.header.get("alg").and_then(Value::as_str) else {
        return (Finding::bad(CHECK, "the header names none"), None);
    };
    let refused = if name.eq_ignore_ascii_case("none") {
        "\"none\" means that nobody signed it".to_owned()
    } else if name.starts_with("HS") {
        format!("{name} needs a secret that both sides know, and a JWKS is public")
    } else if let Ok(algorithm) = name.parse() {
        return (Finding::good(CHECK, name), Some(algorithm));
    } else {
        format!("{name:?} is none of ES256, RS256, PS256, Ed25519, EdDSA")
    };
    (Finding::bad(CHECK, refused), None)
}

/// The keys of the JWKS that the token may mean, with the finding about it.
pub(super) fn find<'a>(
    token: &Token,
    jwks: &'a Value,
    schedule: Option<&Value>,
    now: Time,
) -> (Finding, Vec<&'a Map<String, Value>>) {
    const CHECK: &str = "key";
    let Some(keys) = jwks.get("keys").and_then(Value::as_array) else {
        return (Finding::bad(CHECK, "the JWKS has no list of keys"), Vec::new());
    };
    let keys = || keys.iter().filter_map(Value::as_object);
    let kid = match token.header.get("kid") {
        Some(Value::String(kid)) => kid,
        Some(_) => return (Finding::bad(CHECK, "the header's kid is not a text"), Vec::new()),
        None => {
            let all: Vec<_> = keys().take(TRIED).collect();
            if all.is_empty() {
                return (Finding::bad(CHECK, "the JWKS is empty"), all);
            }
            let what = "the header names none; those of the JWKS are tried";
            return (Finding::unknown(CHECK, what), all);
        }
    };
    let found: Vec<_> = keys()
        .filter(|key| key.get("kid").and_then(Value::as_str) == Some(kid))
        .take(TRIED)
        .collect();
    if found.is_empty() {
        return (Finding::bad(CHECK, missing(token, kid, now)), found);
    }
    (stage(kid, schedule, now), found)
}

/// Why a key may be missing.
fn missing(token: &Token, kid: &str, now: Time) -> String {
    let expired = token.claims.get("exp").and_then(|exp| instant(exp).ok());
    let why = match expired.filter(|exp| *exp <= now) {
        Some(_) => "it may have left since, because the token has expired",
        None => {
            "another issuer signed it, the key was withdrawn as stolen, or a cache in between is \
             older than the key"
        }
    };
    format!("the JWKS has no {kid:?}: {why}")
}

fn stage(kid: &str, schedule: Option<&Value>, now: Time) -> Finding {
    const CHECK: &str = "key";
    let entry = schedule
        .and_then(|schedule| schedule.get("keys")?.as_array())
        .and_then(|keys| keys.iter().find(|key| key.get("kid").is_some_and(|one| one == kid)));
    let Some(entry) = entry else {
        return Finding::good(CHECK, format!("{kid} is in the JWKS"));
    };
    let turn = |name: &str, what: &str| {
        let at = entry.get(name).and_then(|at| instant(at).ok());
        at.map_or_else(String::new, |at| format!(", {what} {}", relative(at, now)))
    };
    match entry.get("stage").and_then(Value::as_str) {
        Some("active") => {
            let until = turn("sign_until", "and stops");
            Finding::good(CHECK, format!("{kid} is active: it signs now{until}"))
        }
        Some("retiring") => {
            let until = turn("remove_at", "leaves the JWKS");
            Finding::good(CHECK, format!("{kid} is retiring: it signs no more{until}"))
        }
        Some("published") => {
            let from = turn("activate_at", "signs");
            Finding::bad(CHECK, format!("{kid} is published: it has signed nothing yet{from}"))
        }
        _ => Finding::good(CHECK, format!("{kid} is in the JWKS")),
    }
}

/// Whether one of these keys signed the token.
pub(super) fn signature(
    token: &Token,
    algorithm: Option<Algorithm>,
    keys: &[&Map<String, Value>],
) -> Finding {
    const CHECK: &str = "signature";
    let Some(algorithm) = algorithm else {
        return Finding::unknown(CHECK, "not checked: there is no algorithm to check it with");
    };
    let mut why = "there is no key to check it with";
    for key in keys {
        match fits(token, algorithm, key) {
            Ok(()) => return Finding::good(CHECK, "it is this key's over this header and claims"),
            Err(reason) => why = reason,
        }
    }
    if keys.is_empty() {
        return Finding::unknown(CHECK, format!("not checked: {why}"));
    }
    Finding::bad(CHECK, why)
}

fn fits(token: &Token, algorithm: Algorithm, key: &Map<String, Value>) -> Result<(), &'static str> {
    // A key is for one algorithm: who lets the token choose lets its forger choose.
    if key.get("alg").is_some_and(|alg| alg != algorithm.name()) {
        return Err("the JWKS says that this key is for another algorithm");
    }
    let public = PublicJwk::from_entry(key)?;
    let verifier = Verifier::new(&public, algorithm)
        .map_err(|_| "the key in the JWKS is none of this algorithm")?;
    if verifier.verify(token.signing_input.as_bytes(), &token.signature) {
        Ok(())
    } else {
        Err("it is not this key's: the token was altered, or somebody else signed it")
    }
}
