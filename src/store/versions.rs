//! What tells replicas that data they hold in memory has changed.

use super::arg::args;
use super::{StoreError, Tx, statements};

statements! {
    VERSION_BUMP on Both = "update versions set number = number + 1, stamp = $2 where part = $1";
}

/// A part of the data that replicas hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Clients, their secrets, and resources.
    Directory,
    /// Signing keys.
    Keys,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Keys => "keys",
        }
    }
}

/// The version of one part. Versions are compared for equality only: after a failover or a restored
/// backup the number may go back, and the random stamp tells two histories apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Counts the writes.
    pub number: i64,
    stamp: i64,
}

impl Version {
    pub(super) const fn new(number: i64, stamp: i64) -> Self {
        Self { number, stamp }
    }
}

/// The versions of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Versions {
    /// Of clients and resources.
    pub directory: Version,
    /// Of signing keys.
    pub keys: Version,
}

/// Announces a write to a part. Every act that writes to it begins with this: the row then also
/// serves as the lock that puts such acts in a row, one after the other.
pub async fn bump(tx: &mut Tx, part: Part) -> Result<(), StoreError> {
    let stamp: i64 = rand::random();
    match tx.run(&VERSION_BUMP, args![part.name(), stamp]).await? {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!("versions {}: missing", part.name()))),
    }
}
