//! Verifies tokens as a resource server would, with a library and the JWKS alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jws::{ES256, EdDSA, JwsVerifier, PS256, RS256};
use serde_json::{Map, Value};

/// The header and the claims of a token whose signature fits a key of the JWKS, or why it does not.
pub fn verify(token: &str, jwks: &Value) -> Result<(Value, Value), String> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Err("not three parts".into()) };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
    let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).map_err(|e| e.to_string());
    let (header_json, claims_json) = (json(decode(header)?)?, json(decode(claims)?)?);
    let entry = jwks["keys"]
        .as_array()
        .ok_or("no keys")?
        .iter()
        .find(|key| key["kid"] == header_json["kid"])
        .ok_or_else(|| format!("unknown kid {}", header_json["kid"]))?;
    if entry["alg"] != header_json["alg"] {
        return Err("the key is for another algorithm".into());
    }
    let signed = format!("{header}.{claims}");
    let verifier = verifier(entry)?;
    verifier.verify(signed.as_bytes(), &decode(signature)?).map_err(|error| error.to_string())?;
    Ok((header_json, claims_json))
}

/// The header of a token, unchecked.
pub fn header(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

fn verifier(entry: &Value) -> Result<Box<dyn JwsVerifier>, String> {
    let mut members: Map<String, Value> = entry.as_object().ok_or("no object")?.clone();
    let alg = members.remove("alg").unwrap_or_default();
    let jwk = Jwk::from_map(members).map_err(|error| error.to_string())?;
    let made: Result<Box<dyn JwsVerifier>, _> = match alg.as_str().unwrap_or_default() {
        "ES256" => ES256.verifier_from_jwk(&jwk).map(|v| Box::new(v) as _),
        "RS256" => RS256.verifier_from_jwk(&jwk).map(|v| Box::new(v) as _),
        "PS256" => PS256.verifier_from_jwk(&jwk).map(|v| Box::new(v) as _),
        "Ed25519" | "EdDSA" => EdDSA.verifier_from_jwk(&jwk).map(|v| Box::new(v) as _),
        other => return Err(format!("unknown algorithm {other}")),
    };
    made.map_err(|error| error.to_string())
}
