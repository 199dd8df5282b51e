//! Private keys in the clear; they exist only on the way into a signer or a seal.

use std::fmt;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use zeroize::Zeroizing;

use super::KeyError;
use crate::domain::Algorithm;

/// The size of RSA keys we make. Twelve months of 2048 bits are safe (NIST SP 800-57), a key lives
/// one month, and 3072 bits would make every signature three times as dear.
const RSA_BITS: u32 = 2048;

/// The largest RSA key that may be imported: verifiers pay for every bit.
const RSA_BITS_MAX: u32 = 4096;

/// A private key for one algorithm.
pub struct PrivateKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: PKey<Private>,
}

impl PrivateKey {
    /// Makes a new key. RSA takes a tenth of a second or more: call it off the async threads.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::Es256 => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                PKey::from_ec_key(EcKey::generate(&group)?)?
            }
            Algorithm::Rs256 | Algorithm::Ps256 => PKey::from_rsa(Rsa::generate(RSA_BITS)?)?,
            Algorithm::Ed25519 | Algorithm::EdDsa => PKey::generate_ed25519()?,
        };
        Ok(Self { algorithm, key })
    }

    /// Reads an unencrypted PEM private key (PKCS#8, PKCS#1 or SEC1) that suits the algorithm.
    pub fn from_pem(pem: &[u8], algorithm: Algorithm) -> Result<Self, KeyError> {
        // An empty passphrase: never let OpenSSL ask at the terminal.
        let key = PKey::private_key_from_pem_passphrase(pem, b"").map_err(|_| {
            KeyError::Import("the file is not an unencrypted private key in PEM form")
        })?;
        Self::suited(algorithm, key)
    }

    pub(super) fn from_der(der: &[u8], algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::suited(algorithm, PKey::private_key_from_der(der)?)
    }

    fn suited(algorithm: Algorithm, key: PKey<Private>) -> Result<Self, KeyError> {
        let suits = match algorithm {
            Algorithm::Es256 => {
                key.id() == Id::EC
                    && key.ec_key()?.group().curve_name() == Some(Nid::X9_62_PRIME256V1)
            }
            Algorithm::Rs256 | Algorithm::Ps256 => {
                key.id() == Id::RSA && (RSA_BITS..=RSA_BITS_MAX).contains(&key.bits())
            }
            Algorithm::Ed25519 | Algorithm::EdDsa => key.id() == Id::ED25519,
        };
        if !suits {
            return Err(KeyError::Import(
                "the key does not suit the algorithm: ES256 takes a P-256 key, RS256 and PS256 an \
                 RSA key of 2048 to 4096 bits, Ed25519 and EdDSA an Ed25519 key",
            ));
        }
        Ok(Self { algorithm, key })
    }

    /// The key in DER, in the form that both OpenSSL and josekit read: PKCS#1 for RSA, which
    /// josekit takes for PSS as well, PKCS#8 for the rest.
    pub(super) fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = match self.algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => self.key.rsa()?.private_key_to_der()?,
            _ => self.key.private_key_to_pkcs8()?,
        };
        Ok(Zeroizing::new(der))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, …)", self.algorithm)
    }
}
