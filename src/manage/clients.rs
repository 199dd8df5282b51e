//! Clients: register, look at, switch off and on, delete, and change their secrets.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::describe::{ClientDescription, Frame};
use super::{Desk, ManageError, shown};
use crate::domain::{
    Algorithm, AuthMethod, Client, ClientId, RefreshRetry, Resource, ResourceId, Stage, Target,
    Time,
};
use crate::secret::{ClientSecret, WrittenSecret};
use crate::store::audit::{self, Action, Event, row_id};
use crate::store::secrets::{self, StoredSecret};
use crate::store::versions::{self, Part};
use crate::store::{StoreError, Tx, clients, keys, resources};

/// How long an older secret goes on working once it has a successor.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// A client as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct ClientView {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// How it authenticates.
    pub auth_method: &'static str,
    /// The grants it may use.
    pub grants: Vec<&'static str>,
    /// Where a browser may be sent back to.
    pub redirect_uris: Vec<String>,
    /// The resources it may ask tokens for.
    pub resources: Vec<String>,
    /// The resource of a request that names none.
    pub default_resource: Option<String>,
    /// The scopes it may have; absent: all of its resources.
    pub scopes: Option<Vec<String>>,
    /// The scopes of a request that names none; absent: all allowed.
    pub default_scopes: Option<Vec<String>>,
    /// The resources whose tokens it may introspect.
    pub introspects: Vec<String>,
    /// How long its access tokens live; absent: the default.
    pub access_token_ttl: Option<String>,
    /// The key line that signs for it; absent: the default.
    pub algorithm: Option<&'static str>,
    /// What happens when it repeats a refresh; absent: the default.
    pub refresh_retry: Option<&'static str>,
    /// Its sign-ins end when so long nothing was refreshed; absent: the default.
    pub refresh_idle: Option<String>,
    /// Its sign-ins end after so long, however much they are used; absent: the default.
    pub refresh_absolute: Option<String>,
    /// So many sign-ins one person may have alive; absent: any number.
    pub refresh_families: Option<u32>,
    /// Whether it is the operator's own.
    pub first_party: bool,
    /// Static claims of its tokens.
    pub claims: Value,
    /// Its secrets, oldest first.
    pub secrets: Vec<SecretView>,
    /// What was authorized for it before this counts no more.
    pub valid_from: Option<String>,
    /// When it was registered.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// A secret as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct SecretView {
    /// Its first characters, if it was generated.
    pub hint: String,
    /// When it was made.
    pub created_at: String,
    /// Until when it works; absent: without end.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
}

/// A client's name together with a secret that is shown this once.
#[derive(Debug, Serialize)]
pub struct NewSecret {
    /// Whose.
    pub client_id: String,
    /// The secret, if one was made.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub client_secret: Option<ClientSecret>,
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn exposed<S: Serializer>(secret: &Option<ClientSecret>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ClientSecret::expose).serialize(to)
}

