//! `jeton completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};
use crate::error::Exit;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that shall complete jeton's commands
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Exit> {
        // The library writes straight to where it is told and panics when that breaks off.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "jeton", &mut script);
        print(String::from_utf8_lossy(&script))
    }
}
