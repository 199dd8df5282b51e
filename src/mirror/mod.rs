//! What each replica holds in memory, and the one poller that keeps it fresh.
//!
//! A request reads from here and never from the database: the key ring signs and fills the JWKS,
//! the directory knows clients and resources. Each part is swapped as a whole, so a reader sees one
//! consistent state. How old it may be is the reader's decision; the poller says how old it is.

mod directory;
mod document;
mod key_ring;
mod notes;
mod poller;

pub use directory::{Directory, Offer, Registered, Secret};
pub use document::Document;
pub use key_ring::{Jwks, KeyRing, RingKey};
pub use notes::{FailedRun, Notes, SecretUse};
pub use poller::{Poller, Reloaded};

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Clock, Tick};
use crate::domain::Time;

/// The state of one replica.
#[derive(Debug)]
pub struct Mirror {
    keys: ArcSwap<KeyRing>,
    directory: ArcSwap<Directory>,
    /// When the last good poll was sent.
    polled: Mutex<Option<Tick>>,
    /// When keys were last loaded, for the metric.
    keys_loaded: AtomicI64,
    /// What is to be written when there is time for it.
    pub notes: Notes,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            keys: ArcSwap::from_pointee(KeyRing::default()),
            directory: ArcSwap::from_pointee(Directory::default()),
            polled: Mutex::new(None),
            keys_loaded: AtomicI64::new(0),
            notes: Notes::default(),
        }
    }
}

impl Mirror {
    /// The keys as last loaded.
    pub fn keys(&self) -> Arc<KeyRing> {
        self.keys.load_full()
    }

    /// Clients and resources as last loaded.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// How long ago the last good poll was sent: everything in memory is at least that fresh.
    pub fn age(&self, clock: &Clock) -> Duration {
        let polled = *self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        polled.map_or(Duration::MAX, |tick| clock.elapsed(tick))
    }

    /// When keys were last loaded.
    pub fn keys_loaded_at(&self) -> Time {
        Time::from_micros(self.keys_loaded.load(Ordering::Relaxed))
    }

    fn good_poll(&self, sent: Tick) {
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
    }
}
