//! The root-secret set: the one thing that is not in the database and without which the database
//! yields nothing. Signing keys are sealed under it, client secrets peppered with it.
//!
//! Its file (see `file.rs`) holds lines of `<id 1–255> <base64url of 32 bytes>`. The first line seals, every line
//! opens, and an id is never used again for other bytes.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::refresh::RefreshKey;
use super::{Key, Pepper};

/// The name of a root secret: what rows say they were made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub u8);

/// Why a root-secret file cannot be used. No message holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum RootSecretError {
    /// It cannot be read or written.
    #[error("the root-secret file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It can be read by everyone on the machine.
    #[error("the root-secret file {0} is open to all users; run: chmod 600 {0}")]
    TooOpen(PathBuf),
    /// A line is not `<id> <secret>`.
    #[error(
        "the root-secret file, line {0}: expected \"<id 1-255> <32 bytes in base64url>\"; \
         `jeton secrets generate` writes one"
    )]
    Line(usize),
    /// An id occurs twice.
    #[error(
        "the root-secret file, line {0}: this id occurs twice; an id names one secret for ever"
    )]
    Repeated(usize),
    /// The bytes are a sample value, not a secret.
    #[error("the root-secret file, line {0}: this is a sample value, not a random secret")]
    Weak(usize),
    /// There is no such secret in the file.
    #[error(
        "the root-secret file holds no secret with the id {0}; `jeton secrets list` shows them"
    )]
    Missing(u8),
    /// No line at all.
    #[error("the root-secret file holds no secret; `jeton secrets generate` writes one")]
    Empty,
}

#[derive(Debug, Clone)]
struct Entry {
    id: SecretId,
    pepper: Pepper,
    refresh: RefreshKey,
    applied: Key,
    seal: Key,
    row: Key,
    form: Key,
}

/// The set, with the keys that derive from each of its secrets for this issuer.
#[derive(Debug, Clone)]
pub struct RootSecrets {
    first: Entry,
    rest: Vec<Entry>,
    distrusted: HashSet<SecretId>,
}

impl RootSecrets {
    /// Reads the set from the text of its file.
    pub fn parse(text: &str, issuer: &str) -> Result<Self, RootSecretError> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, key) = parse_line(line).ok_or(RootSecretError::Line(number))?;
            if !seen.insert(id) {
                return Err(RootSecretError::Repeated(number));
            }
            if is_sample(&key) {
                return Err(RootSecretError::Weak(number));
            }
            entries.push(Entry {
                id,
                pepper: Pepper::derive(&key, issuer),
                refresh: RefreshKey::derive(&key, issuer),
                applied: key.derive("applied-password", issuer),
                seal: key.derive("signing-key-seal", issuer),
                row: key.derive("signing-key-row", issuer),
                form: key.derive("sign-in-form", issuer),
            });
        }
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(RootSecretError::Empty)?;
        Ok(Self { first, rest: entries.collect(), distrusted: HashSet::new() })
    }

    /// The secret under which new things are made: the first that is not known to be stolen. A
    /// replica whose file still has a stolen one in front must not bring anything under it.
    pub fn current(&self) -> SecretId {
        self.sealing().id
    }

    /// Whether there is a secret that may seal.
    pub fn can_seal(&self) -> bool {
        !self.distrusts(self.current())
    }

    /// Every id of the set, the current one first.
    pub fn ids(&self) -> Vec<SecretId> {
        self.entries().map(|entry| entry.id).collect()
    }

    /// The pepper of client secrets under one root secret, or `None` if this set does not hold it.
    pub fn pepper(&self, id: SecretId) -> Option<&Pepper> {
        self.entry(id).map(|entry| &entry.pepper)
    }

    /// The pepper under which new client secrets are stored.
    pub fn current_pepper(&self) -> &Pepper {
        &self.sealing().pepper
    }

    /// The key of the MAC in refresh tokens under one root secret.
    pub(super) fn refresh_key(&self, id: SecretId) -> Option<&RefreshKey> {
        self.entry(id).map(|entry| &entry.refresh)
    }

    /// The key of the MAC in new refresh tokens.
    pub(super) fn current_refresh_key(&self) -> &RefreshKey {
        &self.sealing().refresh
    }

    /// The key of the MAC by which `apply` recognises a password that it has applied.
    pub fn applied_key(&self, id: SecretId) -> Option<&Key> {
        self.entry(id).map(|entry| &entry.applied)
    }

    /// The key of the seal on sign-in forms under one root secret.
    pub(super) fn form_key(&self, id: SecretId) -> Option<&Key> {
        self.entry(id).map(|entry| &entry.form)
    }

    /// The key of the seal on new sign-in forms.
    pub(super) fn current_form_key(&self) -> &Key {
        &self.sealing().form
    }

    /// The key that seals private signing keys.
    pub fn seal_key(&self, id: SecretId) -> Option<&Key> {
        self.entry(id).map(|entry| &entry.seal)
    }

    /// The key that vouches for rows of signing keys.
    pub fn row_key(&self, id: SecretId) -> Option<&Key> {
        self.entry(id).map(|entry| &entry.row)
    }

    /// The same set, with those ids marked that are known to be stolen.
    #[must_use]
    pub fn distrusting(&self, stolen: impl IntoIterator<Item = SecretId>) -> Self {
        Self { distrusted: stolen.into_iter().collect(), ..self.clone() }
    }

    /// The same set, with what an older one has besides at its end.
    #[must_use]
    pub(super) fn with_older(&self, older: &RootSecrets) -> Self {
        let mut all = self.clone();
        all.rest.extend(older.entries().filter(|one| self.entry(one.id).is_none()).cloned());
        all
    }

    /// Whether what was made under a secret must not be believed: whoever stole the secret may have
    /// made it.
    pub fn distrusts(&self, id: SecretId) -> bool {
        self.distrusted.contains(&id)
    }

    fn sealing(&self) -> &Entry {
        self.entries().find(|entry| !self.distrusts(entry.id)).unwrap_or(&self.first)
    }

    /// The ids that are known to be stolen.
    pub fn distrusted(&self) -> Vec<SecretId> {
        self.distrusted.iter().copied().collect()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn entry(&self, id: SecretId) -> Option<&Entry> {
        self.entries().find(|entry| entry.id == id)
    }
}

