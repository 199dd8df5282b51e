//! The database: its clock, its schema, whose it is, and how it keeps what it confirms.

use crate::clock::{Clock, REFUSE, WARN};
use crate::domain::{Issuer, Time};
use crate::manage::finding::Finding;
use crate::manage::shown;
use crate::store::doctor;
use crate::store::instance::Instance;
use crate::store::migrate::Standing;
use crate::store::{Db, Pooler, StoreError, migrate, native};

/// Whether it answers; then how far its clock is from this machine's.
pub(super) async fn answers(db: &Db, clock: &Clock) -> Result<Finding, String> {
    const CHECK: &str = "clock";
    let sample = native::server_time(db, clock).await.map_err(|error| error.to_string())?;
    let skew = clock.follow(sample);
    if !db.is_postgres() {
        return Ok(Finding::good(CHECK, "the embedded database uses this machine's"));
    }
    let what = format!("this machine's and the database's differ by {:.3} s", skew.as_secs_f64());
    let remedy = "set both right, with a time service such as chrony";
    Ok(if skew > REFUSE {
        Finding::bad(CHECK, format!("{what}; no server starts")).remedy(remedy)
    } else if skew > WARN {
        Finding::bad(CHECK, what).remedy(remedy)
    } else {
        Finding::good(CHECK, what)
    })
}

/// The schema, and whether there are tables at all.
pub(super) async fn schema(db: &Db) -> (Finding, bool) {
    const CHECK: &str = "schema";
    let (oldest, newest) = (migrate::OLDEST, migrate::NEWEST);
    let (version, standing) = match migrate::standing(db).await {
        Ok(found) => found,
        Err(error) => return (cannot(CHECK, &error), false),
    };
    let what = format!("the database is at {version}, and this binary serves {oldest} to {newest}");
    let finding = match standing {
        Standing::Known if version == newest => Finding::good(CHECK, what),
        Standing::Known => Finding::warning(CHECK, what).remedy("run `jeton migrate`"),
        Standing::Expanded => Finding::good(CHECK, format!("{what}; the later steps let it go on")),
        Standing::TooOld => Finding::bad(CHECK, what).remedy("run `jeton migrate`"),
        Standing::TooNew(needed) => {
            Finding::bad(CHECK, format!("{what}; a later step wants one that knows {needed}"))
                .remedy("run a newer jeton, or restore the backup from before the upgrade")
        }
    };
    (finding, version > 0)
}

/// Whose database it is, and for whom to look at its keys.
pub(super) fn issuer(
    configured: Option<&Issuer>,
    stored: Result<Option<Instance>, StoreError>,
) -> (Finding, Option<Issuer>) {
    const CHECK: &str = "issuer";
    let stored = match stored {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            let what = "the database is nobody's yet";
            let remedy = "the first `jeton serve` claims it";
            return (Finding::warning(CHECK, what).remedy(remedy), configured.cloned());
        }
        Err(error) => return (cannot(CHECK, &error), configured.cloned()),
    };
    let Ok(owner) = Issuer::parse(&stored.issuer) else {
        let what = "the database holds a name that is no issuer";
        return (Finding::bad(CHECK, what).remedy("restore it from a backup"), None);
    };
    let finding = match configured {
        Some(configured) if *configured != owner => Finding::bad(
            CHECK,
            format!("the database belongs to {owner}, and the configuration says {configured}"),
        )
        .remedy("set issuer back, or name another database"),
        // Development names it after its listener.
        None if !stored.is_dev => Finding::bad(
            CHECK,
            format!("the database belongs to {owner}, and the configuration names no issuer"),
        )
        .remedy(format!("set issuer = \"{owner}\"; without it no server starts")),
        _ => Finding::good(CHECK, format!("the database belongs to {owner}")),
    };
    (finding, Some(owner))
}

/// Whether our role may write.
pub(super) async fn writing(db: &Db, now: Time) -> Finding {
    const CHECK: &str = "writing";
    match doctor::can_write(db, now).await {
        Ok(()) => Finding::good(CHECK, "rows can be changed and added (tried, and rolled back)"),
        Err(error @ StoreError::Contended) => cannot(CHECK, &error),
        Err(error) => Finding::bad(CHECK, error.to_string()).remedy(
            "give Jeton's role all rights on its tables, or name the primary and no standby in \
             database.url",
        ),
    }
}

/// Whether an operator said that the database lost something, and has not closed that yet.
pub(super) fn recovery(open: Result<Option<Time>, StoreError>) -> Finding {
    const CHECK: &str = "recovery";
    match open {
        Ok(None) => Finding::good(CHECK, "none is open"),
        Ok(Some(since)) => Finding::warning(
            CHECK,
            format!(
                "open since {} was lost: a refresh token that is ahead of its row is believed",
                shown(since)
            ),
        )
        .remedy("once apps have been back, run `jeton recover --close`"),
        Err(error) => cannot(CHECK, &error),
    }
}

/// What really stands between us and Postgres.
pub(super) async fn pooler(db: &Db, configured: Pooler) -> Finding {
    const CHECK: &str = "pooler";
    match (doctor::moves_between_servers(db).await, configured) {
        (Ok(true), Pooler::None) => Finding::bad(
            CHECK,
            "connections are moved between servers: a pooler in transaction mode, such as \
             PgBouncer, stands in between, and database.pooler is \"none\"",
        )
        .remedy("set database.pooler to \"transaction\""),
        (Ok(true), Pooler::Transaction) => {
            Finding::good(CHECK, "one in transaction mode stands in between, as configured")
        }
        (Ok(false), Pooler::None) => {
            Finding::good(CHECK, "no connection was moved between servers")
        }
        (Ok(false), Pooler::Transaction) => Finding::good(
            CHECK,
            "database.pooler is \"transaction\", and no connection was moved just now",
        ),
        (Err(error), _) => cannot(CHECK, &error),
    }
}

/// Whether what is confirmed outlives a crash of Postgres, and of its machine.
pub(super) async fn durability(db: &Db) -> Vec<Finding> {
    const CHECK: &str = "durability";
    let durability = match doctor::durability(db).await {
        Ok(Some(durability)) => durability,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![cannot(CHECK, &error)],
    };
    let disk = if durability.fsync {
        Finding::good(CHECK, "fsync is on")
    } else {
        Finding::bad(CHECK, "fsync is off: a crash of the machine can spoil the whole database")
            .remedy("set fsync = on in Postgres")
    };
    let level = &durability.synchronous_commit;
    let commit = if level == "off" {
        Finding::warning(CHECK, "synchronous_commit is off: a crash takes the latest commits back")
            .remedy("set synchronous_commit = on in Postgres, or for Jeton's role")
    } else {
        Finding::good(CHECK, format!("synchronous_commit is {level}"))
    };
    let standby = if durability.has_standby {
        Finding::good(CHECK, "a commit waits for a standby (synchronous_standby_names)")
    } else {
        Finding::warning(CHECK, "no synchronous standby: a failover may lose the latest commits")
            .remedy("name one in synchronous_standby_names, if that is too dear to lose")
    };
    vec![disk, commit, standby]
}

/// A check that the database did not let us make.
pub(super) fn cannot(check: &'static str, error: &StoreError) -> Finding {
    Finding::unknown(check, format!("not checked: {error}"))
}
