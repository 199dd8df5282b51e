//! How a process of ours ends when it cannot go on: a sentence, and an exit status that tells an
//! operator's machinery whether to try again.

use crate::config::Problems;
use crate::manage::ManageError;
use crate::secret::RootSecretError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// Why the process ends. The statuses are those of `sysexits.h`.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// The configuration cannot be; trying again will not help (78).
    #[error("the configuration has problems:\n{0}")]
    Config(#[from] Problems),
    /// Something the operator must see to; trying again will not help (78).
    #[error("{0}")]
    Refused(String),
    /// Something outside is away; trying again may help (69).
    #[error("{0}")]
    Unavailable(String),
    /// A command could not be carried out (1).
    #[error("{0}")]
    Failed(String),
}

impl Exit {
    /// The exit status.
    pub const fn status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Refused(_) => 78,
            Self::Unavailable(_) => 69,
            Self::Failed(_) => 1,
        }
    }
}

impl From<RootSecretError> for Exit {
    fn from(error: RootSecretError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<TlsError> for Exit {
    fn from(error: TlsError) -> Self {
        Self::Refused(format!("server.tls: {error}"))
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        match error {
            // Held up by others, or broken off at the end: what we do can be done again.
            StoreError::Unavailable(_) | StoreError::Contended | StoreError::Unknown => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<ManageError> for Exit {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Store(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Exit {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
