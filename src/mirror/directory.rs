//! Clients and resources, prepared for the token path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::domain::{Algorithm, Client, ClientId, Resource, ResourceId, Scope, Scopes, Time};
use crate::secret::SecretId;
use crate::store::secrets::StoredSecret;

/// A secret's use is noted at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// What a client may have of one resource: worked out once, when the directory is loaded.
#[derive(Debug)]
pub struct Offer {
    /// The resource's identifier: the audience.
    pub resource: ResourceId,
    /// The scopes it may have.
    pub allowed: Scopes,
    /// The scopes it gets when it names none.
    pub default: Scopes,
    /// Whether its registration, and not the resource, is what limits it.
    pub limited_by_client: bool,
    /// Whether the resource has any scopes.
    pub has_scopes: bool,
    /// Extra claims as the inside of a JSON object, with a comma before; empty if there are none.
    pub extra_claims: String,
}

impl Offer {
    fn new(client: &Client, resource: &Resource) -> Self {
        let all = resource.scope_set();
        let allowed =
            client.scopes.as_ref().map_or_else(|| all.clone(), |own| own.intersection(&all));
        let default = client
            .default_scopes
            .as_ref()
            .map_or_else(|| allowed.clone(), |own| own.intersection(&allowed));
        let claims = resource.claims.overlaid(&client.claims);
        let extra_claims = if claims.is_empty() {
            String::new()
        } else {
            let object = serde_json::to_string(claims.as_map()).unwrap_or_default();
            format!(",{}", object.trim_start_matches('{').strip_suffix('}').unwrap_or_default())
        };
        Self {
            resource: resource.id.clone(),
            limited_by_client: allowed != all,
            has_scopes: !all.is_empty(),
            allowed,
            default,
            extra_claims,
        }
    }
}

/// A secret of a client, and when its use was last noted.
#[derive(Debug)]
pub struct Secret {
    /// As stored.
    pub stored: StoredSecret,
    noted: AtomicI64,
    moved: AtomicBool,
}

impl Secret {
    fn new(stored: StoredSecret) -> Self {
        let noted = AtomicI64::new(stored.last_used_at.map_or(0, Time::micros));
        Self { stored, noted, moved: AtomicBool::new(false) }
    }

    /// Whether it is stored under an earlier root secret than `current`, and this is the first use to
    /// notice: only then is the secret at hand, so it moves without waiting for the next note. It never
    /// moves back: while files differ, replicas would move it to and fro.
    pub fn should_move(&self, current: SecretId) -> bool {
        self.stored.pepper.0 < current.0 && !self.moved.swap(true, Ordering::Relaxed)
    }

