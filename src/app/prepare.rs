//! What must be there before a server or a command can act: a database that answers and agrees
//! about the time, a schema that we know, the right issuer, secrets that open the keys.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, REFUSE, WARN};
use crate::config::{self, Settings};
use crate::domain::{Issuer, Time};
use crate::error::Exit;
use crate::jobs::{Keeper, Polling};
use crate::manage::Desk;
use crate::mirror::RingKey;
use crate::secret::Vault;
use crate::store::instance::{self, Instance};
use crate::store::migrate::Standing;
use crate::store::{Db, Open, Pooler, StoreError, migrate, native};

/// How long the start of a server waits for the database.
pub(super) const START: Duration = Duration::from_secs(60);

/// How long a command waits for the database: somebody sits in front of it.
pub const COMMAND: Duration = Duration::from_secs(5);

/// Opens the database of the settings.
pub async fn open(database: &config::Database) -> Result<Db, Exit> {
    check_database(database)?;
    let url = database.url.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let directory = Path::new(path).parent().filter(|path| !path.as_os_str().is_empty());
        directory.map_or(Ok(()), data_directory)?;
    }
    let pooler = pooler(database);
    Ok(Db::open(&Open { url, connections: database.pool, pooler }).await?)
}

/// Refuses a URL of which no database can be opened; nothing is asked of any.
pub fn check_database(database: &config::Database) -> Result<(), Exit> {
    crate::store::check_url(database.url.expose(), pooler(database))
        .map_err(|what| Exit::Refused(what.to_owned()))
}

/// What is configured to stand between us and Postgres.
pub const fn pooler(database: &config::Database) -> Pooler {
    if database.transaction_pooler { Pooler::Transaction } else { Pooler::None }
}

/// Makes a data directory, if there is none, for its owner alone: what lies in it (an embedded
/// database, secrets of development) is nobody else's.
pub fn data_directory(path: &Path) -> Result<(), Exit> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Exit::Refused(format!("the data directory {}: {error}", path.display())))
}

