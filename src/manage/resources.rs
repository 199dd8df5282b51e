//! Resources: register, look at, delete.

use serde::Serialize;
use serde_json::{Value, json};

use super::describe::ResourceDescription;
use super::{Desk, ManageError, shown};
use crate::domain::{Resource, ResourceId, Target, Time};
use crate::store::audit::{self, Action, Event};
use crate::store::versions::{self, Part};
use crate::store::{clients, resources};

/// A resource as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ResourceView {
    /// The identifier: the audience of its tokens.
    pub id: String,
    /// What it understands.
    pub scopes: Vec<ScopeView>,
    /// Static claims of its tokens.
    pub claims: Value,
    /// When it was registered.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// A scope as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ScopeView {
    /// Its name.
    pub name: String,
    /// What granting it means.
    pub description: Option<String>,
}

/// One field of a resource: its name, its value, and how to copy it.
pub(super) type Field = (&'static str, fn(&Resource) -> Value, fn(&mut Resource, &Resource));

/// Every field that a description sets.
pub(super) const FIELDS: [Field; 2] = [
    ("scopes", |resource| json!(scopes(resource)), |to, from| to.scopes.clone_from(&from.scopes)),
    (
        "claims",
        |resource| Value::Object(resource.claims.as_map().clone()),
        |to, from| to.claims.clone_from(&from.claims),
    ),
];

fn scopes(resource: &Resource) -> Vec<ScopeView> {
    let view = |scope: &crate::domain::ScopeDefinition| ScopeView {
        name: scope.name.to_string(),
        description: scope.description.clone(),
    };
    resource.scopes.iter().map(view).collect()
}

fn view(resource: &Resource) -> ResourceView {
    ResourceView {
        id: resource.id.to_string(),
        scopes: scopes(resource),
        claims: Value::Object(resource.claims.as_map().clone()),
        created_at: shown(resource.created_at),
        updated_at: shown(resource.updated_at),
    }
}

impl Desk {
    /// Every resource.
    pub async fn resources(&self) -> Result<Vec<ResourceView>, ManageError> {
        Ok(resources::load(&self.db).await?.iter().map(view).collect())
    }

    /// One resource.
    pub async fn resource(&self, id: &str) -> Result<ResourceView, ManageError> {
        let found = self.resources().await?.into_iter().find(|resource| resource.id == id);
        found.ok_or_else(|| not_found(id))
    }

    /// Registers a resource.
    pub async fn create_resource(
        &self,
        description: &ResourceDescription,
        now: Time,
    ) -> Result<ResourceView, ManageError> {
        let mut mistakes = Vec::new();
        let resource = description.check(&self.issuer, now, &mut mistakes);
        let Some(resource) = resource.filter(|_| mistakes.is_empty()) else {
            return Err(ManageError::Invalid(mistakes));
        };
        let key = resource.id.lookup_key();
        let created = self
            .db
            .write(async |tx| {
                versions::bump(tx, Part::Directory).await?;
                let others = resources::load_in(tx).await?;
                if others.iter().any(|other| other.id.lookup_key() == key) {
                    return Ok(false);
                }
                resources::put(tx, &resource).await?;
                let event = Event::new(Action::ResourceCreated, &self.actor, now);
                audit::add(tx, &Event { resource: Some(&resource.id), ..event }).await?;
                Ok(true)
            })
            .await?;
        if created {
            Ok(view(&resource))
        } else {
            Err(ManageError::Exists { kind: "resource", id: resource.id.to_string() })
        }
    }

    /// Deletes a resource that no client uses any more.
    pub async fn delete_resource(&self, id: &str, now: Time) -> Result<(), ManageError> {
        let resource = ResourceId::parse(id).map_err(|_| not_found(id))?;
        let (found, users) = self
            .db
            .write(async |tx| {
                versions::bump(tx, Part::Directory).await?;
                let users = clients::load_in(tx).await?;
                let uses = |client: &&crate::domain::Client| {
                    client.resources.contains(&resource) || client.introspects.contains(&resource)
                };
                let users: Vec<_> = users.iter().filter(uses).map(|c| c.id.to_string()).collect();
                if !users.is_empty() || !resources::delete(tx, &resource).await? {
                    return Ok((false, users));
                }
                let event = Event::new(Action::ResourceDeleted, &self.actor, now);
                audit::add(tx, &Event { resource: Some(&resource), ..event }).await?;
                let deleted = vec![Target::Resource(resource.to_string())];
                self.take_back(tx, deleted, now).await?;
                Ok((true, users))
            })
            .await?;
        match (found, users.as_slice()) {
            (true, _) => Ok(()),
            (false, []) => Err(not_found(id)),
            (false, users) => Err(ManageError::invalid(format!(
                "resource {id:?} is still used by: {}; take it out of them first",
                users.join(", ")
            ))),
        }
    }
}

fn not_found(id: &str) -> ManageError {
    ManageError::NotFound { kind: "resource", id: id.to_owned() }
}
