//! Sealing private keys for the database, and rows that prove themselves.
//!
//! A private half is sealed with AES-256-GCM under a key that derives from a root secret; issuer,
//! kid and algorithm are authenticated with it, so a sealed key cannot be moved to another row. The
//! row as a whole carries a MAC under the root secret: whoever can write to the database but does
//! not hold the secret cannot plant a key that verifiers would then trust.

use std::sync::Arc;

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use zeroize::Zeroizing;

use super::{KeyError, PrivateKey, PublicJwk, Recogniser, Signer};
use crate::domain::signing_key::{KeyRow, Material};
use crate::domain::time::to_micros;
use crate::domain::{Algorithm, SigningKey, Time};
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
    /// What recognises its tokens.
    pub recogniser: Arc<Recogniser>,
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
    let material = Material {
        public_jwk: public.canonical(),
        sealed: Some(sealed(private, &key, secrets, issuer)?),
        secret_id: secrets.current().0,
        sealed_before: Vec::new(),
        mac: Vec::new(),
    };
    let mut row = KeyRow { key, material };
    row.material.mac = mac(&row, secrets, issuer)?.to_vec();
    Ok(row)
}

/// Seals a key that proves itself under the present root secret; its private half is the same, and so
/// is everything else about it.
pub fn reseal(row: &KeyRow, secrets: &RootSecrets, issuer: &str) -> Result<KeyRow, KeyError> {
    let old = row.material.secret_id;
    let fresh = match &row.material.sealed {
        Some(text) => {
            let private = unseal(text, &row.key, SecretId(old), secrets, issuer)?;
            Some(sealed(&private, &row.key, secrets, issuer)?)
        }
        None => None,
    };
    amend(row, secrets, issuer, |row| {
        row.material.sealed = fresh;
        row.material.secret_id = secrets.current().0;
        if !row.material.sealed_before.contains(&old) {
            row.material.sealed_before.push(old);
        }
    })
}

fn sealed(
    private: &PrivateKey,
    key: &SigningKey,
    secrets: &RootSecrets,
    issuer: &str,
) -> Result<Vec<u8>, KeyError> {
    let id = secrets.current();
    if !secrets.can_seal() {
        return Err(KeyError::Library("every root secret here is known to be stolen".to_owned()));
    }
    let seal = secrets.seal_key(id).ok_or(KeyError::UnknownSecret(id.0))?;
    let mut nonce = [0; NONCE];
    rand::fill(&mut nonce);
    let mut tag = [0; TAG];
    let aad = context(issuer, &key.kid, key.algorithm);
    let der = private.to_der()?;
    let cipher = Cipher::aes_256_gcm();
    let text = encrypt_aead(cipher, seal.expose(), Some(&nonce), &aad, &der, &mut tag)?;
    Ok([&[VERSION][..], &nonce, &text, &tag].concat())
}

/// Checks a row and opens its key. `known` is what an earlier look at the same key left behind: it
/// need not be built again.
pub fn open(
    row: &KeyRow,
    secrets: &RootSecrets,
    issuer: &str,
    known: Option<&Opened>,
) -> Result<Opened, KeyError> {
    let public = check(row, secrets, issuer)?;
    let KeyRow { key, material } = row;
    let recogniser = match known.filter(|known| known.public == public) {
        Some(known) => Arc::clone(&known.recogniser),
        None => Arc::new(Recogniser::new(&public, key.algorithm, &key.kid)?),
    };
    let known = known.and_then(|known| known.signer.as_ref());
    let known = known.filter(|one| one.kid() == key.kid && one.algorithm() == key.algorithm);
    let signer = match (&material.sealed, known) {
        (None, _) => None,
        (Some(_), Some(signer)) => Some(Arc::clone(signer)),
        (Some(sealed), None) => {
            let id = SecretId(material.secret_id);
            let signer = Signer::new(&unseal(sealed, key, id, secrets, issuer)?)?;
            if signer.kid() != key.kid {
                return Err(KeyError::Corrupt("the private half belongs to another public half"));
            }
            Some(Arc::new(signer))
        }
    };
    Ok(Opened { public, recogniser, signer })
}

/// Changes a row that proves itself, and vouches for the result. A row that does not prove itself
/// is never vouched for: that would turn what somebody planted into a key of ours.
pub fn amend(
    row: &KeyRow,
    secrets: &RootSecrets,
    issuer: &str,
    change: impl FnOnce(&mut KeyRow),
) -> Result<KeyRow, KeyError> {
    check(row, secrets, issuer)?;
    let mut amended = row.clone();
    change(&mut amended);
    amended.material.mac = mac(&amended, secrets, issuer)?.to_vec();
    Ok(amended)
}

/// Whether a row proves itself; its public half if it does.
pub fn check(row: &KeyRow, secrets: &RootSecrets, issuer: &str) -> Result<PublicJwk, KeyError> {
    let public = PublicJwk::from_canonical(&row.material.public_jwk)
        .ok_or(KeyError::Corrupt("the public half is not a JWK in canonical form"))?;
    if secrets.distrusts(SecretId(row.material.secret_id)) {
        return Err(KeyError::Corrupt(
            "it is vouched for by a root secret that is known to be stolen",
        ));
    }
    if public.thumbprint() != row.key.kid {
        return Err(KeyError::Corrupt("the kid is not the thumbprint of the public half"));
    }
    if !same(&mac(row, secrets, issuer)?, &row.material.mac) {
        return Err(KeyError::Corrupt(
            "its MAC is wrong: somebody without the root secret wrote it",
        ));
    }
    Ok(public)
}

/// The MAC of everything in a row. The times and flags are part of it: whoever could write those
/// could make an unpublished key sign, or bring back one that was stolen.
fn mac(row: &KeyRow, secrets: &RootSecrets, issuer: &str) -> Result<[u8; 32], KeyError> {
    let KeyRow { key, material } = row;
    let row_key = secrets
        .row_key(SecretId(material.secret_id))
        .ok_or(KeyError::UnknownSecret(material.secret_id))?;
    let times = &key.times;
    let number = |number: i64| number.to_be_bytes();
    let state = [
        number(key.epoch),
        number(key.created_at.micros()),
        number(times.publish_at.micros()),
        number(times.activate_at.micros()),
        number(times.sign_until.micros()),
        number(times.remove_at.micros()),
        number(to_micros(times.longest_token)),
        number(i64::from(key.held)),
        number(key.compromised_at.map_or(-1, Time::micros)),
        number(i64::from(material.sealed.is_some())),
    ];
    let mut parts = vec![
        issuer.as_bytes(),
        key.kid.as_bytes(),
        key.algorithm.name().as_bytes(),
        state.as_flattened(),
        material.public_jwk.as_bytes(),
        material.sealed.as_deref().unwrap_or_default(),
    ];
    // Rows of the first schema have no such part.
    if !material.sealed_before.is_empty() {
        parts.push(&material.sealed_before);
    }
    Ok(row_key.mac(&parts))
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
