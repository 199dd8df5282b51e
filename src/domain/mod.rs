//! The words of the field, and the decisions that need nothing but them.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness. What depends on time takes
//! `now` as an argument; what depends on storage takes rows that were read elsewhere. So each rule
//! can be held against a model by a property test, and each replica computes the same answer.

pub mod algorithm;
pub mod caller;
pub mod claims;
pub mod client;
pub mod decision;
pub mod emergency;
pub mod family;
pub mod inactive;
pub mod issuer;
pub mod pkce;
pub mod reason;
pub mod redirect;
pub mod resource;
pub mod revocation;
pub mod schedule;
pub mod scope;
pub mod session;
pub mod signing_key;
pub mod time;
pub mod token;
pub mod token_id;
pub mod user;
pub mod when;

pub use algorithm::Algorithm;
pub use caller::{Budget, Endpoint, Network, RequestId, Spent};
pub use claims::ExtraClaims;
pub use client::{AuthMethod, Client, ClientId, GrantType, RefreshRetry};
pub use decision::{Decision, Granted, Verdict};
pub use family::Family;
pub use inactive::Inactive;
pub use issuer::Issuer;
pub use pkce::Challenge;
pub use reason::{Reason, Refusal};
pub use resource::{Resource, ResourceId, ScopeDefinition};
pub use revocation::{Facts, Revocation, Revoked, Switched, Target};
pub use scope::{Scope, Scopes};
pub use signing_key::{SigningKey, Stage, Times};
pub use time::Time;
pub use token::AccessClaims;
pub use token_id::TokenId;
pub use user::{User, Username};
pub use when::When;

/// Why a value was refused when it was parsed. The text is for the person who wrote the value; it
/// never repeats the value itself, which may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);
