//! Clients and resources as people describe them, in the `apply` file and on the command line, and
//! the rules that a description must keep. Mistakes are collected, and named by key.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::family::{self, RefreshRules};
use crate::domain::redirect;
use crate::domain::schedule::Policy;
use crate::domain::{
    Algorithm, AuthMethod, Client, ClientId, ExtraClaims, GrantType, Invalid, Issuer, RefreshRetry,
    Resource, ResourceId, Scope, ScopeDefinition, Scopes, Time,
};
use crate::secret::WrittenSecret;

use super::clients::written;

/// A `[[resource]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceDescription {
    /// The identifier.
    pub id: String,
    /// What it understands.
    #[serde(default)]
    pub scopes: Vec<ScopeDescription>,
    /// Static claims of its tokens.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// A scope: its name, or its name and what granting it means.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum ScopeDescription {
    /// `"read"`
    Name(String),
    /// `{ name = "read", description = "…" }`
    Full {
        /// The name.
        name: String,
        /// What granting it means.
        #[serde(default)]
        description: Option<String>,
    },
}

/// A `[[client]]`. What is omitted means its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientDescription {
    /// The identifier.
    pub id: String,
    /// The name for people; default: the identifier.
    pub name: Option<String>,
    /// A secret; omitted: the present one stays.
    pub secret: Option<WrittenSecret>,
    /// A file that holds the secret.
    pub secret_file: Option<String>,
    /// Make a secret where none exists.
    #[serde(default)]
    pub generate_secret: bool,
    /// How it authenticates; default: `client_secret_basic`.
    pub auth_method: Option<String>,
    /// The grants it may use; default: `client_credentials`, none for a public client.
    pub grants: Option<Vec<String>>,
    /// Where a browser may be sent back to.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// The resources it may ask tokens for.
    #[serde(default)]
    pub resources: Vec<String>,
    /// The resource of a request that names none; default: the only one.
    pub default_resource: Option<String>,
    /// The scopes it may have; default: all of its resources.
    pub scopes: Option<Vec<String>>,
    /// The scopes of a request that names none; default: all allowed.
    pub default_scopes: Option<Vec<String>>,
    /// It is the resource server of these.
    #[serde(default)]
    pub introspects: Vec<String>,
    /// How long its access tokens live.
    pub access_token_ttl: Option<String>,
    /// The key line that signs for it.
    pub algorithm: Option<String>,
    /// What happens when it repeats a refresh: `strict`, `window` or `until_used`.
    pub refresh_retry: Option<String>,
    /// Its sign-ins end when so long nothing was refreshed; default: `refresh.idle`.
    pub refresh_idle: Option<String>,
    /// Its sign-ins end after so long, however much they are used; default: `refresh.absolute`.
    pub refresh_absolute: Option<String>,
    /// So many of its sign-ins one person may have alive; default: any number.
    pub refresh_families: Option<u32>,
    /// It is the operator's own: no consent page.
    #[serde(default)]
    pub first_party: bool,
    /// Static claims of its tokens.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// What a description is held against.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Who issues.
    pub issuer: &'a Issuer,
    /// The key lines and limits.
    pub policy: &'a Policy,
    /// How long sign-ins last where a client says nothing else.
    pub refresh: &'a RefreshRules,
    /// The lines that can sign now; `None` on an issuer without keys, whose first keys sign at once.
    pub lines: Option<HashSet<Algorithm>>,
    /// Every resource there will be.
    pub resources: HashMap<ResourceId, Scopes>,
}

/// Collects mistakes under one heading.
pub(super) struct Mistakes<'a> {
    heading: String,
    into: &'a mut Vec<String>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(kind: &str, id: &str, into: &'a mut Vec<String>) -> Self {
        Self { heading: format!("{kind} {id:?}"), into }
    }

    pub(super) fn add(&mut self, key: &str, what: impl std::fmt::Display) {
        self.into.push(format!("{}: {key}: {what}", self.heading));
    }

    fn parse<T>(&mut self, key: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|what| self.add(key, what)).ok()
    }

    fn list<T>(
        &mut self,
        key: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Vec<T> {
        texts
            .iter()
            .filter_map(|text| {
                let said = |what: Invalid| self.add(key, format_args!("{text:?}: {what}"));
                parse(text).map_err(said).ok()
            })
            .collect()
    }

    fn duration(&mut self, key: &str, text: Option<&str>) -> Option<Duration> {
        let parsed = humantime::parse_duration(text?);
        self.parse(
            key,
            parsed.map_err(|_| Invalid("write a duration with its unit, such as \"10m\"")),
        )
    }

    fn scopes(&mut self, key: &str, texts: Option<&Vec<String>>) -> Option<Scopes> {
        texts.map(|texts| self.list(key, texts, Scope::parse).into_iter().collect())
    }
}

