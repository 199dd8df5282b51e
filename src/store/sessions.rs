//! Families as operators look for them and end them, many at once.

use std::collections::HashMap;
use std::num::NonZeroU32;

use uuid::Uuid;

use super::arg::args;
use super::families::{Row, Stored};
use super::value::readable;
use super::{Db, StoreError, Tx, statements};
use crate::domain::revocation::MARGIN;
use crate::domain::session::{End, first_name};
use crate::domain::{ClientId, Time};

statements! {
    SESSIONS_LIST on Both =
        "select id, generation, rotated_at, attempt, client_id, subject, resources, scopes,
                authenticated_at, idle, ends_at, suspended_at, revoked_at, ended_by,
                key_thumbprint, user_agent, network
         from families
         where (cast($1 as text) is null or client_id = $1)
           and ($2 = false or subject = $3)
           and ($4 = false or id = $5)
           and id < $6
         order by id desc limit $7";
    SESSIONS_COUNT on Both =
        "select count(*)
         from families
         where (cast($1 as text) is null or client_id = $1)
           and ($2 = false or subject = $3)
           and ($4 = false or id = $5)
           and id < $6
           and revoked_at is null and ends_at > $7";
    SESSIONS_BEHIND on Both =
        "select count(*)
         from families
         where rotated_at <= $1 and revoked_at is null and ends_at > $2 and rotated_at + idle > $2";
    SESSIONS_END on Both =
        "update families set revoked_at = $10, ended_by = $11, attempt = $12, ends_at = $10
         where revoked_at is null and id in (
             select id
             from families
             where (cast($1 as text) is null or client_id = $1)
               and ($2 = false or subject = $3)
               and ($4 = false or id = $5)
               and id < $6
               and revoked_at is null and ends_at > $7
               and id > $8
             order by id limit $9)
         returning id";
    SESSIONS_END_OF on Both =
        "update families set revoked_at = $2, ended_by = $3, attempt = $4, ends_at = $2
         where subject = $1 and revoked_at is null and ends_at > $2";
    SESSIONS_END_OLDER on Both =
        "update families set revoked_at = $3, ended_by = $4, attempt = $5
         where subject = $1 and id < $2 and revoked_at is null and ends_at > $3";
    SESSIONS_END_ELDEST on Both =
        "update families set revoked_at = $5, ended_by = $7, attempt = $8, ends_at = $5
         where revoked_at is null and id in (
             select id
             from (
                 select id, row_number() over (order by id desc) as place
                 from families
                 where subject = $1 and id <> $3 and (
                       client_id = $2 and revoked_at is null
                       and ends_at > $6 and rotated_at + idle > $6) is true) as alive
             where place >= $4
             order by id limit $9)
         returning id";
    SESSIONS_LIVE on Both =
        "select subject, count(*)
         from families
         where (cast($1 as text) is null or client_id = $1)
           and ($2 = false or subject = $3)
           and id >= $4 and id < $5
           and revoked_at is null and suspended_at is null
           and ends_at > $6 and rotated_at + idle > $6
           and client_id in (select id from clients)
         group by subject";
}

/// Which families.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of one client.
    pub client: Option<&'a ClientId>,
    /// Of one person.
    pub subject: Option<Uuid>,
    /// Only this one.
    pub family: Option<Uuid>,
    /// Born before this.
    pub born_before: Option<Time>,
}

impl Filter<'_> {
    /// What no family of the filter reaches.
    fn bound(&self) -> Uuid {
        self.born_before.map_or(Uuid::max(), first_name)
    }
}

/// The latest so many families, newest first.
pub async fn list(db: &Db, filter: &Filter<'_>, most: u32) -> Result<Vec<Stored>, StoreError> {
    let args = args![
        filter.client.map(ClientId::as_str),
        filter.subject.is_some(),
        filter.subject.unwrap_or_default(),
        filter.family.is_some(),
        filter.family.unwrap_or_default(),
        filter.bound(),
        i64::from(most),
    ];
    Ok(readable(db.all::<Row>(&SESSIONS_LIST, args).await?))
}

