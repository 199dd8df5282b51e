//! Standard error, for which no request waits.
//!
//! Whoever reads it may be slow, or hang: a pipe that is full would hold up every thread that has a line
//! to write, and with them every request. So lines are put into memory, and a thread of their own writes
//! what has come together. What finds no room is dropped, and counted. Of a process that is killed the
//! last moment's lines are lost; what must not be is in the database's audit trail.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// So long lines come together before they are written: waking a thread for each would cost a request
/// more than writing it itself.
const GATHER: Duration = Duration::from_millis(2);

/// Room for lines that are not written yet: some ten thousand.
const ROOM: usize = 4 << 20;

/// What is kept of that room when lines are written again.
const KEPT: usize = 256 << 10;

/// So long a process that ends waits for its reader.
const PATIENCE: Duration = Duration::from_secs(1);

static LINES: Mutex<Lines> = Mutex::new(Lines::new());
/// Told when there is something to write, or to hurry with.
static COME: Condvar = Condvar::new();
/// Told when everything is written.
static WRITTEN: Condvar = Condvar::new();
/// Lines that were dropped and not counted elsewhere yet.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that are not written yet.
struct Lines {
    text: Vec<u8>,
    /// Dropped since the last time that something was written.
    dropped: u64,
    /// Somebody is about to write what is there.
    busy: bool,
    hurry: bool,
}

impl Lines {
    const fn new() -> Self {
        Self { text: Vec::new(), dropped: 0, busy: false, hurry: false }
    }

    /// Takes a line, and says whether the writer must be woken.
    fn add(&mut self, line: &[u8]) -> bool {
        if self.text.len() + line.len() > ROOM {
            self.dropped += 1;
            // At once: as long as the reader hangs the metric alone can tell.
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.text.extend_from_slice(line);
        !mem::replace(&mut self.busy, true)
    }
}

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where log lines go. Each is handed over whole, by one call of `write_all`.
pub(super) struct Stderr;

impl Stderr {
    /// Starts the thread that writes to standard error.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all_that_comes(file))?;
        Ok(Self)
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let wake = lines().add(line);
        if wake {
            COME.notify_one();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all_that_comes(mut file: File) {
    let mut text = Vec::new();
    loop {
        let dropped = next(&mut text);
        if dropped > 0 {
            tracing::warn!(
                lines = dropped,
                "lines of the log were dropped: its reader is too slow"
            );
        }
        if file.write_all(&text).is_err() {
            let lost = text.split(|byte| *byte == b'\n').skip(1).count();
            DROPPED.fetch_add(lost as u64, Ordering::Relaxed);
        }
        text.clear();
        text.shrink_to(KEPT);
    }
}

/// Waits for lines, takes them, and says how many before them found no room.
fn next(text: &mut Vec<u8>) -> u64 {
    let mut lines = lines();
    while lines.text.is_empty() {
        (lines.busy, lines.hurry) = (false, false);
        WRITTEN.notify_all();
        lines = COME.wait(lines).unwrap_or_else(PoisonError::into_inner);
    }
    let gathered = COME.wait_timeout_while(lines, GATHER, |lines| !lines.hurry);
    let (mut lines, _) = gathered.unwrap_or_else(PoisonError::into_inner);
    mem::swap(text, &mut lines.text);
    mem::take(&mut lines.dropped)
}

/// Waits until everything is written, for a second at most.
pub fn flush() {
    let mut lines = lines();
    lines.hurry = true;
    COME.notify_one();
    let _ = WRITTEN.wait_timeout_while(lines, PATIENCE, |lines| lines.busy);
}

/// The lines that were dropped since somebody asked.
pub(super) fn dropped() -> u64 {
    DROPPED.swap(0, Ordering::Relaxed)
}
