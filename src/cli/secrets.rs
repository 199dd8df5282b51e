//! `jeton secrets …`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::context::{Context, Intent, context};
use super::keys::exposure;
use super::table::table;
use super::{Global, print, print_json, say};
use crate::error::Exit;
use crate::manage::emergency::SecretCompromiseView;
use crate::manage::root_secrets::{LostSecretView, RootSecretView};
use crate::secret::{SecretId, file};

#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// Make a new root-secret file, readable only by its owner; an existing file is never touched
    #[command(after_help = "Example:\n  jeton secrets generate --out data/root-secrets")]
    Generate {
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show every root secret by its id: what it does, and what is still under it
    #[command(after_help = "Example:\n  jeton secrets list")]
    List,
    /// Add a fresh root secret to the file; it opens, and seals nothing until it is promoted. Bring
    /// the file to every replica before you promote it
    #[command(after_help = "Example:\n  jeton secrets add\n  jeton secrets list")]
    Add,
    /// Let a root secret seal from now on; running replicas notice, and seal every key anew
    #[command(after_help = "Example:\n  jeton secrets promote 2")]
    Promote {
        /// Its id
        id: u8,
    },
    /// Take a root secret out of the file, once nothing is under it any more
    #[command(after_help = "Example:\n  jeton secrets drop 1")]
    Drop {
        /// Its id
        id: u8,
    },
    /// Declare a root secret stolen: every signing key that was ever sealed under it is replaced at
    /// once, the client secrets that are still under it are gone (those that moved are kept), and it
    /// is taken out of the file
    #[command(after_help = "Example:\n  jeton secrets compromise 1 --dry-run\n  jeton secrets \
                            compromise 1")]
    Compromise {
        /// Its id
        id: u8,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Give up a root secret that is lost and of which there is no copy: the signing keys and client
    /// secrets that only it opens are deleted, and everybody has to sign in again. Stop every server
    /// before
    #[command(after_help = "Example:\n  jeton secrets lost 1 --dry-run\n  jeton secrets lost 1")]
    Lost {
        /// Its id
        id: u8,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

impl Secrets {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        if let Self::Generate { out } = &self {
            file::generate(out)?;
            let sentence = format!("wrote {}; keep a copy somewhere safe", out.display());
            return say(global, &json!({ "wrote": out }), &sentence);
        }
        let looks = matches!(
            self,
            Self::List | Self::Compromise { dry_run: true, .. } | Self::Lost { dry_run: true, .. }
        );
        let intent = if looks { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        let file = desk.secrets.path().display().to_string();
        match self {
            Self::Generate { .. } => Ok(()),
            Self::List => list(global, &desk.root_secrets().await?),
            Self::Add => {
                let id = desk.add_root_secret(now).await?.0;
                let sentence = format!(
                    "added root secret {id} to {file}; it opens and does not seal yet. Bring the \
                     file to every replica (each says in its log that it read it again), keep a \
                     copy, and then run: jeton secrets promote {id}"
                );
                say(global, &json!({ "added": id, "file": file }), &sentence)
            }
            Self::Promote { id } => {
                desk.promote_root_secret(SecretId(id), now).await?;
                let sentence = format!(
                    "root secret {id} seals from now on in {file}; running replicas that see this \
                     file seal every key under it within seconds"
                );
                say(global, &json!({ "promoted": id, "file": file }), &sentence)
            }
            Self::Drop { id } => {
                desk.drop_root_secret(SecretId(id), now).await?;
                say(global, &json!({ "dropped": id, "file": file }), &format!("dropped {id}"))
            }
            Self::Lost { id, dry_run } => {
                lost(global, &desk.give_up_lost_secret(SecretId(id), now, dry_run).await?)
            }
            Self::Compromise { id, dry_run } => {
                let view = desk.compromise_secret(SecretId(id), now, dry_run).await?;
                let left = if dry_run || !desk.secrets.now().ids().contains(&SecretId(id)) {
                    None
                } else {
                    desk.drop_root_secret(SecretId(id), now).await.err()
                };
                compromised(global, &view, dry_run)?;
                left.map_or(Ok(()), |error| {
                    Err(Exit::Failed(format!(
                        "it is done, but {file} still holds root secret {id}: take its line out, \
                         wherever the file comes from ({error})"
                    )))
                })
            }
        }
    }
}

fn list(global: &Global, secrets: &[RootSecretView]) -> Result<(), Exit> {
    if global.json {
        return print_json(&secrets);
    }
    let row = |one: &RootSecretView| {
        let state = match (&one.compromised_at, &one.dropped_at) {
            (Some(at), _) => format!("stolen since {at}"),
            (None, Some(at)) => format!("dropped {at}"),
            (None, None) => one.role.to_owned(),
        };
        vec![one.id.to_string(), state, one.keys.to_string(), one.client_secrets.to_string()]
    };
    let rows: Vec<_> = secrets.iter().map(row).collect();
    print(table(&["ID", "STATE", "KEYS UNDER IT", "CLIENT SECRETS UNDER IT"], &rows))?;
    Ok(())
}

fn lost(global: &Global, view: &LostSecretView) -> Result<(), Exit> {
    let verb = if view.done { "are" } else { "would be" };
    let mut sentence = format!(
        "{} signing keys and {} client secrets {verb} gone, and so is every refresh token",
        view.keys, view.client_secrets
    );
    if !view.clients_without_secret.is_empty() {
        sentence.push_str(
            "\nThese clients have no secret left; each needs `jeton client rotate-secret`:\n  ",
        );
        sentence.push_str(&view.clients_without_secret.join("\n  "));
    }
    if view.done {
        sentence.push_str("\nThe next `jeton serve` makes new keys");
    }
    say(global, &json!(view), &sentence)
}

fn compromised(global: &Global, view: &SecretCompromiseView, dry_run: bool) -> Result<(), Exit> {
    if global.json {
        return print_json(view);
    }
    let verb = if dry_run { "would be" } else { "are" };
    print(format_args!(
        "{} signing keys {verb} declared stolen, {} client secrets {verb} gone",
        view.keys.compromised.len(),
        view.client_secrets
    ))?;
    for kid in &view.keys.compromised {
        print(format_args!("  {kid}"))?;
    }
    if !view.clients_without_secret.is_empty() {
        print(format_args!(
            "\nThese clients have no secret left; each needs `jeton client rotate-secret`:\n  {}",
            view.clients_without_secret.join("\n  ")
        ))?;
    }
    if !view.clients_with_chosen_secret.is_empty() {
        print(format_args!(
            "\nThese keep a secret that a person chose; whoever has the stolen secret and a copy of \
             the database can guess at it, so give them a new one:\n  {}",
            view.clients_with_chosen_secret.join("\n  ")
        ))?;
    }
    if !dry_run {
        print(format_args!("\n{}", exposure(&view.keys)))?;
    }
    Ok(())
}
