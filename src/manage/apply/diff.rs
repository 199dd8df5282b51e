//! The difference between a file and the database: pure, so that `--dry-run` shows exactly what
//! would be done.

mod people;

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::people::Passwords;
use super::report::{Change, Report};
use super::{ApplyFile, Generated, Options, remembered};
use crate::domain::{AuthMethod, Client, ClientId, Resource, ResourceId, Time, User, Username};
use crate::manage::describe::{ClientDescription, Frame};
use crate::manage::{clients, resources};
use crate::secret::{ClientSecret, RootSecrets, SecretId};
use crate::store::applied::AppliedField;
use crate::store::audit::Action;
use crate::store::secrets::StoredSecret;
use crate::store::users::PasswordHash;

/// What the database holds.
pub(super) struct State {
    pub resources: Vec<Resource>,
    pub clients: Vec<Client>,
    pub secrets: Vec<StoredSecret>,
    pub users: Vec<User>,
    pub applied: Vec<AppliedField>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Plan {
    pub report: Report,
    pub put_resources: Vec<(Resource, Action)>,
    pub put_clients: Vec<(Client, Action, Vec<&'static str>)>,
    pub add_secrets: Vec<(ClientId, ClientSecret)>,
    pub generated: Vec<Generated>,
    pub delete_clients: Vec<ClientId>,
    pub delete_resources: Vec<ResourceId>,
    pub add_users: Vec<(Username, Option<PasswordHash>)>,
    pub set_passwords: Vec<(Uuid, PasswordHash)>,
    pub delete_users: Vec<Uuid>,
    pub forget: Vec<(&'static str, String)>,
    pub remember: Vec<AppliedField>,
    /// The database has changed since the passwords were made ready: it is to be tried again.
    pub outdated: bool,
}

struct Differ<'a> {
    state: &'a State,
    secrets: &'a RootSecrets,
    applied: HashMap<(&'a str, &'a str, &'a str), &'a str>,
    options: Options,
    now: Time,
    mistakes: Vec<String>,
    plan: Plan,
}

/// One field of an object: its name, its value as JSON, and how to copy it from another object.
type Field<T> = (&'static str, fn(&T) -> Value, fn(&mut T, &T));

/// Works out what to write, or names every mistake.
pub(super) fn plan(
    file: &ApplyFile,
    state: &State,
    mut frame: Frame<'_>,
    (secrets, passwords): (&RootSecrets, &Passwords),
    (options, now): (Options, Time),
) -> Result<Plan, Vec<String>> {
    let applied = state.applied.iter().map(|one| {
        ((one.kind.as_str(), one.object_id.as_str(), one.field.as_str()), one.digest.as_str())
    });
    let mut differ = Differ {
        applied: applied.collect(),
        state,
        secrets,
        options,
        now,
        mistakes: Vec::new(),
        plan: Plan::default(),
    };
    let kept = differ.resources(file, &frame);
    frame.resources = kept.iter().map(|one| (one.id.clone(), one.scope_set())).collect();
    differ.clients(file, &frame);
    differ.people(file, passwords);
    differ.absent(file);
    differ.absent_people(file);
    if differ.mistakes.is_empty() { Ok(differ.plan) } else { Err(differ.mistakes) }
}

impl Differ<'_> {
    /// The resources there will be.
    fn resources(&mut self, file: &ApplyFile, frame: &Frame<'_>) -> Vec<Resource> {
        let mut kept = self.state.resources.clone();
        let mut seen = HashSet::new();
        let in_file = |id: &str| file.resources.iter().any(|one| one.id == id);
        let pruned = if self.options.prune { self.gone("resource", in_file) } else { Vec::new() };
        for described in &file.resources {
            let checked = described.check(frame.issuer, self.now, &mut self.mistakes);
            let Some(wanted) = checked else { continue };
            if !seen.insert(wanted.id.lookup_key()) {
                self.mistakes.push(format!("resource {:?}: it occurs twice", described.id));
            }
            let before = self.state.resources.iter().find(|one| one.id == wanted.id);
            let twin = |one: &&Resource| {
                !pruned.contains(&one.id.to_string())
                    && one.id != wanted.id
                    && one.id.lookup_key() == wanted.id.lookup_key()
            };
            if let Some(twin) = self.state.resources.iter().find(twin) {
                let (id, twin) = (&described.id, twin.id.as_str());
                self.mistakes
                    .push(format!("resource {id:?}: clients could not tell it from {twin:?}"));
            }
            let id = wanted.id.to_string();
            let fields = &resources::FIELDS;
            let Some((after, changed)) = self.merge("resource", &id, before, wanted, fields) else {
                continue;
            };
            kept.retain(|one| one.id != after.id);
            kept.push(after.clone());
            if before.is_none() {
                self.plan.put_resources.push((after, Action::ResourceCreated));
            } else if !changed.is_empty() {
                let after = Resource { updated_at: self.now, ..after };
                self.plan.put_resources.push((after, Action::ResourceChanged));
            }
        }
        kept.retain(|one| !pruned.contains(&one.id.to_string()));
        kept
    }

    fn clients(&mut self, file: &ApplyFile, frame: &Frame<'_>) {
        let mut seen = HashSet::new();
        for described in &file.clients {
            if !seen.insert(&described.id) {
                self.mistakes.push(format!("client {:?}: it occurs twice", described.id));
            }
            let id = described.id.clone();
            let before = self.state.clients.iter().find(|one| one.id.as_str() == id);
            // Before it is checked: what it refers to may have been deleted with it.
            if self.is_left_deleted("client", &id, before.is_some()) {
                continue;
            }
            let checked = described.check(frame, self.now, &mut self.mistakes);
            let Some(wanted) = checked else { continue };
            let Some((after, changed)) =
                self.merge("client", &id, before, wanted, &clients::FIELDS)
            else {
                continue;
            };
            self.secret(described, &after);
            if before.is_none() {
                self.plan.put_clients.push((after, Action::ClientCreated, changed));
            } else if !changed.is_empty() {
                let after = Client { updated_at: self.now, ..after };
                self.plan.put_clients.push((after, Action::ClientChanged, changed));
            }
        }
    }

    /// Takes from the file the fields that changed since it was last applied, and leaves the rest
    /// as they are. `None` if an operator has deleted the object: then it stays deleted.
    fn merge<T: Clone>(
        &mut self,
        kind: &'static str,
        id: &str,
        before: Option<&T>,
        wanted: T,
        fields: &[Field<T>],
    ) -> Option<(T, Vec<&'static str>)> {
        if self.is_left_deleted(kind, id, before.is_some()) {
            return None;
        }
        let mut after = before.cloned().unwrap_or_else(|| wanted.clone());
        let mut changed = Vec::new();
        if before.is_none() {
            self.plan.report.changes.push(Change::Created { kind, id: id.to_owned() });
        }
        for &(field, value, copy) in fields {
            let to = value(&wanted);
            let digest = digest(&to);
            if self.applied.get(&(kind, id, field)).is_some_and(|last| **last == digest) {
                continue;
            }
            self.plan.remember.push(remembered(kind, id, field, digest));
            let from = value(&after);
            if before.is_some() && from != to {
                let id = id.to_owned();
                self.plan.report.changes.push(Change::Changed { kind, id, field, from, to });
                changed.push(field);
            }
            copy(&mut after, &wanted);
        }
        if before.is_some() && changed.is_empty() {
            self.plan.report.unchanged += 1;
        }
        Some((after, changed))
    }

    /// Whether an operator has deleted what an earlier `apply` made; the report then says so.
    fn is_left_deleted(&mut self, kind: &'static str, id: &str, exists: bool) -> bool {
        let known = || self.state.applied.iter().any(|one| one.kind == kind && one.object_id == id);
        if exists || !known() {
            return false;
        }
        let note = "deleted by an operator, and left so; to have it again, apply once without it \
                    and then with it"
            .to_owned();
        self.plan.report.changes.push(Change::Note { kind, id: id.to_owned(), note });
        true
    }

    /// A changed secret is added; a missing one is generated where the file asks for that.
    fn secret(&mut self, described: &ClientDescription, client: &Client) {
        let id = &described.id;
        let live = |one: &&StoredSecret| one.client == client.id && one.is_live(self.now);
        let live: Vec<_> = self.state.secrets.iter().filter(live).collect();
        let Some(text) = &described.secret else {
            if described.generate_secret && live.is_empty() {
                self.changed_secret(id);
                let secret = ClientSecret::generate();
                self.plan.generated.push(Generated { client: client.id.clone(), secret });
            } else if live.is_empty() && client.auth_method != AuthMethod::None {
                let note = "it has no secret, so it cannot authenticate; set secret, secret_file \
                            or generate_secret"
                    .to_owned();
                self.plan.report.changes.push(Change::Note {
                    kind: "client",
                    id: id.clone(),
                    note,
                });
            }
            return;
        };
        let secret = match text.choose() {
            Ok(secret) => secret,
            Err(what) => return self.mistakes.push(format!("client {id:?}: secret: {what}")),
        };
        let current = self.tag(self.secrets.current(), client, &secret).unwrap_or_default();
        let last = self.applied.get(&("client", id.as_str(), "secret")).copied();
        let same = last.map(|last| self.is_same_secret(last, client, &secret));
        if last != Some(current.as_str()) {
            self.plan.remember.push(remembered("client", id, "secret", current));
        }
        let works = |one: &&StoredSecret| {
            let pepper = self.secrets.pepper(one.pepper);
            pepper.is_some_and(|pepper| pepper.digest(&client.id, &secret).matches(&one.digest))
        };
        if same == Some(Some(true)) || live.iter().any(works) {
            return;
        }
        if same == Some(None) {
            // Adding it might bring back a secret that an operator has replaced since.
            let note =
                "whether its secret changed cannot be told, because the root secret of that \
                        time is gone; it is left as it is (jeton client rotate-secret)"
                    .to_owned();
            self.plan.report.changes.push(Change::Note { kind: "client", id: id.clone(), note });
            return;
        }
        self.changed_secret(id);
        self.plan.add_secrets.push((client.id.clone(), secret));
    }

    fn changed_secret(&mut self, id: &str) {
        let known = self.state.clients.iter().any(|one| one.id.as_str() == id);
        if known {
            let (id, from, to) = (id.to_owned(), Value::Null, Value::Null);
            let change = Change::Changed { kind: "client", id, field: "secret", from, to };
            self.plan.report.changes.push(change);
        }
    }

    /// What is remembered of a secret: its stored form, so that it betrays no more than that does.
    fn tag(&self, id: SecretId, client: &Client, secret: &ClientSecret) -> Option<String> {
        let digest = self.secrets.pepper(id)?.digest(&client.id, secret);
        Some(format!("{}:{}", id.0, URL_SAFE_NO_PAD.encode(digest.as_bytes())))
    }

    /// Whether the secret is the one that was applied last; `None` if that cannot be told.
    fn is_same_secret(&self, last: &str, client: &Client, secret: &ClientSecret) -> Option<bool> {
        let id = last.split_once(':').and_then(|(id, _)| id.parse().ok()).map(SecretId)?;
        let tag = self.tag(id, client, secret)?;
        Some(crate::secret::same(tag.as_bytes(), last.as_bytes()))
    }

    /// What an earlier `apply` made and this file lacks is forgotten, and with `--prune` deleted.
    fn absent(&mut self, file: &ApplyFile) {
        let clients = self.gone("client", |id| file.clients.iter().any(|one| one.id == id));
        let resources = self.gone("resource", |id| file.resources.iter().any(|one| one.id == id));
        for id in clients {
            let exists = self.state.clients.iter().find(|one| one.id.as_str() == id);
            match exists {
                Some(client) if self.options.prune => {
                    self.plan.delete_clients.push(client.id.clone());
                    self.delete("client", &id);
                }
                Some(_) => {}
                None => self.plan.forget.push(("client", id)),
            }
        }
        for id in resources {
            let exists = self.state.resources.iter().find(|one| one.id.as_str() == id);
            match exists {
                Some(resource) if self.options.prune => {
                    self.refuse_if_used(resource);
                    self.plan.delete_resources.push(resource.id.clone());
                    self.delete("resource", &id);
                }
                Some(_) => {}
                None => self.plan.forget.push(("resource", id)),
            }
        }
    }

    fn delete(&mut self, kind: &'static str, id: &str) {
        self.plan.forget.push((kind, id.to_owned()));
        self.plan.report.changes.push(Change::Deleted { kind, id: id.to_owned() });
    }

    fn refuse_if_used(&mut self, resource: &Resource) {
        let uses = |client: &&Client| {
            !self.plan.delete_clients.contains(&client.id)
                && !self.plan.put_clients.iter().any(|(changed, ..)| changed.id == client.id)
                && (client.resources.contains(&resource.id)
                    || client.introspects.contains(&resource.id))
        };
        let users: Vec<_> =
            self.state.clients.iter().filter(uses).map(|one| one.id.to_string()).collect();
        if !users.is_empty() {
            let users = users.join(", ");
            self.mistakes
                .push(format!("resource {:?}: still used by {users}", resource.id.as_str()));
        }
    }

    fn gone(&self, kind: &str, in_file: impl Fn(&str) -> bool) -> Vec<String> {
        let mut ids: Vec<_> = self
            .state
            .applied
            .iter()
            .filter(|one| one.kind == kind && !in_file(&one.object_id))
            .map(|one| one.object_id.clone())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

fn digest(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(value.to_string().as_bytes()))
}
