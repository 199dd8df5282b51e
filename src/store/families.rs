//! Rows of refresh-token families: one for each authorization, changed in place; how they advance is next
//! door.

use uuid::Uuid;

use super::arg::args;
use super::value::{column, corrupt};
use super::{Db, StoreError, Tx, statements};
use crate::domain::time::{from_micros, to_micros};
use crate::domain::{ClientId, Family, Reason, ResourceId, Scopes, Time};

statements! {
    FAMILY_ADD on Both =
        "insert into families
             (id, generation, rotated_at, attempt, client_id, subject, resources, scopes,
              authenticated_at, idle, ends_at, key_thumbprint, user_agent, network)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    FAMILY on Both =
        "select id, generation, rotated_at, attempt, client_id, subject, resources, scopes,
                authenticated_at, idle, ends_at, suspended_at, revoked_at, ended_by,
                key_thumbprint, user_agent, network
         from families where id = $1";
    FAMILY_END on Both =
        "update families set revoked_at = $2, ended_by = $3, attempt = $4, ends_at = $2
         where id = $1 and revoked_at is null and ends_at > $2";
    FAMILIES_SUSPEND on Both =
        "update families set suspended_at = $2 where subject = $1 and revoked_at is null";
    FAMILIES_SWEEP on Both =
        "delete from families where id in (
             select id from families where ends_at < $1 order by ends_at limit $2)";
    FAMILIES_PAGE on Both =
        "select id from families where id > $1 and id < $2 order by id limit 1 offset $3";
    FAMILIES_SWEEP_IDLE on Both =
        "delete from families where id > $1 and id <= $2 and rotated_at + idle < $3";
}

const TABLE: &str = "families";

/// A family and what only people look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The family.
    pub family: Family,
    /// Why it was taken back, as it was written: an older version may know other reasons.
    pub ended_by: Option<String>,
    /// What the person's browser calls itself, cut short.
    pub user_agent: Option<String>,
    /// Where it came from, cut to a /24 or a /48.
    pub network: Option<String>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: Uuid,
    generation: i64,
    rotated_at: i64,
    attempt: i64,
    client_id: String,
    subject: Uuid,
    resources: String,
    scopes: String,
    authenticated_at: i64,
    idle: i64,
    ends_at: i64,
    suspended_at: Option<i64>,
    revoked_at: Option<i64>,
    ended_by: Option<String>,
    key_thumbprint: Option<String>,
    user_agent: Option<String>,
    network: Option<String>,
}

impl TryFrom<Row> for Stored {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let generation = u32::try_from(row.generation);
        let family = Family {
            id: row.id,
            generation: generation.map_err(|_| corrupt(TABLE, row.id, "generation"))?,
            rotated_at: Time::from_micros(row.rotated_at),
            attempt: row.attempt,
            client: column(ClientId::parse(&row.client_id), TABLE, row.id, "client_id")?,
            subject: row.subject,
            resources: resources_of(&row.resources, row.id)?,
            scopes: scopes_of(&row.scopes, row.id)?,
            authenticated_at: Time::from_micros(row.authenticated_at),
            idle: from_micros(row.idle),
            ends_at: Time::from_micros(row.ends_at),
            suspended_at: row.suspended_at.map(Time::from_micros),
            revoked_at: row.revoked_at.map(Time::from_micros),
            key_thumbprint: row.key_thumbprint,
        };
        let (user_agent, network) = (row.user_agent, row.network);
        Ok(Self { family, ended_by: row.ended_by, user_agent, network })
    }
}

pub(super) fn resources_of(text: &str, id: Uuid) -> Result<Vec<ResourceId>, StoreError> {
    let resources = text.split(' ').filter(|text| !text.is_empty());
    column(resources.map(ResourceId::parse).collect(), TABLE, id, "resources")
}

pub(super) fn scopes_of(text: &str, id: Uuid) -> Result<Scopes, StoreError> {
    let scopes = if text.is_empty() { Ok(Scopes::default()) } else { Scopes::parse(text) };
    column(scopes, TABLE, id, "scopes")
}

/// Begins a family.
pub async fn add(tx: &mut Tx, stored: &Stored) -> Result<(), StoreError> {
    let family = &stored.family;
    let resources: Vec<_> = family.resources.iter().map(ResourceId::as_str).collect();
    let (resources, scopes) = (resources.join(" "), family.scopes.to_string());
    let args = args![
        family.id,
        i64::from(family.generation),
        family.rotated_at.micros(),
        family.attempt,
        family.client.as_str(),
        family.subject,
        &resources,
        &scopes,
        family.authenticated_at.micros(),
        to_micros(family.idle),
        family.ends_at.micros(),
        family.key_thumbprint.as_deref(),
        stored.user_agent.as_deref(),
        stored.network.as_deref(),
    ];
    tx.run(&FAMILY_ADD, args).await.map(drop)
}

/// A family as it is now.
pub async fn get(db: &Db, id: Uuid) -> Result<Option<Stored>, StoreError> {
    db.one::<Row>(&FAMILY, args![id]).await?.map(TryInto::try_into).transpose()
}

/// Takes a family back for good, and lets its row go in time; false if it is over already.
pub async fn end(tx: &mut Tx, id: Uuid, why: Reason, now: Time) -> Result<bool, StoreError> {
    end_as(tx, id, why.name(), now).await
}

/// The same for what is no reason of a refusal.
pub async fn end_as(tx: &mut Tx, id: Uuid, why: &str, now: Time) -> Result<bool, StoreError> {
    let attempt: i64 = rand::random();
    Ok(tx.run(&FAMILY_END, args![id, now.micros(), why, attempt]).await? == 1)
}

/// Suspends what a person authorized, since then, or lets it go on; says how many.
pub async fn suspend(tx: &mut Tx, subject: Uuid, since: Option<Time>) -> Result<u64, StoreError> {
    tx.run(&FAMILIES_SUSPEND, args![subject, since.map(Time::micros)]).await
}

/// Deletes a few families that ended before then; says how many.
pub async fn sweep(db: &Db, ended_before: Time) -> Result<u64, StoreError> {
    const AT_ONCE: i64 = 500;
    db.write(async |tx| tx.run(&FAMILIES_SWEEP, args![ended_before.micros(), AT_ONCE]).await).await
}

/// What a look at some families came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// So many were deleted.
    pub swept: u64,
    /// Behind which the next look begins; `None` if all have been looked at.
    pub next: Option<Uuid>,
}

/// Looks at a few families behind this one, and deletes those that fell idle before then. No index tells
/// when a family falls idle, since each refresh would have to write it; so all that are old enough are
/// looked at in turn, by their names, which begin with their birth.
pub async fn sweep_idle(db: &Db, after: Uuid, idle_before: Time) -> Result<Page, StoreError> {
    const AT_ONCE: i64 = 500;
    let younger = first_id(idle_before);
    let last: Option<(Uuid,)> = db.one(&FAMILIES_PAGE, args![after, younger, AT_ONCE - 1]).await?;
    let next = last.map(|(id,)| id);
    let args = args![after, next.unwrap_or(younger), idle_before.micros()];
    let swept = db.write(async |tx| tx.run(&FAMILIES_SWEEP_IDLE, args).await).await?;
    Ok(Page { swept, next })
}

/// What no family is called that was born before then, and every younger one comes after.
fn first_id(born: Time) -> Uuid {
    let millis = u64::try_from(born.micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}
