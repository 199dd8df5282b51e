//! Rows of refresh-token families: one for each authorization, changed in place.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::arg::{Arg, args};
use super::value::{column, corrupt};
use super::{Db, StoreError, Tx, statements};
use crate::domain::time::{from_micros, to_micros};
use crate::domain::{ClientId, Family, Reason, ResourceId, Scopes, Time};

// Where a row is changed it is found by its id, and whether it is as presumed is `(…) is true`. To the
// planner that is one opaque condition. Left to itself, on a table that it has not counted lately, it
// looks for all rows of the client and reads each of them, for every step of a group.
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
    FAMILY_ADVANCE on Both =
        "update families set generation = $3, rotated_at = $4, attempt = $5
         where id = $1 and (
               generation = $2 and client_id = $6
               and (key_thumbprint is null or key_thumbprint = $7)
               and revoked_at is null and suspended_at is null
               and ends_at > $4 and rotated_at + idle > $4) is true
         returning attempt, subject, resources, scopes, authenticated_at, idle, ends_at,
                   key_thumbprint";
    FAMILIES_ADVANCE_POSTGRES on Postgres =
        "with free as materialized (
             select families.ctid as place, step.up_to, step.at, step.mark
             from unnest(cast($1 as uuid[]), cast($2 as bigint[]), cast($3 as bigint[]),
                         cast($4 as bigint[]), cast($5 as bigint[]), cast($6 as text[]),
                         cast($7 as text[])) as step (id, up_from, up_to, at, mark, client, key)
             join families on families.id = step.id
             where (
                 generation = step.up_from and client_id = step.client
                 and (key_thumbprint is null or key_thumbprint = step.key)
                 and revoked_at is null and suspended_at is null
                 and ends_at > step.at and rotated_at + idle > step.at) is true
             for update of families skip locked)
         update families set generation = free.up_to, rotated_at = free.at, attempt = free.mark
         from free
         where families.ctid = free.place
         returning attempt, subject, resources, scopes, authenticated_at, idle, ends_at,
                   key_thumbprint";
    FAMILIES_ADVANCE_SQLITE on Sqlite =
        "update families set generation = step.up_to, rotated_at = step.at, attempt = step.mark
         from (select unhex(value ->> 0) as id, value ->> 1 as up_from, value ->> 2 as up_to,
                      value ->> 3 as at, value ->> 4 as mark, value ->> 5 as client,
                      value ->> 6 as key
               from json_each($1)) as step
         where families.id = step.id and (
               generation = step.up_from and client_id = step.client
               and (key_thumbprint is null or key_thumbprint = step.key)
               and revoked_at is null and suspended_at is null
               and ends_at > step.at and rotated_at + idle > step.at) is true
         returning attempt, subject, resources, scopes, authenticated_at, idle, ends_at,
                   key_thumbprint";
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

