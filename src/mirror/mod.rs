//! What each replica holds in memory, and the one poller that keeps it fresh.
//!
//! A request reads from here and never from the database: the key ring signs and fills the JWKS,
//! the directory knows clients and resources, the acts say what was taken back. Keys and directory
//! are each swapped as a whole, so a reader sees one consistent state. How old all this may be is the
//! reader's decision; the poller says how old it is.

mod arrears;
mod directory;
mod document;
mod freshness;
mod key_ring;
mod notes;
mod outbox;
mod poller;
mod writer;

pub use directory::{Directory, Offer, Registered, Secret};
pub use document::Document;
pub use freshness::{Freshness, Stale};
pub use key_ring::{Jwks, KeyRing, RingKey};
pub use notes::{FailedRun, Name, Notes, SecretUse};
pub use outbox::Acts;
pub use poller::{Poller, Reloaded};
pub use writer::Writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::domain::Time;

/// The state of one replica.
#[derive(Debug)]
pub struct Mirror {
    keys: ArcSwap<KeyRing>,
    directory: ArcSwap<Directory>,
    /// What was taken back.
    pub acts: Acts,
    /// How old all this is.
    pub freshness: Freshness,
    /// Whether the database has lost revocations and could not be given them back yet.
    owed: AtomicBool,
    /// When keys were last loaded, for the metric.
    keys_loaded: AtomicI64,
    /// Where acts of revocation are handed in.
    pub writer: Writer,
    /// What is to be written when there is time for it.
    pub notes: Notes,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            keys: ArcSwap::from_pointee(KeyRing::default()),
            directory: ArcSwap::from_pointee(Directory::default()),
            acts: Acts::default(),
            freshness: Freshness::default(),
            owed: AtomicBool::new(false),
            keys_loaded: AtomicI64::new(0),
            writer: Writer::default(),
            notes: Notes::default(),
        }
    }
}

impl Mirror {
    /// The keys as last loaded. Whoever waits for something keeps them by [`Guard::into_inner`].
    pub fn keys(&self) -> Guard<Arc<KeyRing>> {
        self.keys.load()
    }

    /// Clients and resources as last loaded. They are lent, not counted: all threads would write to
    /// one counter with each request. Whoever waits for something keeps them by [`Guard::into_inner`].
    pub fn directory(&self) -> Guard<Arc<Directory>> {
        self.directory.load()
    }

    /// Whether the rows lack revocations that are known here: until they have them, no family may go
    /// on from what the database remembers of it.
    pub fn is_owed_acts(&self) -> bool {
        self.owed.load(Ordering::SeqCst)
    }

    /// When keys were last loaded.
    pub fn keys_loaded_at(&self) -> Time {
        Time::from_micros(self.keys_loaded.load(Ordering::Relaxed))
    }
}
