//! `jeton config …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::table::table;
use super::{Global, dev, print, print_json, say, serve};
use crate::app;
use crate::config::{DatabaseUrl, Origin, Problems, Setting, Settings};
use crate::error::Exit;
use crate::telemetry;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Read every source as `serve` would, and report everything that is wrong (exit status 78)
    #[command(after_help = "Examples:\n  jeton config check --config /etc/jeton.toml\n  \
                            jeton config check --dev")]
    Check(Mode),
    /// Show every setting that is in effect and where it comes from; no secret is shown
    #[command(after_help = "Examples:\n  jeton config show --config /etc/jeton.toml\n  \
                            jeton config show --dev --json")]
    Show(Mode),
}

#[derive(Debug, Clone, Args)]
pub(super) struct Mode {
    /// As `serve --dev` reads it
    #[arg(long, conflicts_with = "ephemeral")]
    dev: bool,
    /// As `serve --ephemeral` reads it
    #[arg(long)]
    ephemeral: bool,
}

impl Config {
    pub(super) fn run(self, global: &Global) -> Result<(), Exit> {
        match self {
            Self::Check(mode) => {
                let checked = mode.check(global);
                if let (true, Err(Exit::Config(problems))) = (global.json, &checked) {
                    print_json(&json!({ "ok": false, "problems": problems.0 }))?;
                }
                checked?;
                say(global, &json!({ "ok": true }), "ok")
            }
            Self::Show(mode) => show(global, &mode.explain(global)?.1),
        }
    }
}

impl Mode {
    fn explain(&self, global: &Global) -> Result<(Settings, Vec<Setting>), Exit> {
        let mut sources = global.sources(serve::defaults(self.dev, self.ephemeral));
        if self.ephemeral {
            sources.data_dir = PathBuf::from("<temporary>");
        }
        let (mut settings, mut found) = Settings::explain(&sources)?;
        if self.dev {
            serve::name_for_development(&mut settings);
        }
        if self.ephemeral {
            // As `serve` does it: whatever the other sources say.
            settings.database.url = DatabaseUrl::embedded(&sources.data_dir);
            let url = settings.database.url.expose();
            for one in found.iter_mut().filter(|one| one.key == "database.url") {
                (one.value, one.source) = (Some(url.to_owned()), Origin::Mode);
            }
        }
        for one in found.iter_mut().filter(|one| one.key == "issuer" && one.value.is_none()) {
            if let Some(issuer) = &settings.issuer {
                (one.value, one.source) = (Some(issuer.to_string()), Origin::Mode);
            }
        }
        Ok((settings, found))
    }

    /// What `serve` would refuse, too: a configuration that passes here starts there.
    fn check(&self, global: &Global) -> Result<(), Exit> {
        let (settings, _) = self.explain(global)?;
        let mut problems = Vec::new();
        if self.dev || self.ephemeral {
            dev::check(&settings, if self.dev { "--dev" } else { "--ephemeral" })?;
        } else if settings.issuer.is_none() {
            problems.push(serve::NO_ISSUER.to_owned());
        }
        problems.extend(telemetry::check_log(&settings.log).err());
        let database = app::check_database(&settings.database);
        problems.extend(database.err().map(|error| error.to_string()));
        let certificate = app::check_certificate(&settings.server);
        problems.extend(certificate.err().map(|error| error.to_string()));
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems).into()) }
    }
}

fn show(global: &Global, found: &[Setting]) -> Result<(), Exit> {
    if global.json {
        return print_json(&found);
    }
    let row = |one: &Setting| {
        let source = match (one.source, &global.config) {
            (Origin::File, Some(file)) => format!("file {}", file.display()),
            (source, _) => source.name().to_owned(),
        };
        let value = one.value.clone().unwrap_or_else(|| "(not set)".to_owned());
        vec![one.key.clone(), value, source]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    print(table(&["SETTING", "VALUE", "FROM"], &rows))
}
