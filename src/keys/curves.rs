//! AWS-LC behind josekit's traits, for the two algorithms at which it is far ahead of OpenSSL.
//!
//! A token costs one signature and little else, so this is where the time goes. Keys are made, sealed
//! and read by OpenSSL all the same; what comes here is the DER it wrote, and the library erases its
//! own copy when it frees it. RSA stays with OpenSSL: the two are equally fast there.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, ParsedPublicKey, VerificationAlgorithm,
};
use josekit::JoseError;
use josekit::jws::{ES256, EdDSA, JwsAlgorithm, JwsSigner, JwsVerifier};

/// A curve, as both of our libraries know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    /// P-256 with SHA-256 and signatures of two numbers of 32 bytes (RFC 7518 §3.4).
    P256,
    /// Ed25519 (RFC 8037 §3.1).
    Ed25519,
}

impl Curve {
    fn algorithm(self) -> &'static dyn JwsAlgorithm {
        match self {
            Self::P256 => &ES256,
            Self::Ed25519 => &EdDSA,
        }
    }
}

#[derive(Clone)]
enum Pair {
    P256(Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

/// Signs on one of the curves.
#[derive(Clone)]
pub(super) struct CurveSigner(Pair);

impl CurveSigner {
    /// A signer from a private key in PKCS#8.
    pub(super) fn from_pkcs8(curve: Curve, der: &[u8]) -> Result<Self, JoseError> {
        let pair = match curve {
            Curve::P256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                .map(|pair| Pair::P256(Arc::new(pair))),
            // OpenSSL leaves the public half out, so there is nothing to hold it against.
            Curve::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                .map(|pair| Pair::Ed25519(Arc::new(pair))),
        };
        pair.map(Self).map_err(|error| JoseError::InvalidKeyFormat(error.into()))
    }

    const fn curve(&self) -> Curve {
        match self.0 {
            Pair::P256(_) => Curve::P256,
            Pair::Ed25519(_) => Curve::Ed25519,
        }
    }
}

impl JwsSigner for CurveSigner {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        self.curve().algorithm()
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn signature_len(&self) -> usize {
        64
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        match &self.0 {
            Pair::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|error| JoseError::InvalidSignature(error.into())),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

impl fmt::Debug for CurveSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveSigner({:?})", self.curve())
    }
}

/// Verifies on one of the curves.
#[derive(Debug, Clone)]
pub(super) struct CurveVerifier {
    curve: Curve,
    key: ParsedPublicKey,
}

impl CurveVerifier {
    /// A verifier from a public key: an uncompressed point of P-256, or the 32 bytes of Ed25519.
    pub(super) fn new(curve: Curve, public: &[u8]) -> Result<Self, JoseError> {
        let algorithm: &'static dyn VerificationAlgorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED,
            Curve::Ed25519 => &ED25519,
        };
        let key = ParsedPublicKey::new(algorithm, public)
            .map_err(|error| JoseError::InvalidKeyFormat(error.into()))?;
        Ok(Self { curve, key })
    }
}

impl JwsVerifier for CurveVerifier {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        self.curve.algorithm()
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        let verified = self.key.verify_sig(message, signature);
        verified.map_err(|error| JoseError::InvalidSignature(error.into()))
    }

