//! A signing key's life. Its stage is computed from the row and `now`, never stored, so replicas
//! agree without a leader and no job can forget to flip a flag.

use std::time::Duration;

use super::{Algorithm, Time};

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It signs, and verifiers know it.
    Active,
    /// In the JWKS, not yet signing, so that every verifier holds it before its first signature.
    Published,
    /// In the JWKS, no longer signing, until the last token it signed has expired.
    Retiring,
    /// It exists, sealed, and nobody outside knows it.
    Pending,
    /// Out of the JWKS; nothing it signed is still alive.
    Removed,
    /// An operator has declared it stolen: it neither signs nor verifies, ever again.
    Compromised,
}

impl Stage {
    /// Its name for people and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Published => "published",
            Self::Retiring => "retiring",
            Self::Pending => "pending",
            Self::Removed => "removed",
            Self::Compromised => "compromised",
        }
    }

    /// Whether the JWKS shows a key of this stage.
    pub const fn is_in_jwks(self) -> bool {
        matches!(self, Self::Active | Self::Published | Self::Retiring)
    }
}

/// The four turns of a key's life, and how long a token it signs may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From here on it is in the JWKS.
    pub publish_at: Time,
    /// From here on it signs.
    pub activate_at: Time,
    /// From here on it no longer signs.
    pub sign_until: Time,
    /// From here on it is out of the JWKS.
    pub remove_at: Time,
    /// No token it signs lives longer than this: it bounds what `remove_at` must wait for.
    pub longest_token: Duration,
}

/// A signing key as the schedule sees it: everything but the key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its RFC 7638 thumbprint, which is its name for ever.
    pub kid: String,
    /// The line it belongs to.
    pub algorithm: Algorithm,
    /// Its place in the line, counting from 1. Two replicas that create the next key at once
    /// collide on (algorithm, epoch), and one of them yields.
    pub epoch: i64,
    /// When it was made.
    pub created_at: Time,
    /// The turns of its life.
    pub times: Times,
    /// An operator keeps it in the JWKS beyond `remove_at`.
    pub held: bool,
    /// Since when it is known to be stolen.
    pub compromised_at: Option<Time>,
    /// Its private half is gone.
    pub destroyed: bool,
    /// Its row does not prove itself (thumbprint, MAC or seal): it is neither published nor used.
    pub corrupt: bool,
}

impl SigningKey {
    /// Where the key is in its life at `now`.
    pub fn stage(&self, now: Time) -> Stage {
        let times = &self.times;
        if self.compromised_at.is_some() {
            Stage::Compromised
        } else if now < times.publish_at {
            Stage::Pending
        } else if now < times.activate_at {
            Stage::Published
        } else if now < times.sign_until {
            Stage::Active
        } else if now < times.remove_at || self.held {
            Stage::Retiring
        } else {
            Stage::Removed
        }
    }

    /// Whether it signs now or may yet sign.
    pub fn is_usable(&self) -> bool {
        !self.corrupt && !self.destroyed && self.compromised_at.is_none()
    }

    /// Whether the JWKS shows it at `now`.
    pub fn is_in_jwks(&self, now: Time) -> bool {
        !self.corrupt && self.stage(now).is_in_jwks()
    }

    /// The next instant after `now` at which the JWKS or the signer changes because of it.
    pub fn next_turn(&self, now: Time) -> Option<Time> {
        if self.corrupt || self.compromised_at.is_some() {
            return None;
        }
        let times = &self.times;
        let removal = (!self.held).then_some(times.remove_at);
        [Some(times.publish_at), Some(times.activate_at), Some(times.sign_until), removal]
            .into_iter()
            .flatten()
            .filter(|turn| *turn > now)
            .min()
    }
}

/// A signing key's row: its schedule, and its material as bytes nobody has looked into yet.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// What the schedule needs.
    pub key: SigningKey,
    /// Its material.
    pub material: Material,
}

/// Key material as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The public half as a JWK.
    pub public_jwk: String,
    /// The sealed private half, until it is destroyed.
    pub sealed: Option<Vec<u8>>,
    /// The root secret that sealed and vouched for it.
    pub secret_id: u8,
    /// Earlier root secrets that it was sealed under.
    pub sealed_before: Vec<u8>,
    /// What vouches for it.
    pub mac: Vec<u8>,
}
