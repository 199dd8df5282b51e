//! Standard error, written to by all threads at once.
//!
//! The standard library's has one lock, and a thread that is put to sleep while it holds it stops
//! every other request. The kernel needs none: what is written in one piece stays in one piece.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{PoisonError, RwLock};

use tracing_subscriber::fmt::MakeWriter;

/// So much a pipe takes in one piece (`PIPE_BUF` of Linux): hardly a line is longer.
const PIECE: usize = 4096;

/// Where log lines go. Each is handed over whole, by one call of `write_all`.
pub(super) struct Stderr {
    file: File,
    /// Held by many for lines that the kernel keeps whole, and alone for one that it may not.
    alone: RwLock<()>,
}

impl Stderr {
    /// A second handle on standard error.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Self { file, alone: RwLock::new(()) })
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        if line.len() <= PIECE {
            let _many = self.alone.read().unwrap_or_else(PoisonError::into_inner);
            return file.write_all(line);
        }
        let _one = self.alone.write().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
