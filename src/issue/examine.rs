//! Looking at access tokens of ours: who made them, and whether they still count.
//!
//! A signature is checked once; what follows from it is kept, by a hash of the whole token. Whether
//! the token still counts (its time, its key, its client, what was revoked) is asked at each look.

use std::sync::Arc;

use arc_swap::Guard;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::Service;
use crate::domain::{AccessClaims, Facts, Inactive, Issuer, Refusal, Time};
use crate::mirror::{Directory, KeyRing};

/// Longest token that is looked at, in bytes: ours are far shorter.
const LONGEST: usize = 16 * 1024;

/// About what a token takes in memory, to begin with.
const TYPICAL: u64 = 1024;

/// A token that one of our keys signed.
#[derive(Debug)]
pub(super) struct Examined {
    /// What decides whether it was taken back.
    pub facts: Arc<Facts>,
    /// When it ends.
    pub expires_at: Time,
    /// Its scopes.
    pub scope: String,
    /// What introspection says of it while it is active (RFC 7662 §2.2): its own claims.
    pub answer: Bytes,
}

/// Tokens that were examined, bounded in bytes.
#[derive(Debug)]
pub struct Memory(Cache<[u8; 32], Arc<Examined>, Weight>);

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<[u8; 32], Arc<Examined>> for Weight {
    fn weight(&self, _: &[u8; 32], token: &Arc<Examined>) -> u64 {
        let facts = &token.facts;
        let texts = [&facts.subject, &facts.client, &facts.resource, &facts.kid, &token.scope];
        let texts: usize = texts.iter().map(|text| text.len() + 16).sum();
        (token.answer.len() + texts + 256) as u64
    }
}

impl Memory {
    /// Room for tokens of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / TYPICAL).unwrap_or(0);
        Self(Cache::with_weighter(items, bytes, Weight))
    }
}

/// What one decision sees: it does not change under its hands.
#[derive(Debug)]
pub(super) struct Seen {
    pub directory: Guard<Arc<Directory>>,
    pub keys: Guard<Arc<KeyRing>>,
    pub now: Time,
}

impl Service {
    /// What is in memory now, if it is fresh enough to be trusted.
    pub(super) fn see(&self, now: Time) -> Result<Seen, Refusal> {
        Ok(Seen { directory: self.directory()?, keys: self.mirror.keys(), now })
    }

    /// Finds out whether a token is one of ours. Nothing in it is parsed before its signature holds.
    pub(super) fn examine(&self, token: &str, seen: &Seen) -> Result<Arc<Examined>, Inactive> {
        if token.len() > LONGEST {
            return Err(Inactive::Unknown);
        }
        // Of the whole token: with a part of it a forged signature would find the genuine one.
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.examined.0.get(&hash) {
            return Ok(known);
        }
        let (kid, payload) = seen.keys.recognise(token, seen.now)?;
        let examined = read(&payload, kid, &self.rules.issuer).ok_or(Inactive::ClaimsInvalid)?;
        let examined = Arc::new(examined);
        self.examined.0.insert(hash, Arc::clone(&examined));
        Ok(examined)
    }

    /// Whether a token still counts.
    pub(super) fn alive(&self, token: &Examined, seen: &Seen) -> Result<(), Inactive> {
        let Seen { directory, keys, now } = seen;
        keys.trusts(&token.facts.kid, *now)?;
        if *now >= token.expires_at {
            return Err(Inactive::Expired);
        }
        // Before the acts: a client that is deleted leaves one behind, which says less of the cause.
        let client = directory.client_by_name(&token.facts.client).ok_or(Inactive::ClientGone)?;
        // A replica that had not heard of a deletion yet may have issued this to the one that had the
        // name before.
        if token.facts.birth < client.client.created_at {
            return Err(Inactive::ClientGone);
        }
        if let Some(cause) = self.mirror.acts.verdict(&token.facts) {
            return Err(cause);
        }
        if client.client.disabled_at.is_some() {
            return Err(Inactive::ClientDisabled);
        }
        Ok(())
    }
}

fn read(payload: &[u8], kid: &str, issuer: &Issuer) -> Option<Examined> {
    let claims = AccessClaims::read(payload, issuer)?;
    let members = std::str::from_utf8(payload).ok()?.strip_prefix('{')?;
    Some(Examined {
        facts: Arc::new(claims.facts(kid)?),
        expires_at: claims.expires_at(),
        scope: claims.scope().to_owned(),
        answer: Bytes::from(format!(r#"{{"active":true,"token_type":"Bearer",{members}"#)),
    })
}
