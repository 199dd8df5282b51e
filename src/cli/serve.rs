//! `jeton serve`

use std::path::{Path, PathBuf};

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Global, dev, print, settings};
use crate::app::{self, ApplySource, Running, Setup};
use crate::clock::Clock;
use crate::config::{DatabaseUrl, Settings};
use crate::domain::Issuer;
use crate::error::Exit;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// For development on this machine: an embedded database in the data directory, secrets made
    /// on the spot, and a demonstration client
    #[arg(long, conflicts_with = "ephemeral")]
    dev: bool,
    /// For other projects' tests: an empty database that is gone afterwards, on free ports
    #[arg(long)]
    ephemeral: bool,
    /// Bring the schema up to date first
    #[arg(long)]
    migrate: bool,
    /// Bring clients, resources and people to what a file says before serving, and again within
    /// seconds whenever it, or a secret that it names, changes
    #[arg(long, value_name = "FILE")]
    apply: Option<PathBuf>,
    /// Once everything answers, write the real URLs to this file, as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        // The guard removes the ephemeral database when the server has stopped.
        let (global, _guard) = self.place(global)?;
        let settings = self.settings(&global)?;
        let traces = telemetry::start(&settings.log, settings.traces.as_ref());
        // The last of them are sent when this goes.
        let _traces = traces.map_err(Exit::Refused)?;
        no_core_dumps();
        let setup = self.setup(&settings, &global.data_dir)?;
        let mut signals = Signals::new()?;
        let clock = Clock::system();
        let running = tokio::select! {
            running = app::start(settings, setup, clock) => running?,
            () = signals.next() => return Ok(()),
        };
        self.announce(&running, &global.data_dir)?;
        let failed = tokio::select! {
            () = signals.next() => None,
            exit = running.failed() => Some(exit),
        };
        tracing::info!("stopping; a second signal stops at once");
        running.stop(signals.next()).await;
        failed.map_or(Ok(()), Err)
    }

    fn place(&self, global: &Global) -> Result<(Global, Option<tempfile::TempDir>), Exit> {
        let mut global = global.clone();
        if !self.ephemeral {
            return Ok((global, None));
        }
        let directory = tempfile::Builder::new().prefix("jeton-").tempdir()?;
        directory.path().clone_into(&mut global.data_dir);
        Ok((global, Some(directory)))
    }

    fn settings(&self, global: &Global) -> Result<Settings, Exit> {
        let mut settings = settings(global, defaults(self.dev, self.ephemeral))?;
        if self.dev {
            name_for_development(&mut settings);
        }
        if self.ephemeral {
            // Whatever the environment says: its database is gone afterwards.
            settings.database.url = DatabaseUrl::embedded(&global.data_dir);
            settings.database.url_file = None;
        }
        if self.dev || self.ephemeral {
            dev::check(&settings, if self.dev { "--dev" } else { "--ephemeral" })?;
        } else if settings.issuer.is_none() {
            return Err(Exit::Refused(NO_ISSUER.to_owned()));
        }
        Ok(settings)
    }

    fn setup(&self, settings: &Settings, data_dir: &Path) -> Result<Setup, Exit> {
        let is_dev = self.dev || self.ephemeral;
        let mut apply = Vec::new();
        if is_dev {
            dev::secrets(settings, data_dir)?;
        }
        if self.dev {
            apply.push(dev::demo(data_dir)?);
        }
        apply.extend(self.apply.clone().map(ApplySource::File));
        Ok(Setup { is_dev, migrate: self.migrate || is_dev, apply })
    }

    fn announce(&self, running: &Running, data_dir: &Path) -> Result<(), Exit> {
        let (issuer, operations) = (&running.issuer, running.operations);
        tracing::info!(%issuer, public = %running.public, %operations, "serving");
        if let Some(path) = &self.ready_file {
            let ready = json!({
                "issuer": issuer.as_str(),
                "token_endpoint": issuer.url("/oauth2/token"),
                "jwks_uri": issuer.url("/.well-known/jwks.json"),
                "metadata": issuer.url("/.well-known/openid-configuration"),
                "public": format!("{}://{}", running.scheme(), running.public),
                "operations": format!("http://{operations}"),
                "pid": std::process::id(),
            });
            write_whole(path, &format!("{ready:#}\n")).map_err(|error| {
                Exit::Failed(format!("--ready-file {}: {error}", path.display()))
            })?;
        }
        if self.dev {
            print(dev::welcome(running, data_dir))?;
        }
        Ok(())
    }
}

/// What a server without a name is told.
pub(super) const NO_ISSUER: &str = "the setting `issuer` is missing: the https URL under which apps reach this server; set it in \
     a --config file or as JETON__ISSUER. To try Jeton without any configuration, run `jeton serve \
     --dev`";

/// The settings of a mode, which everything else wins over.
pub(super) fn defaults(dev: bool, ephemeral: bool) -> Vec<(&'static str, String)> {
    let free = || "127.0.0.1:0".to_owned();
    let mut defaults = Vec::new();
    if dev || ephemeral {
        defaults.push(("server.drain_delay", "0s".to_owned()));
    }
    if ephemeral {
        defaults.push(("server.public", free()));
        defaults.push(("server.operations", free()));
    }
    defaults
}

/// A development server that nobody has named takes its name from its port.
pub(super) fn name_for_development(settings: &mut Settings) {
    if settings.issuer.is_none() && settings.server.public.port() != 0 {
        let name = format!("http://localhost:{}", settings.server.public.port());
        settings.issuer = Issuer::parse(&name).ok();
    }
}

/// A core dump would carry every private key to wherever dumps are collected.
fn no_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
}

/// Writes a file in one move, so that whoever waits for it never reads half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// The signals that end a server.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> Result<Self, Exit> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
