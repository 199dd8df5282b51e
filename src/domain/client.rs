//! Clients: the programs that ask for tokens (RFC 6749 §2).

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Algorithm, ExtraClaims, Invalid, ResourceId, Scopes, Time, redirect};

/// A client identifier. It is made of characters that form-encoding leaves alone, so that clients
/// which forget to encode it in a Basic header (RFC 6749 §2.3.1) still spell it right; and it is
/// never a UUID, so that a client can never be taken for a user (RFC 9700 §4.15).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Longest identifier accepted, in bytes.
    pub const MAX: usize = 128;

    /// Accepts 1 to 128 of `A–Z a–z 0–9 . _ ~ -`, not in the form of a UUID.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX || !text.bytes().all(is_unreserved) {
            return Err(Invalid("a client id is 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -"));
        }
        if text.starts_with(SECRET_MARK) {
            return Err(Invalid("this is a client secret, not a client id"));
        }
        if uuid::Uuid::parse_str(text).is_ok() {
            return Err(Invalid("a client id must not be a UUID: those are users"));
        }
        Ok(Self(text.into()))
    }

    /// The identifier itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What every generated client secret begins with: scanners recognise a leaked one by it, and we
/// one that stands where an id should.
pub const SECRET_MARK: &str = "jcs_";

/// The characters of client ids and secrets: RFC 3986's unreserved set.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a client proves who it is at the token endpoint (RFC 6749 §2.3, RFC 7591 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// The secret rides in an `Authorization: Basic` header.
    SecretBasic,
    /// The secret rides in the form.
    SecretPost,
    /// A public client: it has no secret.
    None,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [AuthMethod; 3] = [Self::SecretBasic, Self::SecretPost, Self::None];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecretBasic => "client_secret_basic",
            Self::SecretPost => "client_secret_post",
            Self::None => "none",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AuthMethod {
    type Err = Invalid;
    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or(Invalid("auth_method is client_secret_basic, client_secret_post or none"))
    }
}

/// A grant that this version can serve (RFC 6749 §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantType {
    /// A client asks on its own behalf (RFC 6749 §4.4).
    ClientCredentials,
    /// A client asks on behalf of a person who signed in (RFC 6749 §4.1).
    AuthorizationCode,
    /// A client goes on asking (RFC 6749 §6).
    RefreshToken,
}

impl GrantType {
    /// Every grant that this version can serve: what metadata advertises.
    pub const ALL: [GrantType; 3] =
        [Self::ClientCredentials, Self::AuthorizationCode, Self::RefreshToken];

    /// The value of `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
        }
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GrantType {
    type Err = Invalid;
    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|grant| grant.name() == name)
            .ok_or(Invalid("a grant is client_credentials, authorization_code or refresh_token"))
    }
}

/// What happens when a client presents the refresh token before its present one. Registered today,
/// obeyed from the version on that issues refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshRetry {
    /// It is refused, and the family ends.
    Strict,
    /// Within a short window the same successor is given out again.
    Window,
    /// Until the successor was presented, for clients that prove who they are.
    UntilUsed,
}

impl RefreshRetry {
    /// Every policy.
    pub const ALL: [RefreshRetry; 3] = [Self::Strict, Self::Window, Self::UntilUsed];

    /// Its name in files and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Window => "window",
            Self::UntilUsed => "until_used",
        }
    }
}

impl FromStr for RefreshRetry {
    type Err = Invalid;
    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or(Invalid("refresh_retry is strict, window or until_used"))
    }
}

/// A registered client and all that it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// Its name for people.
    pub name: String,
    /// The one way in which it must authenticate.
    pub auth_method: AuthMethod,
    /// The grants it may use.
    pub grants: Vec<GrantType>,
    /// Where a browser may be sent back to, byte for byte.
    pub redirect_uris: Vec<String>,
    /// The resources it may ask tokens for.
    pub resources: Vec<ResourceId>,
    /// The resource of a request that names none.
    pub default_resource: Option<ResourceId>,
    /// The scopes it may have; `None` means all of its resources' scopes.
    pub scopes: Option<Scopes>,
    /// The scopes of a request that names none; `None` means all that it may have.
    pub default_scopes: Option<Scopes>,
    /// The resources whose tokens it may introspect, being their resource server.
    pub introspects: Vec<ResourceId>,
    /// How long its access tokens live; `None` means the configured default.
    pub access_token_ttl: Option<Duration>,
    /// The key line that signs its tokens; `None` means the issuer's default.
    pub algorithm: Option<Algorithm>,
    /// What happens when it repeats a refresh; `None` means the default for its kind.
    pub refresh_retry: Option<RefreshRetry>,
    /// Its families end when so long nothing was refreshed; `None` means the configured default.
    pub refresh_idle: Option<Duration>,
    /// Its families end after so long, however much they are used; `None` means the configured default.
    pub refresh_absolute: Option<Duration>,
    /// So many of its families one person may have alive; `None` means any number.
    pub refresh_families: Option<NonZeroU32>,
    /// It is the operator's own: people are not asked for consent.
    pub first_party: bool,
    /// Static claims of its tokens.
    pub claims: ExtraClaims,
    /// Since when an operator has it switched off.
    pub disabled_at: Option<Time>,
    /// What was authorized for it before this counts no more.
    pub valid_from: Option<Time>,
    /// When it was registered.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl Client {
    /// A new confidential client with nothing but the defaults.
    pub fn new(id: ClientId, now: Time) -> Self {
        Self {
            name: id.as_str().to_owned(),
            id,
            auth_method: AuthMethod::SecretBasic,
            grants: vec![GrantType::ClientCredentials],
            redirect_uris: Vec::new(),
            resources: Vec::new(),
            default_resource: None,
            scopes: None,
            default_scopes: None,
            introspects: Vec::new(),
            access_token_ttl: None,
            algorithm: None,
            refresh_retry: None,
            refresh_idle: None,
            refresh_absolute: None,
            refresh_families: None,
            first_party: false,
            claims: ExtraClaims::default(),
            disabled_at: None,
            // What another client of this name was given must not come to life with this one.
            valid_from: Some(now),
            created_at: now,
            updated_at: now,
        }
    }

    /// The origins of its pages, if it is one that runs in browsers: it has no secret, and people sign in
    /// to it.
    pub fn pages(&self) -> impl Iterator<Item = String> {
        let runs_there = self.auth_method == AuthMethod::None
            && self.grants.contains(&GrantType::AuthorizationCode);
        let uris = self.redirect_uris.iter().filter(move |_| runs_there);
        uris.filter_map(|uri| redirect::origin(uri))
    }

    /// The resource of a request that names none: the chosen one, or the only one.
    pub fn default_resource(&self) -> Option<&ResourceId> {
        match (&self.default_resource, self.resources.as_slice()) {
            (Some(chosen), _) => Some(chosen),
            (None, [only]) => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_needs_no_encoding_and_is_never_a_user() {
        for text in ["app", "a.b_c~d-e", "0"] {
            assert!(ClientId::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "a b",
            "a:b",
            "a%20b",
            "é",
            "a\0",
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "0190163d8694739baea5966c26f8ad91",
        ] {
            assert!(ClientId::parse(text).is_err(), "{text:?}");
        }
        assert!(ClientId::parse(&"a".repeat(129)).is_err());
    }
}
