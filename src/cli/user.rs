//! `jeton user …`

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::context::{Context, Intent, context};
use super::table::table;
use super::{Global, print, print_json, say};
use crate::error::Exit;
use crate::manage::users::{NewPassword, UserView};
use crate::secret::Password;

/// Longest input that is read as a password: more than any has.
const LONGEST: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Register a person; without --password-stdin or --password-file a password is made and shown
    /// this once
    #[command(after_help = "Examples:\n  jeton user create alice\n  jeton user create \
                            alice@example.test --password-stdin < password\n  jeton user create bob \
                            --password-file /run/secrets/bob --id \
                            5f0c6a4e-3f2b-4d0e-9c55-2f9f0a6f3a11")]
    Create {
        /// What the person signs in with; upper and lower case are the same
        #[arg(allow_hyphen_values = true)]
        username: String,
        /// The subject of the person's tokens, for people who come from elsewhere [default: random]
        #[arg(long, value_name = "UUID")]
        id: Option<Uuid>,
        #[command(flatten)]
        password: Given,
    },
    /// Show everybody, with how many of their sign-ins are live
    #[command(after_help = "Examples:\n  jeton user list\n  jeton user list --json")]
    List,
    /// Show one person
    #[command(after_help = "Example:\n  jeton user show alice")]
    Show {
        /// Who: the username or the subject
        #[arg(allow_hyphen_values = true)]
        username: String,
    },
    /// Switch an account off: nobody signs in to it, nothing is refreshed, and its tokens are
    /// inactive on every replica, within seconds
    #[command(after_help = "Example:\n  jeton user disable alice")]
    Disable {
        /// Who: the username or the subject
        #[arg(allow_hyphen_values = true)]
        username: String,
    },
    /// Switch an account on again; sign-ins that were not ended meanwhile go on
    #[command(after_help = "Example:\n  jeton user enable alice")]
    Enable {
        /// Who: the username or the subject
        #[arg(allow_hyphen_values = true)]
        username: String,
    },
    /// Replace a person's password, and end every sign-in; without --password-stdin or
    /// --password-file a password is made and shown this once
    #[command(
        after_help = "Examples:\n  jeton user set-password alice\n  jeton user set-password \
                            alice --password-stdin --keep-sessions < password"
    )]
    SetPassword {
        /// Who: the username or the subject
        #[arg(allow_hyphen_values = true)]
        username: String,
        #[command(flatten)]
        password: Given,
        /// Leave the sign-ins as they are: for a password that nobody else knew
        #[arg(long)]
        keep_sessions: bool,
    },
    /// Delete a person, and take back everything that was issued about them
    #[command(after_help = "Example:\n  jeton user delete alice")]
    Delete {
        /// Who: the username or the subject
        #[arg(allow_hyphen_values = true)]
        username: String,
    },
}

/// Where a password comes from. It is never an argument, which every user of the machine could read.
#[derive(Debug, Args)]
pub(super) struct Given {
    /// Read the password from standard input: one line
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from a file: one line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Given {
    fn read(self) -> Result<Option<Password>, Exit> {
        // Its final size, so that no copy is left behind where it grew out of its place.
        let mut text = Zeroizing::new(String::with_capacity(8192));
        let (read, from) = match self.password_file {
            Some(path) => {
                let read = std::fs::File::open(&path)
                    .and_then(|file| file.take(LONGEST).read_to_string(&mut text));
                (read, format!("--password-file {}", path.display()))
            }
            None if self.password_stdin => {
                let stdin = std::io::stdin().lock();
                (stdin.take(LONGEST).read_to_string(&mut text), "--password-stdin".to_owned())
            }
            None => return Ok(None),
        };
        read.map_err(|error| Exit::Failed(format!("{from}: {error}")))?;
        let password = Password::choose_line(&text);
        password.map(Some).map_err(|what| Exit::Failed(format!("{from}: {what}")))
    }
}

impl Users {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let looks = matches!(self, Self::List | Self::Show { .. });
        let intent = if looks { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        match self {
            Self::Create { username, id, password } => {
                let password = password.read()?;
                show_password(global, &desk.create_user(&username, id, password, now).await?)
            }
            Self::List => show(global, &desk.users(now).await?),
            Self::Show { username } => print_json(&desk.user(&username, now).await?),
            Self::Disable { username } => show(global, &[desk.disable_user(&username, now).await?]),
            Self::Enable { username } => show(global, &[desk.enable_user(&username, now).await?]),
            Self::SetPassword { username, password, keep_sessions } => {
                let set =
                    desk.set_password(&username, password.read()?, keep_sessions, now).await?;
                show_password(global, &set)
            }
            Self::Delete { username } => {
                desk.delete_user(&username, now).await?;
                say(global, &json!({ "deleted": username }), &format!("deleted {username}"))
            }
        }
    }
}

fn show_password(global: &Global, new: &NewPassword) -> Result<(), Exit> {
    if global.json {
        return print_json(new);
    }
    print(format!("username  {}\nsubject   {}", new.username, new.subject))?;
    if let Some(password) = &new.password {
        print(format_args!("password  {}", password.expose()))?;
        print("\nThe password is shown this once; only a hash of it is kept.")?;
    }
    Ok(())
}

fn show(global: &Global, users: &[UserView]) -> Result<(), Exit> {
    if global.json {
        return print_json(&users);
    }
    let row = |user: &UserView| {
        let state = match (user.disabled, user.has_password) {
            (true, _) => "disabled",
            (false, true) => "enabled",
            (false, false) => "no password",
        };
        vec![
            user.username.clone(),
            user.subject.clone(),
            state.to_owned(),
            user.signed_in_at.clone().unwrap_or_else(|| "never".to_owned()),
            user.live_sessions.to_string(),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    print(table(&["USERNAME", "SUBJECT", "STATE", "LAST SIGN-IN", "LIVE SESSIONS"], &rows))
}