    fn box_clone(&self) -> Box<dyn JwsVerifier> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PrivateKey, PublicJwk, Signer, TokenType, Verifier};
    use super::*;
    use crate::domain::Algorithm;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256,
        RsaKeyPair, UnparsedPublicKey,
    };
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use josekit::jws::{PS256, RS256};

    /// Whether OpenSSL, through josekit, takes the signature.
    fn openssl_says(private: &PrivateKey, input: &[u8], signature: &[u8]) -> bool {
        let public = private.key.public_key_to_der().unwrap();
        let verifier: Box<dyn JwsVerifier> = match private.algorithm {
            Algorithm::Es256 => Box::new(ES256.verifier_from_der(public).unwrap()),
            Algorithm::Rs256 => Box::new(RS256.verifier_from_der(public).unwrap()),
            Algorithm::Ps256 => Box::new(PS256.verifier_from_der(public).unwrap()),
            _ => Box::new(EdDSA.verifier_from_der(public).unwrap()),
        };
        verifier.verify(input, signature).is_ok()
    }

    /// Whether AWS-LC takes it.
    fn aws_lc_says(private: &PrivateKey, input: &[u8], signature: &[u8]) -> bool {
        let jwk = PublicJwk::of(private).unwrap();
        let rsa = || private.key.rsa().unwrap().public_key_to_der_pkcs1().unwrap();
        let (algorithm, public): (&'static dyn VerificationAlgorithm, _) = match private.algorithm {
            Algorithm::Es256 => (&ECDSA_P256_SHA256_FIXED, jwk.point(Curve::P256).unwrap()),
            Algorithm::Rs256 => (&RSA_PKCS1_2048_8192_SHA256, rsa()),
            Algorithm::Ps256 => (&RSA_PSS_2048_8192_SHA256, rsa()),
            _ => (&ED25519, jwk.point(Curve::Ed25519).unwrap()),
        };
        UnparsedPublicKey::new(algorithm, public).verify(input, signature).is_ok()
    }

    /// Signatures of either library, made without what is under test.
    fn by_either(private: &PrivateKey, input: &[u8]) -> [Vec<u8>; 2] {
        let der = private.to_der().unwrap();
        let rsa = |padding| {
            let pair = RsaKeyPair::from_der(&der).unwrap();
            let mut signature = vec![0; KeySize::Rsa2048.len()];
            pair.sign(padding, &SystemRandom::new(), input, &mut signature).unwrap();
            signature
        };
        let curve = |curve| CurveSigner::from_pkcs8(curve, &der).unwrap().sign(input).unwrap();
        let by_openssl: Box<dyn JwsSigner> = match private.algorithm {
            Algorithm::Es256 => Box::new(ES256.signer_from_der(&der).unwrap()),
            Algorithm::Rs256 => Box::new(RS256.signer_from_der(&der).unwrap()),
            Algorithm::Ps256 => Box::new(PS256.signer_from_der(&der).unwrap()),
            _ => Box::new(EdDSA.signer_from_der(&der).unwrap()),
        };
        let by_aws_lc = match private.algorithm {
            Algorithm::Es256 => curve(Curve::P256),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            _ => curve(Curve::Ed25519),
        };
        [by_openssl.sign(input).unwrap(), by_aws_lc]
    }

    #[test]
    fn both_libraries_verify_what_we_sign() {
        for algorithm in Algorithm::ALL {
            let private = PrivateKey::generate(algorithm).unwrap();
            let signer = Signer::new(&private).unwrap();
            // Often enough that a number with leading zeros is among them.
            for _ in 0..if private.key.rsa().is_ok() { 1 } else { 600 } {
                let token = signer.sign(TokenType::Access, b"{}").unwrap();
                let (input, signature) = token.rsplit_once('.').unwrap();
                let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
                assert!(openssl_says(&private, input.as_bytes(), &signature), "{algorithm}");
                assert!(aws_lc_says(&private, input.as_bytes(), &signature), "{algorithm}");
            }
        }
    }

    #[test]
    fn we_verify_what_either_library_signs() {
        for algorithm in Algorithm::ALL {
            let private = PrivateKey::generate(algorithm).unwrap();
            let verifier = Verifier::new(&PublicJwk::of(&private).unwrap(), algorithm).unwrap();
            for signature in by_either(&private, b"input") {
                assert!(verifier.verify(b"input", &signature), "{algorithm}");
                assert!(!verifier.verify(b"other", &signature), "{algorithm}");
            }
        }
    }

    #[test]
    fn neither_a_key_nor_its_signer_shows_anything_private() {
        let private = PrivateKey::generate(Algorithm::Es256).unwrap();
        let signer = CurveSigner::from_pkcs8(Curve::P256, &private.to_der().unwrap()).unwrap();
        assert_eq!(format!("{signer:?}"), "CurveSigner(P256)");
    }

    #[test]
    fn a_point_that_is_not_on_the_curve_makes_no_verifier() {
        assert!(CurveVerifier::new(Curve::P256, &[&[4][..], &[1; 64]].concat()).is_err());
        assert!(CurveVerifier::new(Curve::P256, &[]).is_err());
        assert!(CurveVerifier::new(Curve::Ed25519, &[1; 31]).is_err());
    }
}