impl ResourceDescription {
    /// The resource that is described, as far as it can be made out; mistakes go to `into`.
    pub fn check(&self, issuer: &Issuer, now: Time, into: &mut Vec<String>) -> Option<Resource> {
        let mut mistakes = Mistakes::new("resource", &self.id, into);
        let id = mistakes.parse("id", ResourceId::parse(&self.id))?;
        // A token for one of our own APIs, or for "the issuer", must never come from a registration.
        let ours = [issuer.as_str().to_owned(), issuer.url("/admin")];
        let ours = ours.iter().filter_map(|text| ResourceId::parse(text).ok());
        if ours.into_iter().any(|own| own.lookup_key() == id.lookup_key()) {
            mistakes.add("id", "it is Jeton's own");
        }
        let mut scopes: Vec<ScopeDefinition> = Vec::new();
        for described in &self.scopes {
            let (name, description) = match described {
                ScopeDescription::Name(name) => (name, None),
                ScopeDescription::Full { name, description } => (name, description.clone()),
            };
            let Some(name) = mistakes.parse("scopes", Scope::parse(name)) else {
                continue;
            };
            if name.is_reserved() {
                mistakes.add("scopes", format_args!("{:?} is reserved", name.as_str()));
            }
            if scopes.iter().any(|other| other.name == name) {
                mistakes.add("scopes", format_args!("{:?} occurs twice", name.as_str()));
            }
            scopes.push(ScopeDefinition { name, description });
        }
        let claims = mistakes.parse("claims", ExtraClaims::new(self.claims.clone()));
        let claims = claims.unwrap_or_default();
        Some(Resource { id, scopes, claims, created_at: now, updated_at: now })
    }
}

impl ClientDescription {
    /// The client that is described, as far as it can be made out; mistakes go to `into`.
    pub fn check(&self, frame: &Frame<'_>, now: Time, into: &mut Vec<String>) -> Option<Client> {
        let mut mistakes = Mistakes::new("client", &self.id, into);
        let id = mistakes.parse("id", ClientId::parse(&self.id))?;
        let mut client = Client::new(id, now);
        if let Some(name) = &self.name {
            if name.chars().any(char::is_control) || name.len() > 200 {
                mistakes.add("name", "it has at most 200 characters, none of them a control");
            }
            client.name.clone_from(name);
        }
        if let Some(method) = &self.auth_method {
            let parsed = mistakes.parse("auth_method", method.parse());
            client.auth_method = parsed.unwrap_or(client.auth_method);
        }
        match &self.grants {
            Some(grants) => {
                client.grants = mistakes.list("grants", grants, str::parse::<GrantType>);
            }
            None if client.auth_method == AuthMethod::None => client.grants = Vec::new(),
            None => {}
        }
        client.redirect_uris.clone_from(&self.redirect_uris);
        client.resources = mistakes.list("resources", &self.resources, ResourceId::parse);
        client.introspects = mistakes.list("introspects", &self.introspects, ResourceId::parse);
        client.default_resource = self
            .default_resource
            .as_ref()
            .and_then(|text| mistakes.parse("default_resource", ResourceId::parse(text)));
        client.scopes = mistakes.scopes("scopes", self.scopes.as_ref());
        client.default_scopes = mistakes.scopes("default_scopes", self.default_scopes.as_ref());
        client.access_token_ttl =
            mistakes.duration("access_token_ttl", self.access_token_ttl.as_deref());
        client.algorithm = self
            .algorithm
            .as_ref()
            .and_then(|text| mistakes.parse("algorithm", text.parse::<Algorithm>()));
        client.refresh_retry = self
            .refresh_retry
            .as_ref()
            .and_then(|text| mistakes.parse("refresh_retry", text.parse::<RefreshRetry>()));
        self.check_sign_ins(&mut client, &mut mistakes);
        client.first_party = self.first_party;
        client.claims =
            mistakes.parse("claims", ExtraClaims::new(self.claims.clone())).unwrap_or_default();
        check_client(&client, frame, &mut mistakes);
        self.check_secret(&client, &mut mistakes);
        Some(client)
    }

    fn check_sign_ins(&self, client: &mut Client, mistakes: &mut Mistakes<'_>) {
        client.refresh_idle = mistakes.duration("refresh_idle", self.refresh_idle.as_deref());
        client.refresh_absolute =
            mistakes.duration("refresh_absolute", self.refresh_absolute.as_deref());
        client.refresh_families = self.refresh_families.and_then(NonZeroU32::new);
        if self.refresh_families == Some(0) {
            mistakes.add("refresh_families", "it is at least 1: nobody could sign in");
        }
    }

    fn check_secret(&self, client: &Client, mistakes: &mut Mistakes<'_>) {
        let ways = [self.secret.is_some(), self.secret_file.is_some(), self.generate_secret];
        let ways = ways.into_iter().filter(|way| *way).count();
        if ways > 1 {
            mistakes.add("secret", "give one of secret, secret_file and generate_secret");
        }
        if ways > 0 && client.auth_method == AuthMethod::None {
            mistakes.add("secret", "a client with auth_method \"none\" has no secret");
        }
    }
}

