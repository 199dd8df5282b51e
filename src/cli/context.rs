//! What a command needs before it can act.

use crate::app;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::{Issuer, Time};
use crate::error::Exit;
use crate::manage::Desk;
use crate::store::{Db, instance};

use super::Global;

/// A desk at an existing database, and the time there.
pub(super) struct Context {
    pub desk: Desk,
    pub now: Time,
}

/// Opens the database of the settings.
pub(super) async fn open(settings: &Settings) -> Result<Db, Exit> {
    app::open(&settings.database).await
}

/// Opens everything that a command works on. An issuer that is not configured is read from the
/// database, so that commands beside `serve --dev` need no configuration.
pub(super) async fn context(global: &Global) -> Result<Context, Exit> {
    let settings = super::settings(global, Vec::new())?;
    if let Some(path) = settings.database.url.expose().strip_prefix("sqlite:")
        && !std::path::Path::new(path).exists()
    {
        return Err(Exit::Refused(format!(
            "there is no database {path}; run `jeton serve --dev` to make one for development, or \
             name yours with --config or --data-dir"
        )));
    }
    let db = open(&settings).await?;
    let clock = Clock::system();
    app::wait_for_database(&db, &clock).await?;
    app::check_schema(&db).await?;
    let now = clock.now();
    let issuer = issuer(&db, settings.issuer.as_ref(), now).await?;
    let desk = app::desk(&settings, db, issuer, &actor())?;
    Ok(Context { desk, now })
}

async fn issuer(db: &Db, configured: Option<&Issuer>, now: Time) -> Result<Issuer, Exit> {
    let found = match configured {
        Some(issuer) => Some(instance::claim(db, issuer.as_str(), false, now).await?),
        None => instance::load(db).await?,
    };
    let Some(found) = found else {
        return Err(Exit::Refused("the setting `issuer` is missing".to_owned()));
    };
    if configured.is_some_and(|issuer| issuer.as_str() != found.issuer) {
        return Err(Exit::Refused(format!(
            "this database belongs to the issuer {}, and the configuration names another",
            found.issuer
        )));
    }
    Issuer::parse(&found.issuer).map_err(|what| Exit::Failed(format!("the stored issuer: {what}")))
}

/// Who acts, for the audit trail: the user of the operating system.
fn actor() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("operator {user}")
}
