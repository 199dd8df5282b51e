//! Rows of clients.

use std::num::NonZeroU32;

use serde_json::Value;
use sqlx::types::Json;

use super::arg::args;
use super::value::{
    claims, column, corrupt, parsed, readable, resources_json, scopes, scopes_json, texts,
};
use super::{Db, StoreError, Tx, statements};
use crate::domain::time::{from_micros, to_micros};
use crate::domain::{AuthMethod, Client, ClientId, GrantType, RefreshRetry, ResourceId, Time};

statements! {
    CLIENTS on Both =
        "select id, name, auth_method, grants, redirect_uris, resources, default_resource, scopes,
                default_scopes, introspects, access_token_ttl, algorithm, refresh_retry,
                first_party, claims, disabled_at, valid_from, created_at, updated_at,
                refresh_idle, refresh_absolute, refresh_families
         from clients order by id";
    CLIENT_PUT on Both =
        "insert into clients (id, name, auth_method, grants, redirect_uris, resources,
             default_resource, scopes, default_scopes, introspects, access_token_ttl, algorithm,
             claims, created_at, updated_at, refresh_retry, first_party, valid_from,
             refresh_idle, refresh_absolute, refresh_families)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             $19, $20, $21)
         on conflict (id) do update set name = excluded.name, auth_method = excluded.auth_method,
             grants = excluded.grants, redirect_uris = excluded.redirect_uris,
             resources = excluded.resources, default_resource = excluded.default_resource,
             scopes = excluded.scopes, default_scopes = excluded.default_scopes,
             introspects = excluded.introspects, access_token_ttl = excluded.access_token_ttl,
             algorithm = excluded.algorithm, claims = excluded.claims,
             refresh_retry = excluded.refresh_retry, first_party = excluded.first_party,
             refresh_idle = excluded.refresh_idle, refresh_absolute = excluded.refresh_absolute,
             refresh_families = excluded.refresh_families,
             updated_at = excluded.updated_at";
    CLIENT_SET_DISABLED on Both =
        "update clients set disabled_at = $2, updated_at = $3 where id = $1";
    CLIENT_SET_VALID_FROM on Both =
        "update clients set valid_from = $2
         where id = $1 and (valid_from is null or valid_from < $2)";
    CLIENT_EXISTS on Both = "select id from clients where id = $1";
    CLIENT_DELETE on Both = "delete from clients where id = $1";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    auth_method: String,
    grants: Json<Value>,
    redirect_uris: Json<Value>,
    resources: Json<Value>,
    default_resource: Option<String>,
    scopes: Option<Json<Value>>,
    default_scopes: Option<Json<Value>>,
    introspects: Json<Value>,
    access_token_ttl: Option<i64>,
    algorithm: Option<String>,
    refresh_retry: Option<String>,
    refresh_idle: Option<i64>,
    refresh_absolute: Option<i64>,
    refresh_families: Option<i64>,
    first_party: bool,
    claims: Json<Value>,
    disabled_at: Option<i64>,
    valid_from: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Client {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |column| corrupt("clients", &row.id, column);
        let set = |value: &Option<Json<Value>>, name| {
            value.as_ref().map(|list| scopes(list).map_err(|_| bad(name))).transpose()
        };
        Ok(Self {
            id: column(ClientId::parse(&row.id), "clients", &row.id, "id")?,
            auth_method: row.auth_method.parse::<AuthMethod>().map_err(|_| bad("auth_method"))?,
            grants: parsed(&row.grants, str::parse::<GrantType>).map_err(|_| bad("grants"))?,
            redirect_uris: texts(&row.redirect_uris)
                .map_err(|_| bad("redirect_uris"))?
                .into_iter()
                .map(str::to_owned)
                .collect(),
            resources: parsed(&row.resources, ResourceId::parse).map_err(|_| bad("resources"))?,
            default_resource: row
                .default_resource
                .as_deref()
                .map(ResourceId::parse)
                .transpose()
                .map_err(|_| bad("default_resource"))?,
            scopes: set(&row.scopes, "scopes")?,
            default_scopes: set(&row.default_scopes, "default_scopes")?,
            introspects: parsed(&row.introspects, ResourceId::parse)
                .map_err(|_| bad("introspects"))?,
            access_token_ttl: row.access_token_ttl.map(from_micros),
            algorithm: row
                .algorithm
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| bad("algorithm"))?,
            refresh_retry: row
                .refresh_retry
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| bad("refresh_retry"))?,
            refresh_idle: row.refresh_idle.map(from_micros),
            refresh_absolute: row.refresh_absolute.map(from_micros),
            refresh_families: row
                .refresh_families
                .map(|most| u32::try_from(most).and_then(NonZeroU32::try_from))
                .transpose()
                .map_err(|_| bad("refresh_families"))?,
            first_party: row.first_party,
            claims: claims(&row.claims).map_err(|_| bad("claims"))?,
            disabled_at: row.disabled_at.map(Time::from_micros),
            valid_from: row.valid_from.map(Time::from_micros),
            created_at: Time::from_micros(row.created_at),
            updated_at: Time::from_micros(row.updated_at),
            name: row.name,
        })
    }
}

