//! Sealing private keys for the database, and rows that prove themselves.
//!
//! A private half is sealed with AES-256-GCM under a key that derives from a root secret; issuer,
//! kid and algorithm are authenticated with it, so a sealed key cannot be moved to another row. The
//! row as a whole carries a MAC under the root secret: whoever can write to the database but does
//! not hold the secret cannot plant a key that verifiers would then trust.

use std::sync::Arc;

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use zeroize::Zeroizing;

use super::{KeyError, PrivateKey, PublicJwk, Signer};
use crate::domain::signing_key::{KeyRow, Material};
use crate::domain::{Algorithm, SigningKey};
use crate::secret::{RootSecrets, SecretId, same};

/// The format of sealed bytes: version, nonce, ciphertext, tag.
const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;

/// A row that proved itself.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The public half.
    pub public: PublicJwk,
    /// The line it belongs to.
    pub algorithm: Algorithm,
    /// The signer, unless the private half is destroyed.
    pub signer: Option<Arc<Signer>>,
}

/// Seals a key for its row: fills in kid and material.
pub fn seal(
    private: &PrivateKey,
    schedule: &SigningKey,
    secrets: &RootSecrets,
    issuer: &str,
) -> Result<KeyRow, KeyError> {
    let public = PublicJwk::of(private)?;
    let key = SigningKey { kid: public.thumbprint(), ..schedule.clone() };
    let id = secrets.current();
    let seal = secrets.seal_key(id).ok_or(KeyError::UnknownSecret(id.0))?;

    let mut nonce = [0; NONCE];
    rand::fill(&mut nonce);
    let mut tag = [0; TAG];
    let aad = context(issuer, &key.kid, key.algorithm);
    let text = encrypt_aead(
        Cipher::aes_256_gcm(),
        seal.expose(),
        Some(&nonce),
        &aad,
        &private.to_der()?,
        &mut tag,
    )?;
    let sealed = [&[VERSION][..], &nonce, &text, &tag].concat();

    let mut material = Material {
        public_jwk: public.canonical(),
        sealed: Some(sealed),
        secret_id: id.0,
        mac: Vec::new(),
    };
    material.mac = vouch(&key, &material, secrets, issuer)?.to_vec();
    Ok(KeyRow { key, material })
}

/// Checks a row and opens its key. `known` is what an earlier look at the same row found: a row once
/// proven stays proven and a key once opened stays open, even if its root secret is taken away.
pub fn open(
    row: &KeyRow,
    secrets: &RootSecrets,
    issuer: &str,
    known: Option<&Opened>,
) -> Result<Opened, KeyError> {
    let KeyRow { key, material } = row;
    let public = PublicJwk::from_canonical(&material.public_jwk)
        .ok_or(KeyError::Corrupt("the public half is not a JWK in canonical form"))?;
    if public.thumbprint() != key.kid {
        return Err(KeyError::Corrupt("the kid is not the thumbprint of the public half"));
    }
    let known = known.filter(|known| known.public == public && known.algorithm == key.algorithm);
    if known.is_none() {
        check(row, secrets, issuer)?;
    }
    let signer = match (&material.sealed, known.and_then(|known| known.signer.clone())) {
        (None, _) => None,
        (Some(_), Some(signer)) => Some(signer),
        (Some(sealed), None) => {
            let id = SecretId(material.secret_id);
            let signer = Signer::new(&unseal(sealed, key, id, secrets, issuer)?)?;
            if signer.kid() != key.kid {
                return Err(KeyError::Corrupt("the private half belongs to another public half"));
            }
            Some(Arc::new(signer))
        }
    };
    Ok(Opened { public, algorithm: key.algorithm, signer })
}

/// What vouches for a row whose private half is about to be destroyed.
pub fn retire(
    row: &KeyRow,
    secrets: &RootSecrets,
    issuer: &str,
) -> Result<(SecretId, [u8; 32]), KeyError> {
    let id = secrets.current();
    let material = Material { sealed: None, secret_id: id.0, ..row.material.clone() };
    Ok((id, vouch(&row.key, &material, secrets, issuer)?))
}

fn check(row: &KeyRow, secrets: &RootSecrets, issuer: &str) -> Result<(), KeyError> {
    let expected = vouch(&row.key, &row.material, secrets, issuer)?;
    if same(&expected, &row.material.mac) {
        Ok(())
    } else {
        Err(KeyError::Corrupt("its MAC is wrong: somebody without the root secret wrote it"))
    }
}

/// The MAC of everything about a row that makes it this key. Its times are not part of it: they
/// change with every rescheduling, and whoever can write them can do no more than stop the line.
fn vouch(
    key: &SigningKey,
    material: &Material,
    secrets: &RootSecrets,
    issuer: &str,
) -> Result<[u8; 32], KeyError> {
    let row_key = secrets
        .row_key(SecretId(material.secret_id))
        .ok_or(KeyError::UnknownSecret(material.secret_id))?;
    let sealed: &[u8] = material.sealed.as_deref().unwrap_or(b"");
    Ok(row_key.mac(&[
        issuer.as_bytes(),
        key.kid.as_bytes(),
        key.algorithm.name().as_bytes(),
        &key.epoch.to_be_bytes(),
        material.public_jwk.as_bytes(),
        sealed,
    ]))
}

fn unseal(
    sealed: &[u8],
    key: &SigningKey,
    id: SecretId,
    secrets: &RootSecrets,
    issuer: &str,
) -> Result<PrivateKey, KeyError> {
    let broken = KeyError::Corrupt("the sealed private half cannot be opened");
    let seal = secrets.seal_key(id).ok_or(KeyError::UnknownSecret(id.0))?;
    let Some((&VERSION, rest)) = sealed.split_first() else {
        return Err(broken);
    };
    let Some((nonce, rest)) = rest.split_at_checked(NONCE) else {
        return Err(broken);
    };
    let Some(end) = rest.len().checked_sub(TAG) else {
        return Err(broken);
    };
    let (text, tag) = rest.split_at(end);
    let aad = context(issuer, &key.kid, key.algorithm);
    let der = decrypt_aead(Cipher::aes_256_gcm(), seal.expose(), Some(nonce), &aad, text, tag)
        .map(Zeroizing::new)
        .map_err(|_| broken)?;
    PrivateKey::from_der(&der, key.algorithm)
}

fn context(issuer: &str, kid: &str, algorithm: Algorithm) -> Vec<u8> {
    let mut aad = Vec::new();
    for part in ["jeton signing key", issuer, kid, algorithm.name()] {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}
