//! The command line: a skin over `app` and `manage`. It parses, calls, and prints: tables for
//! people, JSON for programs (`--json`), results on standard output and everything else on standard
//! error. Secrets are read from files or standard input, never from arguments, which every user of
//! the machine can see.

mod apply;
mod audit;
mod clients;
mod completions;
mod config;
mod context;
mod dev;
mod doctor;
mod findings;
mod keys;
mod recover;
mod resources;
mod revoke;
mod secrets;
mod serve;
mod session;
mod stdin;
mod table;
mod token;
mod user;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::clock::Clock;
use crate::config::{Settings, Sources};
use crate::error::Exit;
use crate::secret::REFRESH_TOKEN_PREFIX;
use crate::store::migrate::{self, Standing};
use crate::{app, telemetry};

/// A standalone OAuth 2 token issuer.
#[derive(Debug, Parser)]
#[command(
    name = "jeton",
    version,
    about,
    after_help = "Examples:\n  jeton serve --dev\n  jeton doctor \
             --config /etc/jeton.toml\n  jeton help client create"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Args)]
struct Global {
    /// Settings, in TOML; config/default.toml in the source lists them all
    #[arg(long, global = true, value_name = "FILE", env = "JETON_CONFIG")]
    config: Option<PathBuf>,
    /// Where the embedded database and the root secrets lie unless configured otherwise
    #[arg(long, global = true, value_name = "DIR", default_value = "data", env = "JETON_DATA_DIR")]
    data_dir: PathBuf,
    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve tokens
    #[command(after_help = "Examples:\n  jeton serve --dev\n  jeton serve --config \
                            /etc/jeton.toml --apply clients.toml\n  jeton serve --ephemeral \
                            --apply test.toml --ready-file ready.json")]
    Serve(serve::Serve),
    /// Bring the database's schema up to date; any number may run at once
    #[command(after_help = "Example:\n  jeton migrate --config /etc/jeton.toml")]
    Migrate,
    /// Bring clients, resources and people to what a file says
    #[command(after_help = "Example:\n  jeton apply -f clients.toml --dry-run")]
    Apply(apply::Apply),
    /// Clients: the programs that ask for tokens
    #[command(subcommand, after_help = "Example:\n  jeton client list")]
    Client(clients::Clients),
    /// Resources: the APIs that tokens are for
    #[command(subcommand, after_help = "Example:\n  jeton resource list")]
    Resource(resources::Resources),
    /// People: those who sign in
    #[command(subcommand, after_help = "Example:\n  jeton user list")]
    User(user::Users),
    /// Sign-ins: who is signed in where, and ending that
    #[command(subcommand, after_help = "Example:\n  jeton session list --user alice")]
    Session(session::Sessions),
    /// Signing keys and their rotation
    #[command(subcommand, after_help = "Example:\n  jeton keys list")]
    Keys(keys::Keys),
    /// The root secrets, which seal signing keys and client secrets
    #[command(
        subcommand,
        after_help = "Example:\n  jeton secrets generate --out data/root-secrets"
    )]
    Secrets(secrets::Secrets),
    /// Take tokens back: one, or everything of a client or a resource, or everything
    #[command(after_help = "Examples:\n  jeton revoke --token-stdin < token\n  jeton revoke \
                            --client app --dry-run\n  jeton revoke --all --before \
                            2026-01-31T12:00:00Z")]
    Revoke(revoke::Revoke),
    /// After a backup was restored: let sign-ins go on that are ahead of the database
    #[command(after_help = "Examples:\n  jeton recover --lost-since 2026-01-31T12:00:00Z \
                            --dry-run\n  jeton recover --close")]
    Recover(recover::Recover),
    /// The audit trail: what happened to clients, people, resources and keys, and who did it
    #[command(subcommand, after_help = "Example:\n  jeton audit list")]
    Audit(audit::Audit),
    /// Settings: check them, and see which are in effect
    #[command(subcommand, after_help = "Example:\n  jeton config show")]
    Config(config::Config),
    /// Look at everything that a server needs: files, database, clock, root secrets, keys. Nothing is
    /// changed; exit status 1 if something is wrong
    #[command(after_help = "Examples:\n  jeton doctor --config /etc/jeton.toml\n  jeton doctor \
                            --json")]
    Doctor,
    /// Tokens that somebody wonders about, read from standard input
    #[command(subcommand, after_help = "Example:\n  jeton token inspect - < token")]
    Token(token::Tokens),
    /// Print a script that completes jeton's commands in a shell
    #[command(after_help = "Example:\n  jeton completions bash > \
                            /etc/bash_completion.d/jeton")]
    Completions(completions::Completions),
}