/// Every client.
pub async fn load(db: &Db) -> Result<Vec<Client>, StoreError> {
    let rows: Vec<Row> = db.all(&CLIENTS, args![]).await?;
    Ok(readable(rows))
}

/// Every client, as seen by a transaction.
pub async fn load_in(tx: &mut Tx) -> Result<Vec<Client>, StoreError> {
    let rows: Vec<Row> = tx.all(&CLIENTS, args![]).await?;
    Ok(readable(rows))
}

/// Whether there is such a client, even one that this version cannot read.
pub async fn exists(tx: &mut Tx, id: &ClientId) -> Result<bool, StoreError> {
    let found: Option<(String,)> = tx.one(&CLIENT_EXISTS, args![id.as_str()]).await?;
    Ok(found.is_some())
}

/// Registers a client, or changes it. Whether it is disabled, and from when on what was authorized
/// for it counts, stays as it is: no description of a client may lift that.
pub async fn put(tx: &mut Tx, client: &Client) -> Result<(), StoreError> {
    let grants: Value = client.grants.iter().map(|grant| Value::from(grant.name())).collect();
    let redirect_uris: Value = client.redirect_uris.iter().map(String::as_str).collect();
    let resources = resources_json(&client.resources);
    let scopes = client.scopes.as_ref().map(scopes_json);
    let default_scopes = client.default_scopes.as_ref().map(scopes_json);
    let introspects = resources_json(&client.introspects);
    let claims = Value::Object(client.claims.as_map().clone());
    let args = args![
        client.id.as_str(),
        &client.name,
        client.auth_method.name(),
        &grants,
        &redirect_uris,
        &resources,
        client.default_resource.as_ref().map(ResourceId::as_str),
        scopes.as_ref(),
        default_scopes.as_ref(),
        &introspects,
        client.access_token_ttl.map(to_micros),
        client.algorithm.map(crate::domain::Algorithm::name),
        &claims,
        client.created_at.micros(),
        client.updated_at.micros(),
        client.refresh_retry.map(RefreshRetry::name),
        client.first_party,
        client.valid_from.map(Time::micros),
        client.refresh_idle.map(to_micros),
        client.refresh_absolute.map(to_micros),
        client.refresh_families.map(|most| i64::from(most.get())),
    ];
    tx.run(&CLIENT_PUT, args).await.map(drop)
}

/// Switches a client off since an instant, or on; false if there is none.
pub async fn set_disabled(
    tx: &mut Tx,
    id: &ClientId,
    since: Option<Time>,
    now: Time,
) -> Result<bool, StoreError> {
    let args = args![id.as_str(), since.map(Time::micros), now.micros()];
    Ok(tx.run(&CLIENT_SET_DISABLED, args).await? == 1)
}

/// What was authorized for a client before this counts no more. It never moves back.
pub async fn set_valid_from(tx: &mut Tx, id: &ClientId, from: Time) -> Result<(), StoreError> {
    tx.run(&CLIENT_SET_VALID_FROM, args![id.as_str(), from.micros()]).await.map(drop)
}

/// Deletes a client with its secrets; false if there is none.
pub async fn delete(tx: &mut Tx, id: &ClientId) -> Result<bool, StoreError> {
    Ok(tx.run(&CLIENT_DELETE, args![id.as_str()]).await? == 1)
}
