//! Why a token is inactive: one closed list, for log, metric and `jeton token explain`. The caller
//! is never told which (RFC 7662 §2.2).

use std::fmt;

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// Why a token is inactive. The names are stable: dashboards and runbooks use them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Inactive { $($(#[$doc])* $variant,)* }

        impl Inactive {
            /// Every cause, in the order of the list.
            pub const ALL: &'static [Inactive] = &[$(Inactive::$variant,)*];

            /// Its name in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Inactive::$variant => $name,)* }
            }
        }
    };
}

causes! {
    /// No access token at all, or one whose header no key of ours ever wrote: another issuer's, one
    /// with another `alg` or `typ`, one with a `jwk` or a `crit` in it.
    Unknown = "token_unknown";
    /// It names a key of ours, which did not sign it.
    SignatureInvalid = "token_signature_invalid";
    /// Its claims are not ones that we write, or another issuer's.
    ClaimsInvalid = "token_claims_invalid";
    /// Its time is over.
    Expired = "token_expired";
    /// Its key is known to be stolen, so anybody may have made it.
    KeyCompromised = "key_compromised";
    /// It was revoked by itself.
    TokenRevoked = "token_revoked";
    /// The authorization that it descends from was revoked.
    FamilyRevoked = "family_revoked";
    /// A refresh token that has a successor.
    Superseded = "token_superseded";
    /// The person's account is switched off.
    SubjectDisabled = "subject_disabled";
    /// It, or the authorization it descends from, was born before everything of its subject, client
    /// or resource, or everything there was, was revoked.
    BeforeWatermark = "issued_before_watermark";
    /// Its client was deleted.
    ClientGone = "client_unknown";
    /// Its client is switched off.
    ClientDisabled = "client_disabled";
    /// The caller is neither its client nor a resource server of its audience.
    NotForCaller = "token_not_for_caller";
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