/// The command line as data: for completions, and for tests that hold the help to its promises.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // The library's message would repeat the token.
        Err(error)
            if error.use_stderr()
                && std::env::args_os().any(|arg| looks_like_token(&arg.to_string_lossy())) =>
        {
            report(&Exit::Failed(token::NEVER_AN_ARGUMENT.to_owned()));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    let outcome = actix_web::rt::System::new().block_on(run(cli));
    telemetry::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            report(&exit);
            ExitCode::from(exit.status())
        }
    }
}

/// Every JWT begins so: it is `{"` in base64url. Refresh tokens have a name of their own.
fn looks_like_token(argument: &str) -> bool {
    argument.contains("eyJ") || argument.contains(REFRESH_TOKEN_PREFIX)
}

#[expect(clippy::print_stderr, reason = "the last word of a process that cannot go on")]
fn report(exit: &Exit) {
    eprintln!("jeton: {exit}");
}

async fn run(cli: Cli) -> Result<(), Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Serve(serve) => serve.run(global).await,
        Command::Migrate => migrate_schema(global).await,
        Command::Apply(apply) => apply.run(global).await,
        Command::Client(clients) => clients.run(global).await,
        Command::Resource(resources) => resources.run(global).await,
        Command::User(users) => users.run(global).await,
        Command::Session(sessions) => sessions.run(global).await,
        Command::Keys(keys) => keys.run(global).await,
        Command::Secrets(secrets) => secrets.run(global).await,
        Command::Revoke(revoke) => revoke.run(global).await,
        Command::Recover(recover) => recover.run(global).await,
        Command::Audit(audit) => audit.run(global).await,
        Command::Config(config) => config.run(global),
        Command::Doctor => doctor::run(global).await,
        Command::Token(token) => token.run(global).await,
        Command::Completions(completions) => completions.run(),
    }
}

impl Global {
    /// Where settings come from, with the defaults of a mode.
    fn sources(&self, defaults: Vec<(&'static str, String)>) -> Sources {
        Sources { file: self.config.clone(), data_dir: self.data_dir.clone(), defaults }
    }
}

/// Reads the settings, with the defaults of a mode.
fn settings(global: &Global, defaults: Vec<(&'static str, String)>) -> Result<Settings, Exit> {
    Ok(Settings::load(&global.sources(defaults))?)
}

async fn migrate_schema(global: &Global) -> Result<(), Exit> {
    let settings = settings(global, Vec::new())?;
    telemetry::start_log(&settings.log).map_err(Exit::Refused)?;
    let db = context::open(&settings).await?;
    let clock = Clock::system();
    app::wait_for_database(&db, &clock, app::COMMAND).await?;
    let mut steps = Vec::new();
    migrate::migrate(&db, clock.now(), |step| steps.push(step.name)).await?;
    let (schema, standing) = migrate::standing(&db).await?;
    let knows = migrate::NEWEST;
    let sentence = match standing {
        Standing::Expanded => format!(
            "nothing to do: the schema is at {schema}, newer than this binary knows ({knows}), \
             and lets it serve"
        ),
        Standing::TooNew(needed) => format!(
            "nothing to do: the schema is at {schema}, newer than this binary knows ({knows}), and \
             lets none serve that does not know {needed}; run a newer jeton"
        ),
        _ if steps.is_empty() => format!("nothing to do: the schema is at {schema}"),
        _ => format!("applied {}", steps.join(", ")),
    };
    say(global, &json!({ "applied": steps, "schema": schema }), &sentence)
}

/// Says what was done: a sentence for people, an object for programs.
fn say(global: &Global, done: &serde_json::Value, sentence: &str) -> Result<(), Exit> {
    if global.json { print_json(done) } else { print(sentence) }
}

/// Prints lines on standard output. Whoever reads them may have seen enough (`| head`): that is no
/// failure, and `println!` would panic.
fn print(lines: impl Display) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{lines}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says something that is not a result.
#[expect(clippy::print_stderr, reason = "standard output belongs to results")]
fn note(sentence: &str) {
    eprintln!("jeton: {sentence}");
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(value);
    print(&text.map_err(|error| Exit::Failed(error.to_string()))?)
}
