//! The audit trail: one row for each security event, written in the transaction of the act itself,
//! so that there is no act without its row and no row without its act.

use serde_json::Value;
use sqlx::types::Json;
use uuid::{NoContext, Timestamp, Uuid};

use super::arg::args;
use super::{Db, StoreError, Tx, statements};
use crate::domain::{ClientId, Reason, ResourceId, Time};

statements! {
    AUDIT_ADD on Both =
        "insert into audit_events
             (id, at, action, actor, reason, client_id, resource, kid, request_id, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    AUDIT_LIST on Both =
        "select id, at, action, actor, reason, client_id, resource, kid, request_id, detail
         from audit_events
         where at >= $1 and at < $2
           and (cast($3 as text) is null or client_id = $3)
           and (cast($4 as text) is null or action = $4)
           and (cast($5 as text) is null or reason = $5)
           and (cast($6 as text) is null or request_id = $6)
         order by at desc, id desc limit $7";
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
    /// A client asked for another one's token to be revoked; nothing was.
    ForeignTokenRevocation,
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
    /// A person was registered.
    UserCreated,
    /// A person's account was switched off.
    UserDisabled,
    /// A person's account was switched on again.
    UserEnabled,
    /// A person's password was set.
    UserPasswordSet,
    /// A person was deleted.
    UserDeleted,
    /// An operator ended sign-ins.
    SessionsRevoked,
    /// Somebody failed to sign in as a person again and again.
    SignInFailedRun,
    /// A person's authorization was fetched by its client: a family began.
    FamilyBegun,
    /// An operator took tokens back.
    TokensRevoked,
    /// A refresh token was used that had a successor already: the family was ended.
    FamilyReused,
    /// An authorization was taken back.
    FamilyRevoked,
    /// A family went on whose last refresh the database had lost.
    FamilyHealed,
    /// An operator said since when what the database learned may be lost.
    RecoveryOpened,
    /// An operator said that nothing is lost any more.
    RecoveryClosed,
    /// Revocations that the database had lost were written again.
    RevocationsRestored,
    /// A root secret was declared stolen.
    RootSecretCompromised,
    /// A root secret was added to the file.
    RootSecretAdded,
    /// A root secret seals from now on.
    RootSecretPromoted,
    /// A root secret was taken out of use.
    RootSecretDropped,
    /// A root secret was lost, and with it what only it opens.
    RootSecretLost,
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
            Self::ForeignTokenRevocation => "foreign_token_revocation",
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
            Self::UserCreated => "user_created",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserPasswordSet => "user_password_set",
            Self::UserDeleted => "user_deleted",
            Self::SessionsRevoked => "sessions_revoked",
            Self::SignInFailedRun => "sign_in_failed_run",
            Self::FamilyBegun => "family_begun",
            Self::TokensRevoked => "tokens_revoked",
            Self::FamilyReused => "family_reused",
            Self::FamilyRevoked => "family_revoked",
            Self::FamilyHealed => "family_healed",
            Self::RecoveryOpened => "recovery_opened",
            Self::RecoveryClosed => "recovery_closed",
            Self::RevocationsRestored => "revocations_restored",
            Self::RootSecretCompromised => "root_secret_compromised",
            Self::RootSecretAdded => "root_secret_added",
            Self::RootSecretPromoted => "root_secret_promoted",
            Self::RootSecretDropped => "root_secret_dropped",
            Self::RootSecretLost => "root_secret_lost",
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
    /// The row's name.
    pub id: Uuid,
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

/// Which events to look for.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// Not before.
    pub since: Time,
    /// Before.
    pub until: Time,
    /// Of one client.
    pub client: Option<&'a str>,
    /// Of one kind.
    pub action: Option<&'a str>,
    /// For one reason.
    pub reason: Option<&'a str>,
    /// Of one request.
    pub request: Option<&'a str>,
    /// So many at most, the latest.
    pub limit: u32,
}

impl Filter<'_> {
    /// The latest events of whatever kind.
    pub const fn latest(limit: u32) -> Self {
        Self {
            since: Time::from_micros(i64::MIN),
            until: Time::from_micros(i64::MAX),
            client: None,
            action: None,
            reason: None,
            request: None,
            limit,
        }
    }
}

/// The events that a filter lets through, newest first.
pub async fn list(db: &Db, filter: &Filter<'_>) -> Result<Vec<Recorded>, StoreError> {
    let args = args![
        filter.since.micros(),
        filter.until.micros(),
        filter.client,
        filter.action,
        filter.reason,
        filter.request,
        i64::from(filter.limit),
    ];
    db.all(&AUDIT_LIST, args).await
}
