//! Files that are read again once they have changed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::FileMark;

/// Files that belong together, and as what they were seen last.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The files when they were last found changed.
    taken: Vec<Option<FileMark>>,
    /// The files at the last look.
    last: Vec<Option<FileMark>>,
}

impl Watch {
    /// From now on. Read them after this, so that no change falls between.
    pub fn from_now(files: Vec<PathBuf>) -> Self {
        let now = marks(&files);
        Self { files, seen: Mutex::new(Seen { taken: now.clone(), last: now }) }
    }

    /// Whether they have changed and have stood still since the last look: whoever writes them may be
    /// in the middle of it, or at the first of two.
    pub fn have_changed(&self) -> bool {
        let found = marks(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let still = seen.last == found;
        let changed = still && seen.taken != found;
        if changed {
            seen.taken.clone_from(&found);
        }
        seen.last = found;
        changed
    }
}

fn marks(files: &[PathBuf]) -> Vec<Option<FileMark>> {
    files.iter().map(|path| FileMark::of(path)).collect()
}
