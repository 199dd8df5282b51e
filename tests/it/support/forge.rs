//! Tokens as an attacker makes them: by hand, from any header, any payload and any key.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton::domain::Algorithm;
use jeton::keys::{PrivateKey, TokenType};
use josekit::jws::{ES256, JwsSigner};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};

use super::{API, App, app};

/// Base64url without padding (RFC 7515 §2).
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The inverse.
pub fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// The three parts of a token.
pub fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// The header of a token.
pub fn header(token: &str) -> Value {
    serde_json::from_slice(&decode(parts(token)[0])).unwrap()
}

/// The payload of a token.
pub fn payload(token: &str) -> Value {
    serde_json::from_slice(&decode(parts(token)[1])).unwrap()
}

/// A text as the value of a form parameter.
pub fn form_value(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The claims of a perfectly good access token of `app`, to be spoilt.
pub fn claims(app: &App) -> Value {
    let iat = app.clock.now().seconds();
    json!({
        "iss": app.running.issuer.as_str(), "aud": API, "sub": "app", "client_id": "app",
        "iat": iat, "exp": iat + 600, "jti": "AAAAAAAAAAAAAAAAAAAAAA", "scope": "read",
    })
}

/// A payload that our own key signs, whatever it says.
pub fn signed_by_us(app: &App, kind: TokenType, payload: &[u8]) -> String {
    let keys = app.running.service.mirror.keys();
    let (_, signer) = keys.signer(Algorithm::Es256, app.clock.now()).unwrap();
    signer.sign(kind, payload).unwrap()
}

/// A P-256 key that the attacker holds.
pub struct Forger {
    key: PKey<Private>,
    signer: Box<dyn JwsSigner>,
}

impl Forger {
    /// A key of the attacker's own.
    pub fn new() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let der = key.private_key_to_pkcs8().unwrap();
        Self { key, signer: Box::new(ES256.signer_from_der(der).unwrap()) }
    }

    /// A key that the issuer trusts too: whoever holds it can put a genuine signature under any
    /// header. Returns its kid.
    pub async fn trusted(app: &App) -> (Self, String) {
        let forger = Self::new();
        let pem = forger.key.private_key_to_pem_pkcs8().unwrap();
        let private = PrivateKey::from_pem(&pem, Algorithm::Es256).unwrap();
        let desk = &app.running.desk;
        let kid = desk.import_key(private, Algorithm::Es256, app::START).await.unwrap();
        // It counts from when the JWKS shows it.
        app.advance(Duration::from_secs(11)).await;
        (forger, kid)
    }

    /// The public half.
    pub fn public_jwk(&self) -> Value {
        let pair = ES256.key_pair_from_pem(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        serde_json::from_str(&pair.to_jwk_public_key().to_string()).unwrap()
    }

    /// A token with a valid signature of this key.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_parts(&encode(header), &encode(payload))
    }

    /// The same from parts that are encoded already, or look like it.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let signature = self.signer.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", encode(signature))
    }
}

/// The other signature that goes with the same P-256 token: s is replaced by n - s.
pub fn twin(token: &str) -> String {
    let [header, payload, signature] = parts(token);
    let bytes = decode(signature);
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let (mut order, mut context) = (BigNum::new().unwrap(), BigNumContext::new().unwrap());
    group.order(&mut order, &mut context).unwrap();
    let s = BigNum::from_slice(&bytes[32..]).unwrap();
    let mut other = BigNum::new().unwrap();
    other.checked_sub(&order, &s).unwrap();
    let signature = [&bytes[..32], &other.to_vec_padded(32).unwrap()].concat();
    format!("{header}.{payload}.{}", encode(signature))
}

/// A P-256 point as the PEM and the DER in which libraries hand public keys around.
pub fn public_pem(x: &[u8], y: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
    let point = EcKey::from_public_key_affine_coordinates(&group, &number(x), &number(y)).unwrap();
    let key = PKey::from_ec_key(point).unwrap();
    (key.public_key_to_pem().unwrap(), key.public_key_to_der().unwrap())
}

/// HMAC-SHA-256 under any key, however short.
pub fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.sign_oneshot_to_vec(message).unwrap()
}
