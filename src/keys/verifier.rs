//! A verifier: built once for each key, shared by all threads.

use std::fmt;

use josekit::jwk::Jwk;
use josekit::jws::{JwsVerifier, PS256, RS256};

use super::curves::{Curve, CurveVerifier};
use super::{KeyError, PublicJwk};
use crate::domain::Algorithm;

/// Checks signatures of one key under one algorithm: the token's own `alg` has no say in it
/// (RFC 8725 §3.1).
pub struct Verifier {
    algorithm: Algorithm,
    jws: Box<dyn JwsVerifier>,
}

impl Verifier {
    /// A verifier for a public key. Fails if the key does not suit the algorithm, or is no point
    /// of its curve.
    pub fn new(public: &PublicJwk, algorithm: Algorithm) -> Result<Self, KeyError> {
        let rsa = || Jwk::from_bytes(public.canonical());
        let curve = |curve| -> Result<_, KeyError> {
            Ok(CurveVerifier::new(curve, &public.point(curve)?)?)
        };
        let jws: Box<dyn JwsVerifier> = match algorithm {
            Algorithm::Es256 => Box::new(curve(Curve::P256)?),
            Algorithm::Rs256 => Box::new(RS256.verifier_from_jwk(&rsa()?)?),
            Algorithm::Ps256 => Box::new(PS256.verifier_from_jwk(&rsa()?)?),
            Algorithm::Ed25519 | Algorithm::EdDsa => Box::new(curve(Curve::Ed25519)?),
        };
        Ok(Self { algorithm, jws })
    }

    /// Whether the signature is this key's over the signing input (RFC 7515 §5.2, step 8).
    pub fn verify(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        self.jws.verify(signing_input, signature).is_ok()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PrivateKey, Signer, TokenType};
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn each_algorithm_verifies_what_it_signed_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let private = PrivateKey::generate(algorithm).unwrap();
            let verifier = Verifier::new(&PublicJwk::of(&private).unwrap(), algorithm).unwrap();
            let token = Signer::new(&private).unwrap().sign(TokenType::Access, b"{}").unwrap();
            let (input, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert!(verifier.verify(input.as_bytes(), &signature), "{algorithm}");
            assert!(!verifier.verify(b"other", &signature), "{algorithm}");
            for bad in [&[][..], &vec![0; signature.len()], &signature[1..]] {
                assert!(!verifier.verify(input.as_bytes(), bad), "{algorithm}");
            }
            let other = PrivateKey::generate(algorithm).unwrap();
            let other = Verifier::new(&PublicJwk::of(&other).unwrap(), algorithm).unwrap();
            assert!(!other.verify(input.as_bytes(), &signature), "{algorithm}");
        }
    }

    #[test]
    fn a_key_of_another_kind_makes_no_verifier() {
        let ec = PublicJwk::of(&PrivateKey::generate(Algorithm::Es256).unwrap()).unwrap();
        let ed = PublicJwk::of(&PrivateKey::generate(Algorithm::Ed25519).unwrap()).unwrap();
        assert!(Verifier::new(&ec, Algorithm::Rs256).is_err());
        assert!(Verifier::new(&ec, Algorithm::Ed25519).is_err());
        assert!(Verifier::new(&ed, Algorithm::Es256).is_err());
    }
}
