//! What operators do: each verb is a function that acts and returns a view. The command line is one
//! skin over it, the admin API will be another; neither decides anything itself.

pub mod apply;
pub mod audit;
pub mod clients;
pub mod describe;
pub mod doctor;
pub mod emergency;
pub mod finding;
pub mod keys;
pub mod notes;
pub mod recover;
pub mod resources;
pub mod revoke;
pub mod root_secrets;
pub mod sessions;
pub mod token;
pub mod users;

use std::sync::Arc;
use std::time::Duration;

use crate::domain::family::RefreshRules;
use crate::domain::schedule::{CannotRotate, Policy};
use crate::domain::{Issuer, Time};
use crate::hashing::HashError;
use crate::keys::KeyError;
use crate::secret::{RootSecretError, Vault};
use crate::store::{Db, StoreError};

/// What every verb needs to know.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The database.
    pub db: Db,
    /// The root secrets.
    pub secrets: Arc<Vault>,
    /// Who issues.
    pub issuer: Issuer,
    /// The key schedule.
    pub policy: Policy,
    /// How long sign-ins last where a client says nothing else.
    pub refresh: RefreshRules,
    /// How long a replica that is cut off from the database goes on issuing.
    pub trusted: Duration,
    /// Within what time replicas obey a revocation.
    pub revocation_bound: Duration,
    /// Who acts: for the audit trail.
    pub actor: String,
}

/// Why a verb was not carried out. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// There is no such thing.
    #[error("there is no {} {id:?}; `jeton {kind} list` shows them all", kind.trim_end_matches('s'))]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// There is one already.
    #[error("there is a {kind} {id:?} already")]
    Exists {
        /// What kind of thing.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// What was described cannot be; every mistake is named.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The key schedule does not allow it.
    #[error(transparent)]
    Rotate(#[from] CannotRotate),
    /// The root-secret file.
    #[error(transparent)]
    RootSecret(#[from] RootSecretError),
    /// A password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Key material cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ManageError {
    /// A single mistake.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(vec![what.into()])
    }
}

/// An instant as views show it: RFC 3339 in UTC.
fn shown(at: Time) -> String {
    at.rfc3339()
}
