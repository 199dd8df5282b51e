//! `jeton apply`

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::context::{Context, Intent, context};
use super::{Global, print, print_json};
use crate::error::Exit;
use crate::manage::ManageError;
use crate::manage::apply::{ApplyFile, Generated, Options};
use crate::store::StoreError;

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
        // A write that broke off leaves an empty file, and everything would be gone.
        if self.prune && !self.dry_run && file.is_empty() {
            return Err(Exit::Failed(format!(
                "{} describes nothing, and --prune would delete all that an earlier apply made; if that \
                 is meant, use `jeton client delete`, `jeton resource delete` and `jeton user delete`",
                self.file.display()
            )));
        }
        let intent = if self.dry_run { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        let options = Options { dry_run: self.dry_run, prune: self.prune };
        let kept = self.secrets_out.as_deref().map(Kept::beside).transpose()?;
        let keep = |generated: &[Generated]| Kept::write(kept.as_ref(), generated);
        let applied = desk.apply(&file, options, now, keep).await;
        let report = match (applied, kept) {
            (Ok(report), kept) => {
                kept.map_or(Ok(()), Kept::publish)?;
                report
            }
            // They may be at work: then this is the only place where they are.
            (Err(ManageError::Store(StoreError::Unknown)), Some(kept)) => return Err(kept.unsure()),
            (Err(error), _) => return Err(error.into()),
        };
        if global.json {
            return print_json(&report);
        }
        print(&report)?;
        if self.dry_run && !report.is_empty() {
            print("nothing was written (--dry-run)")?;
        }
        Ok(())
    }
}

/// Generated secrets, on their way to the file of `--secrets-out`. They are on disk before anything
/// is committed, so none can be lost; and they get their name after it, so none is there that does
/// not work. Should the transaction run twice, the second writing replaces the first.
struct Kept {
    file: NamedTempFile,
    out: PathBuf,
}

impl Kept {
    fn beside(out: &Path) -> Result<Self, Exit> {
        let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        // Made for its owner alone.
        let file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))
            .map_err(|error| Exit::Failed(format!("--secrets-out {}: {error}", out.display())))?;
        Ok(Self { file, out: out.to_owned() })
    }

    fn write(kept: Option<&Self>, generated: &[Generated]) -> Result<(), String> {
        let Some(kept) = kept else {
            return if generated.is_empty() {
                Ok(())
            } else {
                Err("generate_secret needs a place for the secret: add --secrets-out FILE"
                    .to_owned())
            };
        };
        if !generated.is_empty() && kept.out.exists() {
            let out = kept.out.display();
            return Err(format!("--secrets-out {out}: the file exists; name a new one"));
        }
        let lines = generated.iter().map(|one| {
            let (id, secret) = (one.client.as_str(), one.secret.expose());
            format!("{}\n", json!({ "client_id": id, "client_secret": secret }))
        });
        let text = Zeroizing::new(lines.collect::<String>());
        let mut file = kept.file.as_file();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(|error| format!("--secrets-out {}: {error}", kept.out.display()))
    }

    fn unsure(self) -> Exit {
        match self.file.keep() {
            Ok((_, path)) => Exit::Failed(format!(
                "{}; look with `jeton client list`. Generated secrets, if it did, are in {}",
                StoreError::Unknown,
                path.display()
            )),
            Err(error) => Exit::Failed(error.to_string()),
        }
    }

    fn publish(self) -> Result<(), Exit> {
        if self.file.as_file().metadata()?.len() == 0 {
            return Ok(());
        }
        let Self { file, out } = self;
        file.persist_noclobber(&out).map(drop).or_else(|failed| {
            let (_, path) = failed.file.keep().map_err(|error| Exit::Failed(error.to_string()))?;
            Err(Exit::Failed(format!(
                "--secrets-out {}: {}; the secrets are in {}",
                out.display(),
                failed.error,
                path.display()
            )))
        })
    }
}
