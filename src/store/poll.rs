//! The one question that a replica asks every second, in one round trip: what changed, what was
//! revoked since, and what time is it.

use super::arg::args;
use super::revocations::{Cursor, Placed};
use super::versions::{Part, Version, Versions};
use super::{Db, StoreError, statements};
use crate::clock::{Clock, Sample};
use crate::domain::{Revocation, Target, Time};

statements! {
    POLL_POSTGRES on Postgres =
        "select '' as kind, part as key, number, stamp, cast(null as bigint) as issued_before,
                cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as time
         from versions
         union all
         select kind, key, v, stamp, issued_before, expires_at
         from (select * from revocations where v >= $1 order by v limit $2) as page";
    POLL_SQLITE on Sqlite =
        "select '' as kind, part as key, number, stamp, null as issued_before,
                cast(unixepoch('subsec') * 1000000 as integer) as time
         from versions
         union all
         select kind, key, v, stamp, issued_before, expires_at
         from (select * from revocations where v >= $1 order by v limit $2) as page";
}

/// So many acts are read at once.
pub const PAGE: usize = 5000;

/// The answer, all of one instant.
#[derive(Debug)]
pub struct Poll {
    /// The versions of the parts that replicas hold in memory.
    pub versions: Versions,
    /// The acts from the cursor on, that of the cursor included, in order.
    pub acts: Vec<Placed>,
    /// Whether there may be more.
    pub more: bool,
    /// The database's time.
    pub sample: Sample,
}

#[derive(sqlx::FromRow)]
struct Row {
    kind: String,
    key: String,
    number: i64,
    stamp: i64,
    issued_before: Option<i64>,
    time: i64,
}

/// Asks. Whoever then reloads a part reads at least what its version stands for.
pub async fn poll(db: &Db, clock: &Clock, from: Option<Cursor>) -> Result<Poll, StoreError> {
    let authoritative = db.is_postgres();
    let statement = if authoritative { &POLL_POSTGRES } else { &POLL_SQLITE };
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let sent = clock.tick();
    let rows: Vec<Row> = db.all(statement, args![from.map_or(0, |at| at.v), page]).await?;
    let received = clock.tick();

    let (mut acts, mut parts) = (Vec::new(), Vec::new());
    for row in rows {
        match row.issued_before {
            Some(before) => acts.push(placed(&row, before, from)),
            None => parts.push(row),
        }
    }
    acts.sort_by_key(|placed| placed.at.v);
    let find = |part: Part| {
        parts
            .iter()
            .find(|row| row.key == part.name())
            .ok_or_else(|| StoreError::Corrupt(format!("versions {}: missing", part.name())))
    };
    let (directory, keys) = (find(Part::Directory)?, find(Part::Keys)?);
    let version = |row: &Row| Version::new(row.number, row.stamp);
    let time = Time::from_micros(keys.time);
    Ok(Poll {
        versions: Versions { directory: version(directory), keys: version(keys) },
        more: acts.len() == PAGE,
        acts,
        sample: Sample { time, sent, received, authoritative },
    })
}

fn placed(row: &Row, issued_before: i64, from: Option<Cursor>) -> Placed {
    let act = Target::parse(&row.kind, &row.key).map(|target| Revocation {
        target,
        issued_before: Time::from_micros(issued_before),
        expires_at: Time::from_micros(row.time),
    });
    // Once: the act at the reader's place comes with every poll.
    if act.is_none() && from.is_none_or(|from| from.v < row.number) {
        tracing::error!(kind = row.kind, "a revocation of a kind that this version does not know");
    }
    Placed { at: Cursor { v: row.number, stamp: row.stamp }, act }
}
