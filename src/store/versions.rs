//! What tells replicas that data they hold in memory has changed.

use super::db::args;
use super::{Db, StoreError, Tx, statements};
use crate::clock::{Clock, Sample};
use crate::domain::Time;

statements! {
    VERSION_BUMP on Both = "update versions set number = number + 1, stamp = $2 where part = $1";
    POLL_POSTGRES on Postgres =
        "select part, number, stamp,
                cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as time
         from versions";
    POLL_SQLITE on Sqlite =
        "select part, number, stamp, cast(unixepoch('subsec') * 1000000 as integer) as time
         from versions";
}

/// A part of the data that replicas hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Clients, their secrets, and resources.
    Directory,
    /// Signing keys.
    Keys,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Keys => "keys",
        }
    }
}

/// The version of one part. Versions are compared for equality only: after a failover or a restored
/// backup the number may go back, and the random stamp tells two histories apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Counts the writes.
    pub number: i64,
    stamp: i64,
}

/// The versions of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Versions {
    /// Of clients and resources.
    pub directory: Version,
    /// Of signing keys.
    pub keys: Version,
}

/// Announces a write to a part. Every act that writes to it begins with this: the row then also
/// serves as the lock that puts such acts in a row, one after the other.
pub async fn bump(tx: &mut Tx, part: Part) -> Result<(), StoreError> {
    let stamp: i64 = rand::random();
    match tx.run(&VERSION_BUMP, args![part.name(), stamp]).await? {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!("versions {}: missing", part.name()))),
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    part: String,
    number: i64,
    stamp: i64,
    time: i64,
}

/// Reads the versions and the database's time in one round trip. Whoever then reloads a part reads
/// at least what its version stands for.
pub async fn poll(db: &Db, clock: &Clock) -> Result<(Versions, Sample), StoreError> {
    let authoritative = db.is_postgres();
    let statement = if authoritative { &POLL_POSTGRES } else { &POLL_SQLITE };
    let sent = clock.tick();
    let rows: Vec<Row> = db.all(statement, args![]).await?;
    let received = clock.tick();
    let find = |part: Part| {
        rows.iter()
            .find(|row| row.part == part.name())
            .ok_or_else(|| StoreError::Corrupt(format!("versions {}: missing", part.name())))
    };
    let (directory, keys) = (find(Part::Directory)?, find(Part::Keys)?);
    let version = |row: &Row| Version { number: row.number, stamp: row.stamp };
    let time = Time::from_micros(keys.time);
    Ok((
        Versions { directory: version(directory), keys: version(keys) },
        Sample { time, sent, received, authoritative },
    ))
}
