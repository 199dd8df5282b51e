//! Key material: making it, sealing it, publishing its public half, signing with it.
//!
//! The only place that imports josekit, openssl and aws-lc-rs. They sign; everything about a token
//! that a verifier compares byte for byte (header, integer times) we write ourselves, because josekit
//! would write `EdDSA` for `Ed25519` and times as floats.

mod curves;
mod foreign;
mod header;
mod jwk;
mod private;
mod recogniser;
mod seal;
mod signer;
mod verifier;

pub use header::{TokenType, key_named_by};
pub use jwk::{PublicJwk, thumbprint};
pub use private::PrivateKey;
pub use recogniser::Recogniser;
pub use seal::{Opened, amend, check, open, reseal, seal};
pub use signer::Signer;
pub use verifier::Verifier;

/// Why key material cannot be used. No message holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// OpenSSL, AWS-LC or josekit refuses.
    #[error("the crypto library refuses: {0}")]
    Library(String),
    /// The PEM text is no private key of the wanted kind.
    #[error("{0}")]
    Import(&'static str),
    /// The row was made under a root secret that is not in this process's set.
    #[error("it was made under root secret {0}, which this process does not hold")]
    UnknownSecret(u8),
    /// The row does not prove itself.
    #[error("its row does not prove itself: {0}")]
    Corrupt(&'static str),
}

impl From<openssl::error::ErrorStack> for KeyError {
    fn from(error: openssl::error::ErrorStack) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<josekit::JoseError> for KeyError {
    fn from(error: josekit::JoseError) -> Self {
        Self::Library(error.to_string())
    }
}
