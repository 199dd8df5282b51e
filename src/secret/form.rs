//! The seal of a sign-in form: it says that this issuer made the form, for this browser and for this
//! request.
//!
//! Without it another site could send a form of its own from somebody's browser, with the attacker's
//! name and password in it, and have the person work in the attacker's account without noticing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Key, RootSecrets, SecretId, same};

/// What a browser is known by between the form and its answer: random, and in a cookie.
pub fn new_browser_mark() -> String {
    URL_SAFE_NO_PAD.encode(Key::generate().expose())
}

/// Whether a cookie can be a mark of ours.
pub fn is_browser_mark(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// The seal over a browser's mark and the parts of a request.
pub fn seal_form(secrets: &RootSecrets, parts: &[&[u8]]) -> String {
    let mut bytes = vec![secrets.current().0];
    bytes.extend(secrets.current_form_key().mac(parts));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether a seal fits. Every root secret of the set counts, so that a form which was shown before a
/// promotion still works after it; one that was stolen does not.
pub fn form_seal_fits(secrets: &RootSecrets, parts: &[&[u8]], seal: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(seal) else { return false };
    let Some((id, mac)) = bytes.split_first() else { return false };
    let id = SecretId(*id);
    let key = secrets.form_key(id).filter(|_| !secrets.distrusts(id));
    key.is_some_and(|key| same(&key.mac(parts), mac))
}

#[cfg(test)]
mod tests {
    use super::super::file::generate_text;
    use super::*;

    #[test]
    fn a_seal_fits_its_browser_and_its_request_alone() {
        let secrets = RootSecrets::parse(&generate_text(), "https://i").unwrap();
        let others = RootSecrets::parse(&generate_text(), "https://i").unwrap();
        let mark = new_browser_mark();
        assert!(is_browser_mark(&mark) && !is_browser_mark("x") && !is_browser_mark(""));
        let parts: [&[u8]; 2] = [mark.as_bytes(), b"request"];
        let seal = seal_form(&secrets, &parts);
        assert!(form_seal_fits(&secrets, &parts, &seal));
        assert!(!form_seal_fits(&others, &parts, &seal));
        assert!(!form_seal_fits(&secrets, &[mark.as_bytes(), b"other"], &seal));
        assert!(!form_seal_fits(&secrets, &[b"other", b"request"], &seal));
        assert!(!form_seal_fits(&secrets.distrusting([SecretId(1)]), &parts, &seal));
        for bad in ["", "!", "AQ", &seal[..seal.len() - 2]] {
            assert!(!form_seal_fits(&secrets, &parts, bad), "{bad:?}");
        }
    }
}