    /// Whether this use is the first for a while and so worth a note.
    pub fn is_worth_noting(&self, now: Time) -> bool {
        let noted = self.noted.load(Ordering::Relaxed);
        now.since(Time::from_micros(noted)) >= NOTE_EVERY
            && self
                .noted
                .compare_exchange(noted, now.micros(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// A client with its secrets and what it may have.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// Its secrets, oldest first.
    pub secrets: Vec<Secret>,
    /// When its registration, or that of one of its resources, was last changed.
    pub changed_at: Time,
    offers: HashMap<ResourceId, Offer>,
    pages: HashSet<String>,
    /// The registered spelling for each that means the same.
    spellings: HashMap<String, ResourceId>,
}

impl Registered {
    /// What it may have of a resource, however the resource is spelt.
    pub fn offer(&self, resource: &ResourceId) -> Option<&Offer> {
        self.spelt(resource.as_str())
            .or_else(|| self.offers.get(self.spellings.get(&resource.lookup_key())?))
    }

    /// Whether it has a page at an origin, given as [`redirect::registered_origin`] spells it.
    ///
    /// [`redirect::registered_origin`]: crate::domain::redirect::registered_origin
    pub fn has_page_at(&self, origin: &str) -> bool {
        self.pages.contains(origin)
    }

    /// What it may have of the resource that is registered under exactly this name.
    pub fn spelt(&self, name: &str) -> Option<&Offer> {
        self.offers.get(name)
    }
}

/// All clients and resources as last loaded.
#[derive(Debug, Default)]
pub struct Directory {
    clients: HashMap<ClientId, Arc<Registered>>,
    scopes: Scopes,
    valid_from: Option<Time>,
    /// The root secrets under which any client's secret is stored: most of the time one.
    peppers: BTreeSet<SecretId>,
    /// The origins of all pages.
    pages: HashSet<String>,
    /// What granting a scope of a resource means, where that is registered.
    meanings: HashMap<ResourceId, HashMap<Scope, String>>,
}

impl Directory {
    /// Prepares what was loaded.
    pub fn new(
        clients: Vec<Client>,
        secrets: Vec<StoredSecret>,
        resources: &[Resource],
        valid_from: Option<Time>,
    ) -> Self {
        let peppers = secrets.iter().map(|secret| secret.pepper).collect();
        let mut by_client: HashMap<ClientId, Vec<Secret>> = HashMap::new();
        for secret in secrets {
            by_client.entry(secret.client.clone()).or_default().push(Secret::new(secret));
        }
        let by_id: HashMap<_, _> = resources.iter().map(|one| (&one.id, one)).collect();
        let register = |client: Client| {
            let resources = || client.resources.iter().filter_map(|id| by_id.get(id));
            // A resource that is not there any more was changed, and nobody knows when.
            let resource_changed =
                |id| by_id.get(id).map_or(Time::END, |resource: &&Resource| resource.updated_at);
            let changed = client.resources.iter().map(resource_changed);
            let changed_at = changed.fold(client.updated_at, Ord::max);
            let offer = |resource: &&Resource| (resource.id.clone(), Offer::new(&client, resource));
            let offers = resources().map(offer).collect();
            let spellings = resources().map(|one| (one.id.lookup_key(), one.id.clone())).collect();
            let secrets = by_client.remove(&client.id).unwrap_or_default();
            let pages = client.pages().collect();
            (
                client.id.clone(),
                Arc::new(Registered { client, secrets, changed_at, offers, pages, spellings }),
            )
        };
        Self {
            peppers,
            pages: clients.iter().flat_map(Client::pages).collect(),
            clients: clients.into_iter().map(register).collect(),
            meanings: resources.iter().map(|one| (one.id.clone(), meanings(one))).collect(),
            scopes: resources
                .iter()
                .flat_map(|one| one.scope_set().iter().cloned().collect::<Vec<_>>())
                .collect(),
            valid_from,
        }
    }

    /// What was authorized for anybody before this counts no more.
    pub const fn valid_from(&self) -> Option<Time> {
        self.valid_from
    }

    /// The root secrets under which any client's secret is stored.
    pub fn peppers(&self) -> impl Iterator<Item = SecretId> {
        self.peppers.iter().copied()
    }

    /// A client by its identifier.
    pub fn client(&self, id: &ClientId) -> Option<&Arc<Registered>> {
        self.clients.get(id)
    }

    /// A client by what may be its identifier.
    pub fn client_by_name(&self, name: &str) -> Option<&Arc<Registered>> {
        self.clients.get(name)
    }

    /// Whether any client has a page at an origin, given as [`redirect::registered_origin`] spells it.
    ///
    /// [`redirect::registered_origin`]: crate::domain::redirect::registered_origin
    pub fn has_page_at(&self, origin: &str) -> bool {
        self.pages.contains(origin)
    }

    /// What granting a scope of a resource means, in words for the person who is asked.
    pub fn meaning(&self, resource: &ResourceId, scope: &Scope) -> Option<&str> {
        self.meanings.get(resource)?.get(scope).map(String::as_str)
    }

    /// The clients that chose an algorithm which is not among these.
    pub fn clients_outside(&self, lines: &[Algorithm]) -> Vec<&ClientId> {
        let outside = |one: &&Arc<Registered>| {
            one.client.algorithm.is_some_and(|algorithm| !lines.contains(&algorithm))
        };
        self.clients.values().filter(outside).map(|one| &one.client.id).collect()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Every scope of every resource: what metadata advertises.
    pub const fn scopes(&self) -> &Scopes {
        &self.scopes
    }
}

fn meanings(resource: &Resource) -> HashMap<Scope, String> {
    let told =
        resource.scopes.iter().filter_map(|one| Some((&one.name, one.description.as_ref()?)));
    told.map(|(name, meaning)| (name.clone(), meaning.clone())).collect()
}