/// One field of a client for views and comparisons: its name, its value, and how to copy it.
pub(super) type Field = (&'static str, fn(&Client) -> Value, fn(&mut Client, &Client));

/// Every field that a description sets.
pub(super) const FIELDS: [Field; 17] = [
    ("name", |c| json!(c.name), |to, from| to.name.clone_from(&from.name)),
    ("auth_method", |c| json!(c.auth_method.name()), |to, from| to.auth_method = from.auth_method),
    (
        "grants",
        |c| c.grants.iter().map(|grant| grant.name()).collect(),
        |to, from| to.grants.clone_from(&from.grants),
    ),
    (
        "redirect_uris",
        |c| json!(c.redirect_uris),
        |to, from| to.redirect_uris.clone_from(&from.redirect_uris),
    ),
    ("resources", |c| ids(&c.resources), |to, from| to.resources.clone_from(&from.resources)),
    (
        "default_resource",
        |c| json!(c.default_resource.as_ref().map(ResourceId::as_str)),
        |to, from| to.default_resource.clone_from(&from.default_resource),
    ),
    ("scopes", |c| json!(names(c.scopes.as_ref())), |to, from| to.scopes.clone_from(&from.scopes)),
    (
        "default_scopes",
        |c| json!(names(c.default_scopes.as_ref())),
        |to, from| to.default_scopes.clone_from(&from.default_scopes),
    ),
    (
        "introspects",
        |c| ids(&c.introspects),
        |to, from| to.introspects.clone_from(&from.introspects),
    ),
    ("access_token_ttl", |c| json!(ttl(c)), |to, from| to.access_token_ttl = from.access_token_ttl),
    (
        "algorithm",
        |c| json!(c.algorithm.map(Algorithm::name)),
        |to, from| to.algorithm = from.algorithm,
    ),
    (
        "refresh_retry",
        |c| json!(c.refresh_retry.map(RefreshRetry::name)),
        |to, from| to.refresh_retry = from.refresh_retry,
    ),
    (
        "refresh_idle",
        |c| json!(c.refresh_idle.map(written)),
        |to, from| to.refresh_idle = from.refresh_idle,
    ),
    (
        "refresh_absolute",
        |c| json!(c.refresh_absolute.map(written)),
        |to, from| to.refresh_absolute = from.refresh_absolute,
    ),
    (
        "refresh_families",
        |c| json!(c.refresh_families),
        |to, from| to.refresh_families = from.refresh_families,
    ),
    ("first_party", |c| json!(c.first_party), |to, from| to.first_party = from.first_party),
    (
        "claims",
        |c| Value::Object(c.claims.as_map().clone()),
        |to, from| to.claims.clone_from(&from.claims),
    ),
];

fn ids(ids: &[ResourceId]) -> Value {
    ids.iter().map(ResourceId::as_str).collect()
}

fn names(scopes: Option<&crate::domain::Scopes>) -> Option<Vec<String>> {
    scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect())
}

fn ttl(client: &Client) -> Option<String> {
    client.access_token_ttl.map(|ttl| humantime::format_duration(ttl).to_string())
}

/// A length as one writes it: whole days as days, for a month is no number of them.
pub(super) fn written(length: Duration) -> String {
    const DAY: u64 = 86_400;
    match length.as_secs() {
        0 => humantime::format_duration(length).to_string(),
        seconds if seconds % DAY == 0 && length.subsec_nanos() == 0 => {
            format!("{}d", seconds / DAY)
        }
        _ => humantime::format_duration(length).to_string(),
    }
}

fn view(client: &Client, secrets: &[StoredSecret]) -> ClientView {
    let own = secrets.iter().filter(|secret| secret.client == client.id);
    ClientView {
        id: client.id.to_string(),
        name: client.name.clone(),
        disabled: client.disabled_at.is_some(),
        auth_method: client.auth_method.name(),
        grants: client.grants.iter().map(|grant| grant.name()).collect(),
        redirect_uris: client.redirect_uris.clone(),
        resources: client.resources.iter().map(ToString::to_string).collect(),
        default_resource: client.default_resource.as_ref().map(ToString::to_string),
        scopes: names(client.scopes.as_ref()),
        default_scopes: names(client.default_scopes.as_ref()),
        introspects: client.introspects.iter().map(ToString::to_string).collect(),
        access_token_ttl: ttl(client),
        algorithm: client.algorithm.map(Algorithm::name),
        refresh_retry: client.refresh_retry.map(RefreshRetry::name),
        refresh_idle: client.refresh_idle.map(written),
        refresh_absolute: client.refresh_absolute.map(written),
        refresh_families: client.refresh_families.map(NonZeroU32::get),
        first_party: client.first_party,
        claims: Value::Object(client.claims.as_map().clone()),
        secrets: own
            .map(|secret| SecretView {
                hint: secret.hint.clone(),
                created_at: shown(secret.created_at),
                expires_at: secret.expires_at.map(shown),
                last_used_at: secret.last_used_at.map(shown),
            })
            .collect(),
        valid_from: client.valid_from.map(shown),
        created_at: shown(client.created_at),
        updated_at: shown(client.updated_at),
    }
}

