//! The root secrets of a running process: read again when their file changes, so that a secret can
//! be added, promoted and dropped without a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::{RootSecretError, RootSecrets, SecretId, file};

/// What tells that a file was changed or replaced, also behind a link. A change of its rights alone
/// moves only the change time, and may be what makes it usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark(u64, u64, i64, i64, u64);

impl FileMark {
    /// The mark of a file as it is now; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self(found.dev(), found.ino(), found.ctime(), found.ctime_nsec(), found.size()))
    }
}

/// The root secrets now, and where they come from.
#[derive(Debug)]
pub struct Vault {
    path: PathBuf,
    issuer: String,
    now: ArcSwap<RootSecrets>,
    seen: Mutex<Option<FileMark>>,
    /// Whether the file could be used when it was last read.
    usable: AtomicBool,
    /// The set without what the file has lost, once nothing in memory needs that any more.
    next: Mutex<Option<RootSecrets>>,
}

impl Vault {
    /// Reads the file for the first time.
    pub fn open(path: PathBuf, issuer: &str) -> Result<Self, RootSecretError> {
        let seen = FileMark::of(&path);
        let now = ArcSwap::from_pointee(file::load(&path, issuer)?);
        Ok(Self {
            path,
            issuer: issuer.to_owned(),
            now,
            seen: Mutex::new(seen),
            usable: AtomicBool::new(true),
            next: Mutex::new(None),
        })
    }

    /// The set as last read; to be kept for long by [`Guard::into_inner`].
    pub fn now(&self) -> Guard<Arc<RootSecrets>> {
        self.now.load()
    }

    /// Whether the file could be used when it was last read; if not, an older set is at work.
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it has changed; true if the set is another one now. A file that
    /// cannot be used changes nothing, and is reported once: what is in memory goes on to work.
    ///
    /// What the file has gained opens at once. What it has lost goes on to open until
    /// [`Vault::settle`]: memory still holds what was stored under it.
    pub fn reread(&self) -> Result<bool, RootSecretError> {
        let found = FileMark::of(&self.path);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return Ok(false);
            }
            *seen = found;
        }
        let read = file::load(&self.path, &self.issuer);
        self.usable.store(read.is_ok(), Ordering::Relaxed);
        let (fresh, now) = (read?, self.now());
        let fresh = fresh.distrusting(now.distrusted());
        self.now.store(Arc::new(fresh.with_older(&now)));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(true)
    }

    /// Forgets what the file has lost: everything in memory was loaded anew since.
    pub fn settle(&self) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            let stolen = self.now().distrusted();
            self.now.store(Arc::new(next.distrusting(stolen)));
        }
    }

    /// Marks ids that are known to be stolen, for as long as this process runs; true if that is news.
    /// A database that was restored, or that somebody writes to, does not unmark them.
    pub fn distrust(&self, stolen: &[SecretId]) -> bool {
        let now = self.now();
        let news = stolen.iter().any(|id| !now.distrusts(*id));
        if news {
            let all = now.distrusted().into_iter().chain(stolen.iter().copied());
            self.now.store(Arc::new(now.distrusting(all)));
        }
        news
    }
}
