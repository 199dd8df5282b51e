//! `jeton apply`: brings clients, resources and people to what a file says.
//!
//! It remembers, field by field, a digest of what it last applied, and writes a field only where
//! the file has changed since. So a restart with the same file never undoes what an operator did
//! meanwhile: a client that was disabled or deleted stays so, a rotated secret stays rotated,
//! a new password stays.

mod diff;
mod file;
mod people;
mod report;

pub use file::{ApplyFile, ReadFile};
pub use people::UserDescription;
pub use report::{Change, Report};

use serde_json::json;

use super::users::{everything_about, new_subject};
use super::{Desk, ManageError};
use crate::domain::session::End;
use crate::domain::{ClientId, Target, Time};
use crate::secret::ClientSecret;
use crate::store::applied::{self, AppliedField};
use crate::store::audit::{self, Action, Event};
use crate::store::db::LONG;
use crate::store::versions::{self, Part};
use crate::store::{StoreError, Tx, clients, resources, secrets, users};
use diff::{Plan, State};

/// How to apply.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only say what would change.
    pub dry_run: bool,
    /// Delete what an earlier `apply` made and the file no longer has.
    pub prune: bool,
}

/// A secret that was generated, for the file of `--secrets-out`.
#[derive(Debug)]
pub struct Generated {
    /// Whose.
    pub client: ClientId,
    /// The secret, shown this once.
    pub secret: ClientSecret,
}

impl Desk {
    /// Applies a file in one transaction: all of it or nothing. `keep` is given every generated
    /// secret before anything is committed; if it cannot keep them, nothing is applied.
    pub async fn apply(
        &self,
        file: &ApplyFile,
        options: Options,
        now: Time,
        keep: impl Fn(&[Generated]) -> Result<(), String>,
    ) -> Result<Report, ManageError> {
        // Outside the transaction: a second connection, wanted while one is held, may never come.
        let frame = self.frame(&[], now).await?;
        let passwords = self.ready_passwords(file).await?;
        self.db
            .write_within(LONG, async |tx| {
                if !options.dry_run {
                    versions::bump(tx, Part::Directory).await?;
                }
                let state = State {
                    resources: resources::load_in(tx).await?,
                    clients: clients::load_in(tx).await?,
                    secrets: secrets::load_in(tx).await?,
                    users: users::all_in(tx).await?.into_iter().map(|one| one.user).collect(),
                    applied: applied::load_in(tx).await?,
                };
                let frame = frame.clone();
                let with = (&**self.secrets.now(), &passwords);
                let plan = match diff::plan(file, &state, frame, with, (options, now)) {
                    Ok(plan) if plan.outdated => return Err(StoreError::Contended),
                    Ok(plan) => plan,
                    Err(mistakes) => return Ok(Err(ManageError::Invalid(mistakes))),
                };
                if options.dry_run {
                    return Ok(Ok(plan.report));
                }
                if let Err(why) = keep(&plan.generated) {
                    return Ok(Err(ManageError::invalid(why)));
                }
                self.carry_out_plan(tx, &plan, now).await?;
                Ok(Ok(plan.report))
            })
            .await?
    }

    async fn carry_out_plan(&self, tx: &mut Tx, plan: &Plan, now: Time) -> Result<(), StoreError> {
        for (resource, action) in &plan.put_resources {
            resources::put(tx, resource).await?;
            let event = Event::new(*action, &self.actor, now);
            audit::add(tx, &Event { resource: Some(&resource.id), ..event }).await?;
        }
        for (client, action, fields) in &plan.put_clients {
            clients::put(tx, client).await?;
            let event = Event::new(*action, &self.actor, now);
            let detail = json!({ "fields": fields });
            audit::add(tx, &Event { client: Some(&client.id), detail, ..event }).await?;
        }
        let generated = plan.generated.iter().map(|one| (&one.client, &one.secret));
        for (client, secret) in plan.add_secrets.iter().map(|(id, one)| (id, one)).chain(generated)
        {
            self.add_secret(tx, client, secret, now).await?;
        }
        let subjects = self.carry_out_people(tx, plan, now).await?;
        self.delete_planned(tx, plan, now).await?;
        for (kind, id) in &plan.forget {
            applied::forget(tx, kind, id).await?;
        }
        for field in &plan.remember {
            applied::put(tx, field).await?;
        }
        let clients = plan.delete_clients.iter().map(|id| Target::Client(id.to_string()));
        let resources = plan.delete_resources.iter().map(|id| Target::Resource(id.to_string()));
        let since = |target| (target, now);
        let acts = clients.chain(resources).map(since).chain(subjects);
        self.take_back_until(tx, acts.collect(), now).await
    }

    /// Adds people, sets passwords, which ends what was signed in with the old ones, and deletes
    /// people; returns the acts that take back everything about those.
    async fn carry_out_people(
        &self,
        tx: &mut Tx,
        plan: &Plan,
        now: Time,
    ) -> Result<Vec<(Target, Time)>, StoreError> {
        for (name, hash) in &plan.add_users {
            let id = new_subject();
            if !users::add(tx, id, name, hash.as_ref(), now).await? {
                // Somebody else has added them at this moment.
                return Err(StoreError::Contended);
            }
            self.note_user(tx, Action::UserCreated, id, json!({}), now).await?;
        }
        for (id, hash) in &plan.set_passwords {
            users::set_password(tx, *id, hash, now).await?;
            let sessions = self.end_sign_ins(tx, *id, End::PasswordChanged, now).await?;
            let detail = json!({ "sessions": sessions });
            self.note_user(tx, Action::UserPasswordSet, *id, detail, now).await?;
        }
        for id in &plan.delete_users {
            let sessions = self.remove_user(tx, *id, now).await?;
            let detail = json!({ "sessions": sessions });
            self.note_user(tx, Action::UserDeleted, *id, detail, now).await?;
        }
        let mut acts = Vec::new();
        for id in plan.set_passwords.iter().map(|(id, _)| id).chain(&plan.delete_users) {
            acts.push(everything_about(tx, *id, now).await?);
        }
        Ok(acts)
    }

    async fn delete_planned(&self, tx: &mut Tx, plan: &Plan, now: Time) -> Result<(), StoreError> {
        for id in &plan.delete_clients {
            clients::delete(tx, id).await?;
            let event = Event::new(Action::ClientDeleted, &self.actor, now);
            audit::add(tx, &Event { client: Some(id), ..event }).await?;
        }
        for id in &plan.delete_resources {
            resources::delete(tx, id).await?;
            let event = Event::new(Action::ResourceDeleted, &self.actor, now);
            audit::add(tx, &Event { resource: Some(id), ..event }).await?;
        }
        Ok(())
    }
}

/// The name of an object in the memory of `apply`.
fn remembered(kind: &str, id: &str, field: &str, digest: String) -> AppliedField {
    AppliedField {
        kind: kind.to_owned(),
        object_id: id.to_owned(),
        field: field.to_owned(),
        digest,
    }
}
