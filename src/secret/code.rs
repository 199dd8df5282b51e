//! Authorization codes: 256 random bits that live for a minute and are stored as their hash, so that
//! whoever reads the database can redeem none.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{Key, TokenText};

/// What tells a code from every other string: scanners for lost secrets look for it.
const PREFIX: &str = "jac_";

/// A new code.
pub fn new_code() -> TokenText {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(Key::generate().expose()));
    TokenText::new(&text)
}

/// Under what a code is stored; `None` for what has not the form of ours, for which no database need
/// be asked.
pub fn code_digest(code: &TokenText) -> Option<[u8; 32]> {
    let encoded = code.expose().strip_prefix(PREFIX)?;
    let decoded = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    (decoded.len() == 32).then(|| Sha256::digest(code.expose().as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_stored_under_its_hash_and_what_is_none_is_not_looked_for() {
        let (one, other) = (new_code(), new_code());
        assert!(one.expose().starts_with("jac_") && one.expose().len() == 47);
        assert_ne!(code_digest(&one).unwrap(), code_digest(&other).unwrap());
        assert_eq!(code_digest(&one), code_digest(&TokenText::new(one.expose())));
        let short = &one.expose()[..46];
        for bad in ["", "jac_", "x", short, &format!("{}=", one.expose()), &one.expose()[4..]] {
            assert_eq!(code_digest(&TokenText::new(bad)), None, "{bad}");
        }
    }
}