/// Waits until the database answers, and takes its time over. Refuses to go on if the clocks differ
/// by more than half a minute: then one of them is wrong, and tokens would be born expired.
pub async fn wait_for_database(db: &Db, clock: &Clock, patience: Duration) -> Result<(), Exit> {
    let started = clock.tick();
    loop {
        match native::server_time(db, clock).await {
            Ok(sample) => {
                let skew = clock.follow(sample);
                if skew > REFUSE {
                    return Err(Exit::Refused(format!(
                        "the clocks of this machine and of the database differ by {} s; set them \
                         right (a time service such as chrony) and start again",
                        skew.as_secs()
                    )));
                }
                if skew > WARN {
                    tracing::warn!(skew_seconds = skew.as_secs_f64(), "the clocks differ");
                }
                return Ok(());
            }
            // A wrong password or name does not become right by waiting.
            Err(error @ StoreError::Fault(_)) => return Err(Exit::Refused(error.to_string())),
            Err(error) if clock.elapsed(started) > patience => {
                return Err(Exit::Unavailable(format!(
                    "{error}; gave up after {}",
                    humantime::format_duration(patience)
                )));
            }
            Err(error) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Takes a step of a server's start, and takes it again where the database was away or held up by others,
/// until the start has gone on for as long as it may: replicas that start together are in each other's
/// way, and one that ended for that would only begin again later.
pub(super) async fn patiently<T>(
    began: Instant,
    mut step: impl AsyncFnMut() -> Result<T, Exit>,
) -> Result<T, Exit> {
    loop {
        match step().await {
            Err(Exit::Unavailable(why)) if began.elapsed() < START => {
                tracing::warn!(%why, "the start waits for the database");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Refuses a schema that this binary cannot serve, and says what to do.
pub async fn check_schema(db: &Db) -> Result<(), Exit> {
    let (found, standing) = migrate::standing(db).await?;
    let (oldest, newest) = (migrate::OLDEST, migrate::NEWEST);
    match standing {
        Standing::Known | Standing::Expanded => Ok(()),
        Standing::TooOld => Err(Exit::Refused(format!(
            "the database has schema {found}, and this binary needs {oldest} to {newest}; run \
             `jeton migrate` (or `jeton serve --migrate`)"
        ))),
        Standing::TooNew(needed) => Err(Exit::Refused(format!(
            "the database has schema {found}, which only a binary that knows schema {needed} may \
             serve, and this one knows {oldest} to {newest}; run a newer jeton, or restore the \
             backup from before the upgrade"
        ))),
    }
}

/// Refuses a schema that is too new. What is too old may be migrated yet.
pub(super) async fn check_not_newer(db: &Db) -> Result<(), Exit> {
    match migrate::standing(db).await? {
        (_, Standing::TooNew(_)) => check_schema(db).await,
        (schema, Standing::Expanded) => {
            let knows = migrate::NEWEST;
            tracing::info!(
                schema,
                knows,
                "the schema is newer than this binary, and lets it serve"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The configured issuer; an issuer without one (dev, ephemeral) is named after its listener.
pub(super) fn issuer(settings: &Settings, public: SocketAddr) -> Result<Issuer, Exit> {
    match &settings.issuer {
        Some(issuer) => Ok(issuer.clone()),
        None => Issuer::parse(&format!("{}://{public}", settings.server.scheme()))
            .map_err(|what| Exit::Refused(format!("issuer: {what}"))),
    }
}

/// Claims the database for the issuer, or refuses one that belongs to another.
pub async fn claim(db: &Db, issuer: &Issuer, is_dev: bool, now: Time) -> Result<(), Exit> {
    let instance = instance::claim(db, issuer.as_str(), is_dev, now).await?;
    suits(&instance, Some(issuer), is_dev)
}

/// Refuses a database that belongs to another before anything is written to it.
pub(super) async fn check_owner(
    db: &Db,
    issuer: Option<&Issuer>,
    is_dev: bool,
) -> Result<(), Exit> {
    if migrate::version(db).await? == 0 {
        return Ok(());
    }
    let instance = instance::load(db).await?;
    instance.map_or(Ok(()), |instance| suits(&instance, issuer, is_dev))
}

fn suits(instance: &Instance, issuer: Option<&Issuer>, is_dev: bool) -> Result<(), Exit> {
    if let Some(issuer) = issuer.filter(|issuer| instance.issuer != issuer.as_str()) {
        return Err(Exit::Refused(format!(
            "this database belongs to the issuer {}, and the configuration says {issuer}: every \
             token and every registered client knows the old name; set issuer back, or start with \
             another database (another --data-dir)",
            instance.issuer
        )));
    }
    if instance.is_dev && !is_dev {
        return Err(Exit::Refused(
            "this database was made by `serve --dev`, and its secrets lie beside it in the clear; \
             start with another database"
                .to_owned(),
        ));
    }
    if is_dev && !instance.is_dev {
        return Err(Exit::Refused(
            "this database was not made by `serve --dev`; development does not touch it".to_owned(),
        ));
    }
    Ok(())
}

/// The desk of a server or a command.
pub fn desk(settings: &Settings, db: Db, issuer: Issuer, actor: &str) -> Result<Desk, Exit> {
    let file = &settings.secrets_file;
    if !file.exists() {
        return Err(Exit::Refused(format!(
            "there is no root-secret file {}; make one with `jeton secrets generate --out {}`, and \
             keep a copy somewhere safe: without it the database is worthless",
            file.display(),
            file.display()
        )));
    }
    let secrets = Arc::new(Vault::open(file.clone(), issuer.as_str())?);
    Ok(Desk {
        db,
        secrets,
        issuer,
        policy: settings.keys.clone(),
        refresh: settings.refresh,
        trusted: settings.clients_max_staleness,
        revocation_bound: settings.revocation_max_staleness,
        actor: actor.to_owned(),
    })
}

/// Loads the keys, makes the first ones, and refuses to serve if they cannot be opened: an issuer
/// that cannot sign should say so at its start and not at its first request.
pub(super) async fn first_keys(keeper: &Keeper, polling: &mut Polling) -> Result<(), Exit> {
    // Another replica may make the first keys at this moment, by a clock a little ahead of ours:
    // they sign in an instant, not yet.
    for _ in 0..20 {
        polling.poll().await?;
        let (now, certain) = (keeper.clock.now(), keeper.clock.is_certain());
        keeper.desk.maintain(now, certain).await?;
        polling.poll().await?;
        let (keys, now) = (keeper.mirror.keys(), keeper.clock.now());
        if keeper.desk.policy.algorithms.iter().any(|line| keys.can_sign(*line, now)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let keys = keeper.mirror.keys();
    let held =
        keeper.desk.secrets.now().ids().iter().map(|id| id.0.to_string()).collect::<Vec<_>>();
    let trouble =
        |ring: &RingKey| Some(format!("\n  {}: {}", ring.key.kid, ring.trouble.as_ref()?));
    let troubles: String = keys.iter().filter_map(trouble).collect();
    Err(Exit::Refused(format!(
        "no signing key can be used; the root-secret file holds the ids {}{troubles}",
        held.join(", "),
    )))
}
