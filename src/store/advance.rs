//! The step of a family from one generation to the next: alone, or together with those of others.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::arg::{Arg, args};
use super::families::{resources_of, scopes_of};
use super::{Db, Lane, StoreError, Tx, statements};
use crate::domain::time::from_micros;
use crate::domain::{ClientId, Family, ResourceId, Scopes, Time};

// A row is found by its id, and whether it is as presumed is `(…) is true`. To the planner that is one
// opaque condition. Left to itself, on a table that it has not counted lately, it looks for all rows of
// the client and reads each of them, for every step of a group.
statements! {
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
        "update families set generation = step.up_to, rotated_at = step.at, attempt = step.mark
         from unnest(cast($1 as uuid[]), cast($2 as bigint[]), cast($3 as bigint[]),
                     cast($4 as bigint[]), cast($5 as bigint[]), cast($6 as text[]),
                     cast($7 as text[])) as step (id, up_from, up_to, at, mark, client, key)
         where families.id = step.id and (
               generation = step.up_from and client_id = step.client
               and (key_thumbprint is null or key_thumbprint = step.key)
               and revoked_at is null and suspended_at is null
               and ends_at > step.at and rotated_at + idle > step.at) is true
         returning attempt, subject, resources, scopes, authenticated_at, idle, ends_at,
                   key_thumbprint";
    FAMILIES_ADVANCE_FREE on Postgres =
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

/// What comes back of a family whose row was changed: the mark of the step that did it, and what the
/// step does not know.
type Taken = (i64, Uuid, String, String, i64, i64, i64, Option<String>);

/// What became of a step: the family if it was taken.
type Outcome = Result<Option<Family>, StoreError>;

/// Takes a step, if the row is as presumed, the client and the key are right, and it is alive; says
/// nothing if not, and then nothing was changed. Of many who take the same step one succeeds.
pub async fn alone(db: &Db, step: &Advance) -> Outcome {
    step.outcome(db.write_alone(&FAMILY_ADVANCE, &step.args()).await?)
}

/// The same on a lane: [`StoreError::Contended`] if somebody holds the row.
pub async fn alone_on(lane: &Lane, step: &Advance) -> Outcome {
    step.outcome(lane.write_alone(&FAMILY_ADVANCE, &step.args()).await?)
}

/// The same, as a part of an act that writes more than this.
pub async fn within(tx: &mut Tx, step: &Advance) -> Outcome {
    step.outcome(tx.all(&FAMILY_ADVANCE, &step.args()).await?)
}

/// Takes many steps in one commit, and says what became of each: it is taken or not as if it came
/// alone, but for one whose row somebody else holds at the moment: that is not taken, because all the
/// others would wait with it. A row that cannot be read is its own caller's error and nobody else's.
pub async fn together(db: &Db, steps: &[Advance]) -> Result<Vec<Outcome>, StoreError> {
    if db.is_postgres() {
        let columns = Columns::of(steps);
        return Ok(outcomes(steps, db.write_alone(&FAMILIES_ADVANCE_FREE, &columns.args()).await?));
    }
    let all: Value = steps.iter().map(Advance::json).collect();
    Ok(outcomes(steps, db.write_alone(&FAMILIES_ADVANCE_SQLITE, args![&all]).await?))
}

/// The same on a lane, where it costs the least: [`StoreError::Contended`], and no step was taken, if
/// somebody holds one of the rows.
pub async fn together_on(lane: &Lane, steps: &[Advance]) -> Result<Vec<Outcome>, StoreError> {
    let columns = Columns::of(steps);
    Ok(outcomes(steps, lane.write_alone(&FAMILIES_ADVANCE_POSTGRES, &columns.args()).await?))
}

/// By its mark each step finds its own: by the family it could be another caller's.
fn outcomes(steps: &[Advance], taken: Vec<Taken>) -> Vec<Outcome> {
    let mut taken: HashMap<_, _> = taken.into_iter().map(|taken| (taken.0, taken)).collect();
    let mut grants = Grants::default();
    let outcome = |step: &Advance| {
        let taken = taken.remove(&step.attempt);
        taken.map(|taken| step.family(taken, &mut grants)).transpose()
    };
    steps.iter().map(outcome).collect()
}

/// What the last row was given. Most rows of a group were given the same, and need not be read anew.
#[derive(Default)]
struct Grants {
    texts: Option<(String, String)>,
    parsed: (Vec<ResourceId>, Scopes),
}

impl Grants {
    fn read(
        &mut self,
        id: Uuid,
        texts: (String, String),
    ) -> Result<(Vec<ResourceId>, Scopes), StoreError> {
        if self.texts.as_ref() != Some(&texts) {
            self.parsed = (resources_of(&texts.0, id)?, scopes_of(&texts.1, id)?);
            self.texts = Some(texts);
        }
        Ok(self.parsed.clone())
    }
}

/// Steps as Postgres takes them: one array for each column.
struct Columns<'a> {
    ids: Vec<Uuid>,
    from: Vec<i64>,
    to: Vec<i64>,
    at: Vec<i64>,
    marks: Vec<i64>,
    clients: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(steps: &'a [Advance]) -> Self {
        Self {
            ids: steps.iter().map(|step| step.id).collect(),
            from: steps.iter().map(|step| step.from.into()).collect(),
            to: steps.iter().map(|step| step.to.into()).collect(),
            at: steps.iter().map(|step| step.now.micros()).collect(),
            marks: steps.iter().map(|step| step.attempt).collect(),
            clients: steps.iter().map(|step| Some(step.client.as_str())).collect(),
            keys: steps.iter().map(|step| step.key_thumbprint.as_deref()).collect(),
        }
    }

    fn args(&self) -> [Arg<'_>; 7] {
        [
            self.ids[..].into(),
            self.from[..].into(),
            self.to[..].into(),
            self.at[..].into(),
            self.marks[..].into(),
            self.clients[..].into(),
            self.keys[..].into(),
        ]
    }
}

impl Advance {
    fn outcome(&self, mut taken: Vec<Taken>) -> Outcome {
        let taken = taken.pop();
        taken.map(|taken| self.family(taken, &mut Grants::default())).transpose()
    }

    /// The family after this step.
    fn family(&self, taken: Taken, grants: &mut Grants) -> Result<Family, StoreError> {
        let (_, subject, resources, scopes, authenticated_at, idle, ends_at, key_thumbprint) =
            taken;
        let (resources, scopes) = grants.read(self.id, (resources, scopes))?;
        Ok(Family {
            id: self.id,
            generation: self.to,
            rotated_at: self.now,
            attempt: self.attempt,
            client: self.client.clone(),
            subject,
            resources,
            scopes,
            authenticated_at: Time::from_micros(authenticated_at),
            idle: from_micros(idle),
            ends_at: Time::from_micros(ends_at),
            suspended_at: None,
            revoked_at: None,
            key_thumbprint,
        })
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
