//! Public keys as JWKs (RFC 7517, 7518, 8037) and their thumbprints (RFC 7638).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::curves::Curve;
use super::{KeyError, PrivateKey};
use crate::domain::Algorithm;

/// The public half of a key: the members that define it and no others, so that nothing private can
/// ever be among them. Members are declared in the lexicographic order of RFC 7638 §3, so that the
/// JSON of this type *is* the thumbprint's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum PublicJwk {
    /// A P-256 key: coordinates of exactly 32 bytes, leading zeros included.
    Ec {
        /// The curve.
        crv: EcCurve,
        /// The key type.
        kty: Ec,
        /// The x coordinate.
        x: String,
        /// The y coordinate.
        y: String,
    },
    /// An Ed25519 key.
    Okp {
        /// The curve.
        crv: OkpCurve,
        /// The key type.
        kty: Okp,
        /// The public key's 32 bytes.
        x: String,
    },
    /// An RSA key.
    Rsa {
        /// The exponent, without leading zeros.
        e: String,
        /// The key type.
        kty: RsaType,
        /// The modulus, without leading zeros.
        n: String,
    },
}

macro_rules! constant {
    ($($name:ident = $text:literal),*) => {$(
        #[doc = concat!("The constant `", $text, "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            #[doc = concat!("`", $text, "`")]
            #[serde(rename = $text)]
            Value,
        }
    )*};
}
constant!(EcCurve = "P-256", Ec = "EC", OkpCurve = "Ed25519", Okp = "OKP", RsaType = "RSA");

impl PublicJwk {
    /// The public half of a private key.
    pub fn of(private: &PrivateKey) -> Result<Self, KeyError> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(match private.algorithm {
            Algorithm::Es256 => {
                let key = private.key.ec_key()?;
                let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
                let mut context = BigNumContext::new()?;
                key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
                Self::Ec {
                    crv: EcCurve::Value,
                    kty: Ec::Value,
                    x: encode(&x.to_vec_padded(32)?),
                    y: encode(&y.to_vec_padded(32)?),
                }
            }
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let key = private.key.rsa()?;
                Self::Rsa {
                    e: encode(&key.e().to_vec()),
                    kty: RsaType::Value,
                    n: encode(&key.n().to_vec()),
                }
            }
            Algorithm::Ed25519 | Algorithm::EdDsa => Self::Okp {
                crv: OkpCurve::Value,
                kty: Okp::Value,
                x: encode(&private.key.raw_public_key()?),
            },
        })
    }

    /// The bytes of a key on a curve, as verifiers take them: an uncompressed point of P-256
    /// (SEC 1 §2.3.3), or the 32 bytes of Ed25519.
    pub(super) fn point(&self, curve: Curve) -> Result<Vec<u8>, KeyError> {
        let broken = KeyError::Corrupt("the public half is no point of its curve");
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|it| it.len() == 32);
        let bytes = match (self, curve) {
            (Self::Ec { x, y, .. }, Curve::P256) => {
                decode(x).zip(decode(y)).map(|(x, y)| [&[4][..], &x, &y].concat())
            }
            (Self::Okp { x, .. }, Curve::Ed25519) => decode(x),
            _ => None,
        };
        bytes.ok_or(broken)
    }

    /// The canonical JSON of its defining members.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the canonical JSON back; anything else, even the same key spelt differently, is none.
    pub fn from_canonical(text: &str) -> Option<Self> {
        let jwk: Self = serde_json::from_str(text).ok()?;
        (jwk.canonical() == text).then_some(jwk)
    }

    /// Its thumbprint: the kid.
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.canonical())
    }

    /// The entry of the JWKS (RFC 7517 §4): one key for one algorithm, for signatures only.
    pub fn entry(&self, kid: &str, algorithm: Algorithm) -> String {
        let defining = self.canonical();
        let defining = defining.trim_start_matches('{');
        format!(r#"{{"kid":"{kid}","alg":"{algorithm}","use":"sig",{defining}"#)
    }
}

/// The RFC 7638 thumbprint of canonical JWK members: SHA-256, base64url.
pub fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Vectors of RFC 7638 §3.1, RFC 8037 A.3 and RFC 9449.
    const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn thumbprints_agree_with_the_published_vectors() {
        let rsa = format!(r#"{{"e":"AQAB","kty":"RSA","n":"{RSA_N}"}}"#);
        let okp =
            r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let ec = r#"{"crv":"P-256","kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}"#;
        for (jwk, expected) in [
            (rsa.as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (okp, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
            (ec, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        ] {
            assert_eq!(PublicJwk::from_canonical(jwk).unwrap().thumbprint(), expected);
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_a_public_key() {
        for text in [
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"crv":"Ed25519","d":"x","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"k":"AA","kty":"oct"}"#,
            "",
        ] {
            assert!(PublicJwk::from_canonical(text).is_none(), "{text}");
        }
    }

    #[test]
    fn coordinates_keep_their_leading_zeros() {
        for _ in 0..600 {
            let key = PrivateKey::generate(Algorithm::Es256).unwrap();
            let PublicJwk::Ec { x, y, .. } = PublicJwk::of(&key).unwrap() else { panic!() };
            assert_eq!((x.len(), y.len()), (43, 43));
        }
    }
}
