//! Signers to compare: the one that Jeton uses, and one of each library by hand.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton::domain::Algorithm;
use jeton::keys::{PrivateKey, Signer, TokenType};
use josekit::jws::{ES256, EdDSA, JwsSigner, PS256, RS256};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;

/// The signers by name.
pub const SIGNERS: [&str; 4] = ["ours", "aws-lc", "openssl", "josekit"];

/// Makes a token of claims.
pub type Sign = Arc<dyn Fn(&[u8]) -> String + Send + Sync>;

/// Every signer for every algorithm, all of them with one key for each algorithm.
pub struct Signers {
    made: HashMap<(&'static str, &'static str), Sign>,
    /// The key for ES256, to verify with.
    pub es256: PKey<Private>,
}

impl Signers {
    /// Makes keys and signers.
    pub fn new() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let es256 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let ed25519 = PKey::generate_ed25519().unwrap();
        let mut made = HashMap::new();
        for (name, key) in
            [("ES256", &es256), ("Ed25519", &ed25519), ("RS256", &rsa), ("PS256", &rsa)]
        {
            made.insert(("ours", name), ours(key, name));
            made.insert(("josekit", name), josekit(key, name));
            made.insert(("aws-lc", name), aws_lc(key, name));
            made.insert(("openssl", name), openssl(key, name));
        }
        Self { made, es256 }
    }

    /// A signer by its name.
    pub fn get(&self, signer: &'static str, algorithm: &'static str) -> Sign {
        Arc::clone(&self.made[&(signer, algorithm)])
    }
}

fn ours(key: &PKey<Private>, name: &str) -> Sign {
    let algorithm: Algorithm = name.parse().unwrap();
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    let private = PrivateKey::from_pem(&pem, algorithm).unwrap();
    let signer = Signer::new(&private).unwrap();
    Arc::new(move |claims| signer.sign(TokenType::Access, claims).unwrap())
}

/// A token from its claims and a signature in bytes.
fn compact(name: &str, sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Sign {
    let kid = URL_SAFE_NO_PAD.encode([7; 32]);
    let header = format!(r#"{{"typ":"at+jwt","alg":"{name}","kid":"{kid}"}}"#);
    let prefix = format!("{}.", URL_SAFE_NO_PAD.encode(header));
    Arc::new(move |claims| {
        let mut token = String::with_capacity(prefix.len() + claims.len() * 4 / 3 + 350);
        token.push_str(&prefix);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    })
}

fn josekit(key: &PKey<Private>, name: &str) -> Sign {
    let der = der(key, name);
    let signer: Box<dyn JwsSigner> = match name {
        "ES256" => Box::new(ES256.signer_from_der(der).unwrap()),
        "RS256" => Box::new(RS256.signer_from_der(der).unwrap()),
        "PS256" => Box::new(PS256.signer_from_der(der).unwrap()),
        _ => Box::new(EdDSA.signer_from_der(der).unwrap()),
    };
    compact(name, move |input| signer.sign(input).unwrap())
}

fn aws_lc(key: &PKey<Private>, name: &str) -> Sign {
    let der = der(key, name);
    let random = SystemRandom::new();
    match name {
        "ES256" => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
            compact(name, move |input| pair.sign(&random, input).unwrap().as_ref().to_vec())
        }
        "Ed25519" => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap();
            compact(name, move |input| pair.sign(input).as_ref().to_vec())
        }
        _ => {
            let pair = RsaKeyPair::from_der(&der).unwrap();
            let padding = if name == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
            compact(name, move |input| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input, &mut signature).unwrap();
                signature
            })
        }
    }
}

/// OpenSSL without josekit: for ES256 its low-level ECDSA, for the rest there is nothing lower.
fn openssl(key: &PKey<Private>, name: &str) -> Sign {
    if name != "ES256" {
        return josekit(key, name);
    }
    let key = key.ec_key().unwrap();
    compact(name, move |input| {
        let digest = openssl::sha::sha256(input);
        let signature = EcdsaSig::sign(&digest, &key).unwrap();
        let mut bytes = signature.r().to_vec_padded(32).unwrap();
        bytes.extend(signature.s().to_vec_padded(32).unwrap());
        bytes
    })
}

fn der(key: &PKey<Private>, name: &str) -> Vec<u8> {
    match name {
        "RS256" | "PS256" => key.rsa().unwrap().private_key_to_der().unwrap(),
        _ => key.private_key_to_pkcs8().unwrap(),
    }
}