impl Desk {
    /// What descriptions are held against, given the resources there will be.
    pub(super) async fn frame<'a>(
        &'a self,
        resources: &[Resource],
        now: Time,
    ) -> Result<Frame<'a>, StoreError> {
        let keys = keys::load(&self.db).await?;
        let active = keys.iter().filter(|row| row.key.stage(now) == Stage::Active);
        Ok(Frame {
            issuer: &self.issuer,
            policy: &self.policy,
            refresh: &self.refresh,
            lines: (!keys.is_empty()).then(|| active.map(|row| row.key.algorithm).collect()),
            resources: resources.iter().map(|one| (one.id.clone(), one.scope_set())).collect(),
        })
    }

    /// Every client.
    pub async fn clients(&self) -> Result<Vec<ClientView>, ManageError> {
        let all = clients::load(&self.db).await?;
        let secrets = secrets::load(&self.db).await?;
        Ok(all.iter().map(|client| view(client, &secrets)).collect())
    }

    /// One client.
    pub async fn client(&self, id: &str) -> Result<ClientView, ManageError> {
        let found = self.clients().await?.into_iter().find(|client| client.id == id);
        found.ok_or_else(|| not_found(id))
    }

    /// Registers a client. A confidential one gets the secret it is described with, or a new one.
    pub async fn create_client(
        &self,
        description: &ClientDescription,
        now: Time,
    ) -> Result<NewSecret, ManageError> {
        let (client, chosen) = self.described(description, now).await?;
        let made = chosen.is_none() && client.auth_method != AuthMethod::None;
        let secret = if made { Some(ClientSecret::generate()) } else { chosen };
        let created = self
            .db
            .write(async |tx| {
                versions::bump(tx, Part::Directory).await?;
                if clients::load_in(tx).await?.iter().any(|other| other.id == client.id) {
                    return Ok(false);
                }
                clients::put(tx, &client).await?;
                let event = Event::new(Action::ClientCreated, &self.actor, now);
                audit::add(tx, &Event { client: Some(&client.id), ..event }).await?;
                if let Some(secret) = &secret {
                    self.add_secret(tx, &client.id, secret, now).await?;
                }
                Ok(true)
            })
            .await?;
        if !created {
            return Err(ManageError::Exists { kind: "client", id: client.id.to_string() });
        }
        Ok(NewSecret { client_id: client.id.to_string(), client_secret: secret.filter(|_| made) })
    }

    /// The client and the chosen secret of a description, or every mistake in it.
    async fn described(
        &self,
        description: &ClientDescription,
        now: Time,
    ) -> Result<(Client, Option<ClientSecret>), ManageError> {
        let frame = self.frame(&resources::load(&self.db).await?, now).await?;
        let mut mistakes = Vec::new();
        let client = description.check(&frame, now, &mut mistakes);
        let chosen = description.secret.as_ref().map(WrittenSecret::choose).transpose();
        let chosen = chosen.unwrap_or_else(|what| {
            mistakes.push(format!("client {:?}: secret: {what}", description.id));
            None
        });
        match client {
            Some(client) if mistakes.is_empty() => Ok((client, chosen)),
            _ => Err(ManageError::Invalid(mistakes)),
        }
    }

    /// Switches a client off: it can no longer authenticate, within the bound of the mirror.
    pub async fn disable_client(&self, id: &str, now: Time) -> Result<ClientView, ManageError> {
        self.change(id, Action::ClientDisabled, now, async |tx, id| {
            clients::set_disabled(tx, id, Some(now), now).await
        })
        .await?;
        self.client(id).await
    }

    /// Switches a client on again.
    pub async fn enable_client(&self, id: &str, now: Time) -> Result<ClientView, ManageError> {
        self.change(id, Action::ClientEnabled, now, async |tx, id| {
            clients::set_disabled(tx, id, None, now).await
        })
        .await?;
        self.client(id).await
    }

    /// Deletes a client with its secrets.
    pub async fn delete_client(&self, id: &str, now: Time) -> Result<(), ManageError> {
        self.change(id, Action::ClientDeleted, now, async |tx, id| clients::delete(tx, id).await)
            .await
    }

    /// Gives a client a new secret; the present one works for another day.
    pub async fn rotate_secret(&self, id: &str, now: Time) -> Result<NewSecret, ManageError> {
        if self.client(id).await?.auth_method == AuthMethod::None.name() {
            return Err(ManageError::invalid(format!(
                "client {id:?} is public (auth_method \"none\"): it has no secret"
            )));
        }
        let secret = ClientSecret::generate();
        self.change(id, Action::ClientChanged, now, async |tx, id| {
            self.take_back_unused(tx, id, now).await?;
            self.add_secret(tx, id, &secret, now).await.map(|()| true)
        })
        .await?;
        Ok(NewSecret { client_id: id.to_owned(), client_secret: Some(secret) })
    }

    /// One act on one existing client, announced and audited.
    async fn change(
        &self,
        id: &str,
        action: Action,
        now: Time,
        act: impl AsyncFn(&mut Tx, &ClientId) -> Result<bool, StoreError>,
    ) -> Result<(), ManageError> {
        let client = ClientId::parse(id).map_err(|_| not_found(id))?;
        let found = self
            .db
            .write(async |tx| {
                versions::bump(tx, Part::Directory).await?;
                if !clients::exists(tx, &client).await? || !act(tx, &client).await? {
                    return Ok(false);
                }
                let event = Event::new(action, &self.actor, now);
                audit::add(tx, &Event { client: Some(&client), ..event }).await?;
                if action == Action::ClientDeleted {
                    self.take_back(tx, vec![Target::Client(id.to_owned())], now).await?;
                }
                Ok(true)
            })
            .await?;
        if found { Ok(()) } else { Err(not_found(id)) }
    }

    /// Takes back a second secret that nobody ever used: most likely the answer that held it was
    /// lost, and this is the second try. Without this, the third secret would push out the first,
    /// which is the one at work.
    async fn take_back_unused(
        &self,
        tx: &mut Tx,
        client: &ClientId,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut live = secrets::of(tx, client).await?;
        live.retain(|one| one.is_live(now));
        let unused = live.pop().filter(|one| !live.is_empty() && one.last_used_at.is_none());
        let Some(unused) = unused else { return Ok(()) };
        secrets::delete(tx, unused.id).await?;
        self.retired(tx, client, json!({ "hint": unused.hint }), now).await
    }

    /// Adds a secret to a client and lets its predecessor live for [`OVERLAP`]; any older one goes,
    /// so that never more than two live at once.
    pub(super) async fn add_secret(
        &self,
        tx: &mut Tx,
        client: &ClientId,
        secret: &ClientSecret,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut older = secrets::of(tx, client).await?;
        older.retain(|one| one.is_live(now));
        let predecessor = older.pop();
        for retired in older {
            secrets::delete(tx, retired.id).await?;
            self.retired(tx, client, json!({ "hint": retired.hint }), now).await?;
        }
        if let Some(predecessor) = predecessor {
            let end = now + OVERLAP;
            let end = predecessor.expires_at.unwrap_or(end).min(end);
            secrets::expire(tx, predecessor.id, end).await?;
            let detail = json!({ "hint": predecessor.hint, "works_until": shown(end) });
            self.retired(tx, client, detail, now).await?;
        }
        // Read once: the file may be read again at any moment.
        let root = self.secrets.now();
        let stored = StoredSecret {
            id: row_id(now),
            client: client.clone(),
            digest: root.current_pepper().digest(client, secret),
            pepper: root.current(),
            hint: secret.hint(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
        };
        secrets::insert(tx, &stored).await?;
        let event = Event::new(Action::ClientSecretAdded, &self.actor, now);
        let detail = json!({ "hint": stored.hint });
        audit::add(tx, &Event { client: Some(client), detail, ..event }).await
    }

    async fn retired(
        &self,
        tx: &mut Tx,
        client: &ClientId,
        detail: Value,
        now: Time,
    ) -> Result<(), StoreError> {
        let event = Event::new(Action::ClientSecretRetired, &self.actor, now);
        audit::add(tx, &Event { client: Some(client), detail, ..event }).await
    }
}

fn not_found(id: &str) -> ManageError {
    ManageError::NotFound { kind: "client", id: id.to_owned() }
}
