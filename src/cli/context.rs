//! What a command needs before it can act.

use crate::app;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::{Issuer, Time};
use crate::error::Exit;
use crate::manage::Desk;
use crate::store::{Db, instance};
use crate::telemetry;

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

/// What a command is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only look: a database that is nobody's stays so.
    Look,
    /// Write: a database that is nobody's becomes the configured issuer's.
    Act,
}

/// Opens everything that a command works on. An issuer that is not configured is read from the
/// database, so that commands beside `serve --dev` need no configuration.
pub(super) async fn context(global: &Global, intent: Intent) -> Result<Context, Exit> {
    let settings = super::settings(global, Vec::new())?;
    telemetry::start_log(&settings.log).map_err(Exit::Refused)?;
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
    app::wait_for_database(&db, &clock, app::COMMAND).await?;
    app::check_schema(&db).await?;
    let now = clock.now();
    let issuer = issuer(&db, settings.issuer.as_ref(), intent, now).await?;
    let desk = app::desk(&settings, db, issuer, &actor())?;
    desk.learn_of_thefts().await?;
    Ok(Context { desk, now })
}

async fn issuer(
    db: &Db,
    configured: Option<&Issuer>,
    intent: Intent,
    now: Time,
) -> Result<Issuer, Exit> {
    let found = instance::load(db).await?;
    let owner = match (&found, configured) {
        (Some(found), None) => Issuer::parse(&found.issuer)
            .map_err(|what| Exit::Failed(format!("the stored issuer: {what}")))?,
        (None, None) => return Err(Exit::Refused("the setting `issuer` is missing".to_owned())),
        (_, Some(configured)) => configured.clone(),
    };
    if found.is_some() || intent == Intent::Act {
        app::claim(db, &owner, found.is_some_and(|found| found.is_dev), now).await?;
    }
    Ok(owner)
}

/// Who acts, for the audit trail: the user of the operating system.
fn actor() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("operator {user}")
}