/// What must hold between the fields of a client, and between it and the rest.
fn check_client(client: &Client, frame: &Frame<'_>, mistakes: &mut Mistakes<'_>) {
    let may = |grant| client.grants.contains(&grant);
    if client.auth_method == AuthMethod::None && may(GrantType::ClientCredentials) {
        mistakes
            .add("grants", "client_credentials is for clients that authenticate (RFC 6749 §4.4)");
    }
    if client.auth_method == AuthMethod::None
        && client.refresh_retry == Some(RefreshRetry::UntilUsed)
    {
        mistakes.add("refresh_retry", "until_used is for clients that prove who they are");
    }
    for uri in &client.redirect_uris {
        if let Err(what) = redirect::check(uri) {
            mistakes.add("redirect_uris", format_args!("{uri:?}: {what}"));
        }
    }
    if may(GrantType::AuthorizationCode) && client.redirect_uris.is_empty() {
        mistakes.add("redirect_uris", "authorization_code needs to know where to send people back");
    }
    for (key, ids) in [("resources", &client.resources), ("introspects", &client.introspects)] {
        for id in ids.iter().filter(|id| !frame.resources.contains_key(*id)) {
            mistakes.add(key, format_args!("there is no resource {:?}", id.as_str()));
        }
    }
    if client.default_resource.as_ref().is_some_and(|id| !client.resources.contains(id)) {
        mistakes.add("default_resource", "it is not among the client's resources");
    }
    check_scopes(client, frame, mistakes);
    check_signing(client, frame, mistakes);
    check_lives(client, frame, mistakes);
}

fn check_scopes(client: &Client, frame: &Frame<'_>, mistakes: &mut Mistakes<'_>) {
    let known: Scopes = client
        .resources
        .iter()
        .filter_map(|id| frame.resources.get(id))
        .flat_map(Scopes::iter)
        .cloned()
        .collect();
    let allowed = client.scopes.as_ref().unwrap_or(&known);
    if !allowed.is_subset(&known) {
        mistakes.add("scopes", "one of them belongs to none of the client's resources");
    }
    if client.default_scopes.as_ref().is_some_and(|scopes| !scopes.is_subset(allowed)) {
        mistakes.add("default_scopes", "one of them is not among the client's scopes");
    }
}

fn check_signing(client: &Client, frame: &Frame<'_>, mistakes: &mut Mistakes<'_>) {
    if let Some(ttl) = client.access_token_ttl {
        let longest = frame.policy.longest_token;
        if ttl > longest || ttl < Duration::from_secs(1) {
            let longest = humantime::format_duration(longest);
            let what =
                format!("it is at least 1s and at most tokens.access_token_ttl_max, {longest}");
            mistakes.add("access_token_ttl", what);
        }
    }
    if let Some(line) = client.algorithm {
        if !frame.policy.algorithms.contains(&line) {
            mistakes.add("algorithm", "it is not among keys.algorithms");
        } else if frame.lines.as_ref().is_some_and(|lines| !lines.contains(&line)) {
            mistakes.add(
                "algorithm",
                "its keys cannot sign yet; `jeton keys list` says from when on they can",
            );
        }
    }
}

/// What must hold for all sign-ins must hold for those of a client, wherever each of the two is chosen.
fn check_lives(client: &Client, frame: &Frame<'_>, mistakes: &mut Mistakes<'_>) {
    let absolute = client.refresh_absolute.unwrap_or(frame.refresh.absolute);
    let longest = family::LONGEST;
    if client.refresh_absolute.is_some() && absolute > longest {
        mistakes.add("refresh_absolute", format_args!("it is at most {}", written(longest)));
    }
    if let Some(idle) = client.refresh_idle.filter(|idle| *idle > absolute) {
        mistakes.add(
            "refresh_idle",
            format_args!(
                "it ({}) is longer than {} ({})",
                written(idle),
                if client.refresh_absolute.is_some() {
                    "refresh_absolute"
                } else {
                    "refresh.absolute"
                },
                written(absolute)
            ),
        );
    }
    // An app that waits for its access token to end would find its sign-in over.
    let token = client.access_token_ttl.unwrap_or(frame.policy.longest_token);
    let lives =
        [("refresh_idle", client.refresh_idle), ("refresh_absolute", client.refresh_absolute)];
    for (key, life) in lives {
        if let Some(life) = life.filter(|life| *life < token) {
            let what = if client.access_token_ttl.is_some() {
                "its access_token_ttl"
            } else {
                "tokens.access_token_ttl_max (or give it an access_token_ttl)"
            };
            let (life, token) = (written(life), written(token));
            mistakes.add(key, format_args!("it ({life}) is shorter than {token}, {what}"));
        }
    }
}
