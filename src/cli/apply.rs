//! `jeton apply`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::context::{Context, context};
use super::{Global, print_json};
use crate::error::Exit;
use crate::manage::apply::{ApplyFile, Generated, Options};

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The file that describes clients and resources
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Delete what an earlier apply made and the file no longer has
    #[arg(long)]
    prune: bool,
    /// Where generated secrets are written: a new file that only its owner can read
    #[arg(long, value_name = "FILE")]
    secrets_out: Option<PathBuf>,
}

impl Apply {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let file = ApplyFile::load(&self.file)?;
        let Context { desk, now } = context(global).await?;
        let options = Options { dry_run: self.dry_run, prune: self.prune };
        let keep = |generated: &[Generated]| keep(generated, self.secrets_out.as_deref());
        let report = desk.apply(&file, options, now, keep).await?;
        if global.json {
            return print_json(&report);
        }
        println!("{report}");
        if self.dry_run && !report.is_empty() {
            println!("nothing was written (--dry-run)");
        }
        Ok(())
    }
}

/// Writes generated secrets before anything is committed, so that none can be lost.
fn keep(generated: &[Generated], file: Option<&Path>) -> Result<(), String> {
    if generated.is_empty() {
        return Ok(());
    }
    let path =
        file.ok_or("generate_secret needs a place for the secret: add --secrets-out FILE")?;
    let failed = |error: std::io::Error| format!("--secrets-out {}: {error}", path.display());
    let mut file =
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    for one in generated {
        let line = serde_json::json!({
            "client_id": one.client.as_str(),
            "client_secret": one.secret.expose(),
        });
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}
