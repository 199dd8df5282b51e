//! Rows of resources.

use serde_json::{Value, json};
use sqlx::types::Json;

use super::arg::args;
use super::value::{claims, column, readable};
use super::{Db, StoreError, Tx, statements};
use crate::domain::{Invalid, Resource, ResourceId, Scope, ScopeDefinition, Time};

statements! {
    RESOURCES on Both = "select id, scopes, claims, created_at, updated_at from resources order by id";
    RESOURCE_PUT on Both =
        "insert into resources (id, scopes, claims, created_at, updated_at)
         values ($1, $2, $3, $4, $5)
         on conflict (id) do update set scopes = excluded.scopes, claims = excluded.claims,
             updated_at = excluded.updated_at";
    RESOURCE_DELETE on Both = "delete from resources where id = $1";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    scopes: Json<Value>,
    claims: Json<Value>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Resource {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let key = &row.id;
        Ok(Self {
            id: column(ResourceId::parse(key), "resources", key, "id")?,
            scopes: column(definitions(&row.scopes), "resources", key, "scopes")?,
            claims: column(claims(&row.claims), "resources", key, "claims")?,
            created_at: Time::from_micros(row.created_at),
            updated_at: Time::from_micros(row.updated_at),
        })
    }
}

fn definitions(value: &Value) -> Result<Vec<ScopeDefinition>, Invalid> {
    let list = value.as_array().ok_or(Invalid("not a list"))?;
    list.iter()
        .map(|item| {
            let name = item.get("name").and_then(Value::as_str).unwrap_or("");
            let description = item.get("description").and_then(Value::as_str);
            Ok(ScopeDefinition {
                name: Scope::parse(name)?,
                description: description.map(str::to_owned),
            })
        })
        .collect()
}

/// Every resource.
pub async fn load(db: &Db) -> Result<Vec<Resource>, StoreError> {
    let rows: Vec<Row> = db.all(&RESOURCES, args![]).await?;
    Ok(readable(rows))
}

/// Every resource, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<Resource>, StoreError> {
    let rows: Vec<Row> = tx.all(&RESOURCES, args![]).await?;
    Ok(readable(rows))
}

/// Registers a resource, or changes it.
pub async fn put(tx: &mut Tx, resource: &Resource) -> Result<(), StoreError> {
    let scopes: Value = resource
        .scopes
        .iter()
        .map(|scope| json!({ "name": scope.name.as_str(), "description": scope.description }))
        .collect();
    let claims = Value::Object(resource.claims.as_map().clone());
    let args = args![
        resource.id.as_str(),
        &scopes,
        &claims,
        resource.created_at.micros(),
        resource.updated_at.micros(),
    ];
    tx.run(&RESOURCE_PUT, args).await.map(drop)
}

/// Deletes a resource; false if there is none.
pub async fn delete(tx: &mut Tx, id: &ResourceId) -> Result<bool, StoreError> {
    Ok(tx.run(&RESOURCE_DELETE, args![id.as_str()]).await? == 1)
}
