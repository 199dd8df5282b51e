//! The audit trail: one row for each security event, written in the transaction of the act itself,
//! so that there is no act without its row and no row without its act.

use serde_json::Value;
use sqlx::types::Json;
use uuid::{NoContext, Timestamp, Uuid};

use super::db::args;
use super::{Db, StoreError, Tx, statements};
use crate::domain::{ClientId, Reason, ResourceId, Time};

statements! {
    AUDIT_ADD on Both =
        "insert into audit_events
             (id, at, action, actor, reason, client_id, resource, kid, request_id, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    AUDIT_LATEST on Both =
        "select at, action, actor, reason, client_id, resource, kid, request_id, detail
         from audit_events order by id desc limit $1";
}

/// A kind of security event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A client was registered.
    ClientCreated,
    /// A client's registration was changed.
    ClientChanged,
    /// A client was switched off.
    ClientDisabled,
    /// A client was switched on again.
    ClientEnabled,
    /// A client was deleted.
    ClientDeleted,
    /// A client got a new secret.
    ClientSecretAdded,
    /// A client's older secret was given an end, or taken away.
    ClientSecretRetired,
    /// Somebody failed to authenticate as a client again and again.
    ClientAuthFailedRun,
    /// A resource was registered.
    ResourceCreated,
    /// A resource was changed.
    ResourceChanged,
    /// A resource was deleted.
    ResourceDeleted,
    /// A signing key was made.
    KeyCreated,
    /// A signing key was imported.
    KeyImported,
    /// A signing key's times were changed.
    KeyRescheduled,
    /// A private half was destroyed.
    KeyDestroyed,
    /// A key is kept in the JWKS.
    KeyHeld,
    /// A key is no longer kept.
    KeyReleased,
    /// A key was declared stolen.
    KeyCompromised,
    /// A private half was sealed under another root secret.
    KeyResealed,
    /// An operator took tokens back.
    TokensRevoked,
    /// Revocations that the database had lost were written again.
    RevocationsRestored,
    /// A root secret was declared stolen.
    RootSecretCompromised,
    /// A root secret was taken out of use.
    RootSecretDropped,
}

impl Action {
    /// Its name in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientCreated => "client_created",
            Self::ClientChanged => "client_changed",
            Self::ClientDisabled => "client_disabled",
            Self::ClientEnabled => "client_enabled",
            Self::ClientDeleted => "client_deleted",
            Self::ClientSecretAdded => "client_secret_added",
            Self::ClientSecretRetired => "client_secret_retired",
            Self::ClientAuthFailedRun => "client_auth_failed_run",
            Self::ResourceCreated => "resource_created",
            Self::ResourceChanged => "resource_changed",
            Self::ResourceDeleted => "resource_deleted",
            Self::KeyCreated => "key_created",
            Self::KeyImported => "key_imported",
            Self::KeyRescheduled => "key_rescheduled",
            Self::KeyDestroyed => "key_destroyed",
            Self::KeyHeld => "key_held",
            Self::KeyReleased => "key_released",
            Self::KeyCompromised => "key_compromised",
            Self::KeyResealed => "key_resealed",
            Self::TokensRevoked => "tokens_revoked",
            Self::RevocationsRestored => "revocations_restored",
            Self::RootSecretCompromised => "root_secret_compromised",
            Self::RootSecretDropped => "root_secret_dropped",
        }
    }
}

/// One security event.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// When.
    pub at: Time,
    /// What.
    pub action: Action,
    /// Who did it.
    pub actor: &'a str,
    /// The reason, for a refusal.
    pub reason: Option<Reason>,
    /// The client concerned.
    pub client: Option<&'a ClientId>,
    /// The resource concerned.
    pub resource: Option<&'a ResourceId>,
    /// The key concerned.
    pub kid: Option<&'a str>,
    /// The request that caused it.
    pub request: Option<&'a str>,
    /// What else there is to know; never a secret.
    pub detail: Value,
}

impl<'a> Event<'a> {
    /// An event with nothing but its essentials.
    pub fn new(action: Action, actor: &'a str, at: Time) -> Self {
        Self {
            at,
            action,
            actor,
            reason: None,
            client: None,
            resource: None,
            kid: None,
            request: None,
            detail: Value::Object(serde_json::Map::new()),
        }
    }
}

/// A row id that sorts by time.
pub fn row_id(at: Time) -> Uuid {
    let micros = u64::try_from(at.micros()).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
}

/// Writes an event.
pub async fn add(tx: &mut Tx, event: &Event<'_>) -> Result<(), StoreError> {
    let args = args![
        row_id(event.at),
        event.at.micros(),
        event.action.name(),
        event.actor,
        event.reason.map(Reason::name),
        event.client.map(ClientId::as_str),
        event.resource.map(ResourceId::as_str),
        event.kid,
        event.request,
        &event.detail,
    ];
    tx.run(&AUDIT_ADD, args).await.map(drop)
}

/// An event as it stands in the trail.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Recorded {
    /// When, in microseconds.
    pub at: i64,
    /// What.
    pub action: String,
    /// Who.
    pub actor: String,
    /// The reason, for a refusal.
    pub reason: Option<String>,
    /// The client concerned.
    pub client_id: Option<String>,
    /// The resource concerned.
    pub resource: Option<String>,
    /// The key concerned.
    pub kid: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// What else there is to know.
    pub detail: Json<Value>,
}

/// The latest events, newest first.
pub async fn latest(db: &Db, count: i64) -> Result<Vec<Recorded>, StoreError> {
    db.all(&AUDIT_LATEST, args![count]).await
}