/// How many families there are to end, among those that had not ended by `since`.
pub async fn count(db: &Db, filter: &Filter<'_>, since: Time) -> Result<i64, StoreError> {
    let args = args![
        filter.client.map(ClientId::as_str),
        filter.subject.is_some(),
        filter.subject.unwrap_or_default(),
        filter.family.is_some(),
        filter.family.unwrap_or_default(),
        filter.bound(),
        since.micros(),
    ];
    Ok(db.one::<(i64,)>(&SESSIONS_COUNT, args).await?.map_or(0, |(count,)| count))
}

/// How many families that are alive at `now` were last refreshed by then.
pub async fn behind(db: &Db, by: Time, now: Time) -> Result<i64, StoreError> {
    let args = args![by.micros(), now.micros()];
    Ok(db.one::<(i64,)>(&SESSIONS_BEHIND, args).await?.map_or(0, |(count,)| count))
}

/// One page of families to end.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Among those that had not ended by then.
    pub since: Time,
    /// Those whose names come after this one.
    pub after: Uuid,
    /// So many at most.
    pub most: u32,
}

/// Ends a page of families for good; returns which.
pub async fn end_page(
    tx: &mut Tx,
    filter: &Filter<'_>,
    page: Page,
    why: End,
    now: Time,
) -> Result<Vec<Uuid>, StoreError> {
    let attempt: i64 = rand::random();
    let args = args![
        filter.client.map(ClientId::as_str),
        filter.subject.is_some(),
        filter.subject.unwrap_or_default(),
        filter.family.is_some(),
        filter.family.unwrap_or_default(),
        filter.bound(),
        page.since.micros(),
        page.after,
        i64::from(page.most),
        now.micros(),
        why.name(),
        attempt,
    ];
    let rows: Vec<(Uuid,)> = tx.all(&SESSIONS_END, args).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Ends everything that a person authorized, for good; says how many.
pub async fn end_of(tx: &mut Tx, subject: Uuid, why: End, now: Time) -> Result<u64, StoreError> {
    let attempt: i64 = rand::random();
    tx.run(&SESSIONS_END_OF, args![subject, now.micros(), why.name(), attempt]).await
}

/// Ends what a person authorized before an instant, for good; says how many.
pub async fn end_older(
    tx: &mut Tx,
    subject: Uuid,
    before: Time,
    why: End,
    now: Time,
) -> Result<u64, StoreError> {
    let attempt: i64 = rand::random();
    let args = args![subject, first_name(before), now.micros(), why.name(), attempt];
    tx.run(&SESSIONS_END_OLDER, args).await
}

/// What a new family leaves room for.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// Whose it is.
    pub subject: Uuid,
    /// At which client.
    pub client: &'a ClientId,
    /// The new one, which stays.
    pub newest: Uuid,
    /// So many may be alive, the new one among them.
    pub most: NonZeroU32,
}

/// Ends the eldest families beyond those that a person may have alive at a client; returns which. Call
/// it behind a change of the person's row, which whoever signs in changes: nobody else adds one until
/// the commit. What ended by itself a moment ago counts as alive, because by the clock of another
/// replica it is.
pub async fn end_eldest(
    tx: &mut Tx,
    room: &Room<'_>,
    why: End,
    now: Time,
) -> Result<Vec<Uuid>, StoreError> {
    // If there are more, it is because nobody had said how many there may be. The next ones go on. Each has
    // its row in the trail, and all of them their place in the time that one sign-in may take.
    const AT_ONCE: i64 = 100;
    let attempt: i64 = rand::random();
    let args = args![
        room.subject,
        room.client.as_str(),
        room.newest,
        i64::from(room.most.get()),
        now.micros(),
        (now - MARGIN).micros(),
        why.name(),
        attempt,
        AT_ONCE,
    ];
    let rows: Vec<(Uuid,)> = tx.all(&SESSIONS_END_ELDEST, args).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// How many families of the filter, born from `from` on, each person could refresh at `now`.
pub async fn live(
    db: &Db,
    filter: &Filter<'_>,
    from: Option<Time>,
    now: Time,
) -> Result<HashMap<Uuid, i64>, StoreError> {
    let args = args![
        filter.client.map(ClientId::as_str),
        filter.subject.is_some(),
        filter.subject.unwrap_or_default(),
        from.map_or(Uuid::nil(), first_name),
        filter.bound(),
        now.micros(),
    ];
    Ok(db.all::<(Uuid, i64)>(&SESSIONS_LIVE, args).await?.into_iter().collect())
}