/// One step of a family: from the generation that it is presumed to have to the next.
#[derive(Debug, Clone)]
pub struct Advance {
    /// Which family.
    pub id: Uuid,
    /// The generation that its row is presumed to have.
    pub from: u32,
    /// The generation that it gets.
    pub to: u32,
    /// When.
    pub now: Time,
    /// Random: by it we recognise our own success if the answer is lost.
    pub attempt: i64,
    /// The client that must be its own.
    pub client: ClientId,
    /// The key that was proven.
    pub key_thumbprint: Option<String>,
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

fn resources_of(text: &str, id: Uuid) -> Result<Vec<ResourceId>, StoreError> {
    let resources = text.split(' ').filter(|text| !text.is_empty());
    column(resources.map(ResourceId::parse).collect(), TABLE, id, "resources")
}

fn scopes_of(text: &str, id: Uuid) -> Result<Scopes, StoreError> {
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

/// What comes back of a family whose row was changed: the mark of the step that did it, and what the
/// step does not know.
type Taken = (i64, Uuid, String, String, i64, i64, i64, Option<String>);

/// Takes a step, if the row is as presumed, the client and the key are right, and it is alive; says
/// nothing if not, and then nothing was changed. Of many who take the same step one succeeds.
pub async fn advance(db: &Db, step: &Advance) -> Result<Option<Family>, StoreError> {
    let taken = db.write_alone(&FAMILY_ADVANCE, &step.args()).await?.pop();
    taken.map_or(Ok(None), |taken| step.family(taken))
}

/// The same, as a part of an act that writes more than this.
pub async fn advance_in(tx: &mut Tx, step: &Advance) -> Result<Option<Family>, StoreError> {
    let taken = tx.one(&FAMILY_ADVANCE, &step.args()).await?;
    taken.map_or(Ok(None), |taken| step.family(taken))
}

/// What became of one step of several.
type Outcome = Result<Option<Family>, StoreError>;

/// Takes many steps in one commit, and says what became of each: it is taken or not as if it came
/// alone, but for one whose row somebody else holds at the moment: that is not taken, because all the
/// others would wait with it. A row that cannot be read is its own caller's error and nobody else's.
pub async fn advance_many(db: &Db, steps: &[Advance]) -> Result<Vec<Outcome>, StoreError> {
    let taken: Vec<Taken> = if db.is_postgres() {
        let ids: Vec<_> = steps.iter().map(|step| step.id).collect();
        let ints = |of: fn(&Advance) -> i64| steps.iter().map(of).collect::<Vec<_>>();
        let (from, to) = (ints(|step| step.from.into()), ints(|step| step.to.into()));
        let (at, mark) = (ints(|step| step.now.micros()), ints(|step| step.attempt));
        let clients: Vec<_> = steps.iter().map(|step| Some(step.client.as_str())).collect();
        let keys: Vec<_> = steps.iter().map(|step| step.key_thumbprint.as_deref()).collect();
        let args = args![&ids[..], &from[..], &to[..], &at[..], &mark[..], &clients[..], &keys[..]];
        db.write_alone(&FAMILIES_ADVANCE_POSTGRES, args).await?
    } else {
        let all: Value = steps.iter().map(Advance::json).collect();
        db.write_alone(&FAMILIES_ADVANCE_SQLITE, args![&all]).await?
    };
    // By its mark each step finds its own: by the family it could be another caller's.
    let mut taken: HashMap<_, _> = taken.into_iter().map(|taken| (taken.0, taken)).collect();
    let outcome =
        |step: &Advance| taken.remove(&step.attempt).map_or(Ok(None), |taken| step.family(taken));
    Ok(steps.iter().map(outcome).collect())
}

impl Advance {
    /// The family after this step.
    fn family(&self, taken: Taken) -> Outcome {
        let (_, subject, resources, scopes, authenticated_at, idle, ends_at, key_thumbprint) =
            taken;
        Ok(Some(Family {
            id: self.id,
            generation: self.to,
            rotated_at: self.now,
            attempt: self.attempt,
            client: self.client.clone(),
            subject,
            resources: resources_of(&resources, self.id)?,
            scopes: scopes_of(&scopes, self.id)?,
            authenticated_at: Time::from_micros(authenticated_at),
            idle: from_micros(idle),
            ends_at: Time::from_micros(ends_at),
            suspended_at: None,
            revoked_at: None,
            key_thumbprint,
        }))
    }

    fn json(&self) -> Value {
        json!([
            self.id.simple().to_string(),
            self.from,
            self.to,
            self.now.micros(),
            self.attempt,
            self.client.as_str(),
            self.key_thumbprint,
        ])
    }

    fn args(&self) -> [Arg<'_>; 7] {
        [
            self.id.into(),
            i64::from(self.from).into(),
            i64::from(self.to).into(),
            self.now.micros().into(),
            self.attempt.into(),
            self.client.as_str().into(),
            self.key_thumbprint.as_deref().into(),
        ]
    }
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