pub(super) fn parse_line(line: &str) -> Option<(SecretId, Key)> {
    let (id, secret) = line.split_once(char::is_whitespace)?;
    let id = id.parse::<u8>().ok().filter(|id| *id > 0)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret.trim().trim_end_matches('=')).ok()?);
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some((SecretId(id), Key::new(bytes)))
}

/// 32 random bytes have fewer than 16 different values about once in 10^12 sets; samples of the kind
/// `AAAA…` or `0123…` have few.
fn is_sample(key: &Key) -> bool {
    let different: HashSet<_> = key.expose().iter().collect();
    let steps: HashSet<_> = key
        .expose()
        .iter()
        .zip(key.expose().iter().skip(1))
        .map(|(a, b)| b.wrapping_sub(*a))
        .collect();
    different.len() < 16 || steps.len() < 4
}

#[cfg(test)]
mod tests {
    use super::super::file::generate_text;
    use super::*;

    #[test]
    fn the_first_line_seals_and_every_line_opens() {
        let text = format!(
            "# comment\n{}\n2 {}",
            generate_text().as_str(),
            generate_text().trim_start_matches("1 "),
        );
        let set = RootSecrets::parse(&text, "https://i").unwrap();
        assert_eq!(set.current(), SecretId(1));
        assert_eq!(set.ids(), [SecretId(1), SecretId(2)]);
        assert!(set.seal_key(SecretId(2)).is_some() && set.seal_key(SecretId(3)).is_none());
    }

    #[test]
    fn a_file_that_is_no_set_of_secrets_is_refused_by_line() {
        let good = generate_text();
        let parse = |text: &str| RootSecrets::parse(text, "https://i").unwrap_err();
        assert!(matches!(parse(""), RootSecretError::Empty));
        assert!(matches!(parse("1 c2hvcnQ"), RootSecretError::Line(1)));
        assert!(matches!(parse("0 c2hvcnQ"), RootSecretError::Line(1)));
        assert!(matches!(parse("secret"), RootSecretError::Line(1)));
        let twice = format!("{}{}", good.as_str(), generate_text().as_str());
        assert!(matches!(parse(&twice), RootSecretError::Repeated(2)));
        let ascending: Vec<u8> = (0..32).collect();
        for sample in [vec![0; 32], ascending] {
            let text = format!("1 {}", URL_SAFE_NO_PAD.encode(sample));
            assert!(matches!(parse(&text), RootSecretError::Weak(1)));
        }
    }
}
