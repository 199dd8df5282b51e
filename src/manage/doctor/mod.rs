//! `jeton doctor`: what an operator would look at one by one. No check needs a healthy system: one
//! that cannot run says why, and the rest still runs. Nothing is changed.

mod certificate;
mod database;
mod files;
mod keys;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use super::finding::Finding;
use crate::clock::Clock;
use crate::domain::family::RefreshRules;
use crate::domain::schedule::Policy;
use crate::domain::{Issuer, Time};
use crate::secret::Vault;
use crate::store::instance;
use crate::store::{Db, Pooler};

/// What is looked at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The database, or why there is none.
    pub database: Result<Db, String>,
    /// The embedded database's file, if it is one.
    pub sqlite: Option<&'a Path>,
    /// What is configured to stand between us and Postgres.
    pub pooler: Pooler,
    /// The data directory.
    pub data_dir: &'a Path,
    /// The root-secret file.
    pub secrets_file: &'a Path,
    /// The certificate and the key of the public listener, if it has them.
    pub tls: Option<(&'a Path, &'a Path)>,
    /// The configured issuer, if any.
    pub issuer: Option<Issuer>,
    /// The configured key schedule.
    pub policy: &'a Policy,
    /// What is configured for sign-ins.
    pub refresh: RefreshRules,
}

/// The checks that need a database, in order.
const OF_DATABASE: &[&str] = &[
    "clock",
    "schema",
    "issuer",
    "writing",
    "recovery",
    "pooler",
    "durability",
    "secret ids",
    "keys",
];

/// The checks that need its tables.
const OF_TABLES: &[&str] = &["issuer", "writing", "recovery", "secret ids", "keys"];

/// Every check that cannot run, with the reason.
pub fn skipped(checks: &[&'static str], why: &str) -> Vec<Finding> {
    checks.iter().map(|check| Finding::unknown(check, format!("not checked: {why}"))).collect()
}

/// Every check of a subject that could not even be put together.
pub fn nothing(why: &str) -> Vec<Finding> {
    let files = ["data directory", "database file", "root secrets", "database"];
    skipped(&[&files, OF_DATABASE].concat(), why)
}

/// Looks at everything.
pub async fn examine(subject: &Subject<'_>, clock: &Clock) -> Vec<Finding> {
    let mut found = files::check(subject);
    found.extend(certificate::check(subject, clock.now()));
    let answer = match &subject.database {
        Ok(db) => database::answers(db, clock).await.map(|clock| (db, clock)),
        Err(why) => Err(why.clone()),
    };
    match answer {
        Ok((db, skew)) => {
            found.push(Finding::good("database", kind(db)));
            found.push(skew);
            found.extend(of_database(subject, db, clock.now()).await);
        }
        Err(why) => {
            let remedy = "see that it runs, and that database.url is right";
            found.push(Finding::bad("database", why).remedy(remedy));
            found.extend(skipped(OF_DATABASE, "the database does not answer"));
            // A pooler that we do not know of is a reason for not getting answers.
            if let Some(db) = subject.database.as_ref().ok().filter(|db| db.is_postgres()) {
                found.retain(|one| one.check != "pooler");
                found.push(database::pooler(db, subject.pooler).await);
            }
        }
    }
    found
}

fn kind(db: &Db) -> &'static str {
    if db.is_postgres() { "Postgres answers" } else { "the embedded database answers" }
}

async fn of_database(subject: &Subject<'_>, db: &Db, now: Time) -> Vec<Finding> {
    let (schema, has_tables) = database::schema(db).await;
    let mut found = vec![schema];
    if db.is_postgres() {
        found.push(database::pooler(db, subject.pooler).await);
        found.extend(database::durability(db).await);
    }
    if !has_tables {
        found.extend(skipped(OF_TABLES, "the database has no tables of ours"));
        return found;
    }
    let stored = instance::load(db).await;
    let (owner, issuer) = database::issuer(subject.issuer.as_ref(), stored);
    found.push(owner);
    found.push(database::writing(db, now).await);
    found.push(database::recovery(instance::lost_since(db).await));
    let name = issuer.as_ref().map(Issuer::as_str).unwrap_or_default();
    // Where this fails, the file's own check has said why.
    let secrets = Vault::open(subject.secrets_file.to_owned(), name).ok();
    found.push(keys::needed(db, secrets.as_ref(), now).await);
    match (issuer, secrets) {
        (Some(issuer), Some(secrets)) => {
            let desk = desk(subject, db, issuer, secrets);
            found.extend(keys::check(&desk, now).await);
        }
        (None, _) => found.extend(skipped(&["keys"], "nobody knows whose they are")),
        (_, None) => found.extend(skipped(&["keys"], "the root secrets cannot be read")),
    }
    found
}

fn desk(subject: &Subject<'_>, db: &Db, issuer: Issuer, secrets: Vault) -> Desk {
    Desk {
        db: db.clone(),
        secrets: Arc::new(secrets),
        issuer,
        policy: subject.policy.clone(),
        refresh: subject.refresh,
        trusted: Duration::ZERO,
        revocation_bound: Duration::ZERO,
        actor: "doctor".to_owned(),
    }
}
