//! Acts of revocation, and the set of those that still count.
//!
//! Most take something back for good. Two say whether a person's account is on, which can change: of
//! each the latest instant counts, so in whatever order acts are read, all replicas come to the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use uuid::Uuid;

use super::{Inactive, Time, TokenId};

/// How much longer than any token an act is remembered: for clocks that are a little off.
pub const MARGIN: Duration = Duration::from_secs(60);

/// What an act takes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One access token.
    Token(TokenId),
    /// One authorization, with all that descends from it.
    Family(Uuid),
    /// Everything that was issued about somebody.
    Subject(String),
    /// Whatever is about somebody, for as long as the account is switched off.
    Disabled(String),
    /// Nothing: the account is on again, and what is about somebody counts as before.
    Enabled(String),
    /// Everything that was issued to a client.
    Client(String),
    /// Everything that was issued for a resource.
    Resource(String),
    /// Everything that a key signed.
    Key(String),
    /// Everything.
    Everything,
}

impl Target {
    /// Its kind, as the database names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Family(_) => "family",
            Self::Subject(_) => "subject",
            Self::Disabled(_) => "subject_disabled",
            Self::Enabled(_) => "subject_enabled",
            Self::Client(_) => "client",
            Self::Resource(_) => "resource",
            Self::Key(_) => "kid",
            Self::Everything => "everything",
        }
    }

    /// Which one of its kind, as the database names it.
    pub fn key(&self) -> String {
        match self {
            Self::Token(id) => id.to_string(),
            Self::Family(id) => id.to_string(),
            Self::Subject(name)
            | Self::Disabled(name)
            | Self::Enabled(name)
            | Self::Client(name)
            | Self::Resource(name)
            | Self::Key(name) => name.clone(),
            Self::Everything => String::new(),
        }
    }

    /// The inverse of [`Target::kind`] and [`Target::key`].
    pub fn parse(kind: &str, key: &str) -> Option<Self> {
        let name = || key.to_owned();
        Some(match kind {
            "token" => Self::Token(TokenId::parse(key)?),
            "family" => Self::Family(key.parse().ok()?),
            "subject" => Self::Subject(name()),
            "subject_disabled" => Self::Disabled(name()),
            "subject_enabled" => Self::Enabled(name()),
            "client" => Self::Client(name()),
            "resource" => Self::Resource(name()),
            "kid" => Self::Key(name()),
            "everything" => Self::Everything,
            _ => return None,
        })
    }

    /// Whether the instant of such an act says something: of a watermark, what it takes back; of
    /// switching off and on, which came last.
    pub const fn is_dated(&self) -> bool {
        !matches!(self, Self::Token(_) | Self::Family(_) | Self::Key(_))
    }
}

/// One act of revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What is taken back.
    pub target: Target,
    /// Of a watermark: what was born before this. Of switching off or on: when it was done. For the
    /// other kinds it says nothing.
    pub issued_before: Time,
    /// From here on nothing that it concerns can be alive, and it may be forgotten.
    pub expires_at: Time,
}

impl Revocation {
    /// An act that takes one thing back for good: a token, an authorization, a key.
    pub const fn of(target: Target, expires_at: Time) -> Self {
        Self { target, issued_before: Time::from_micros(0), expires_at }
    }
}

/// What about a token decides whether it was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub id: TokenId,
    /// Its birth: the birth of its family, or its own if it has none. A watermark is compared with
    /// this and not with the last refresh, or whoever refreshes in time is never logged out.
    pub birth: Time,
    /// Its own birth: what a resource's watermark is compared with, since an authorization may cover
    /// other resources too.
    pub issued: Time,
    /// The authorization it descends from.
    pub family: Option<Uuid>,
    /// Whom it is about.
    pub subject: String,
    /// Whose it is.
    pub client: String,
    /// What it is for.
    pub resource: String,
    /// What signed it.
    pub kid: String,
}

/// Until when an act counts, in whole seconds since 1970, rounded up: a million acts stay small.
type Until = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watermark {
    issued_before: Time,
    until: Until,
}

/// When somebody's account was last switched off and on, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switched {
    /// When it was last switched off.
    pub off_at: Option<Time>,
    /// When it was last switched on again.
    pub on_at: Option<Time>,
}

impl Switched {
    /// Whether it is off now.
    pub fn is_off(self) -> bool {
        self.off_at > self.on_at
    }

    /// What both know together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { off_at: self.off_at.max(other.off_at), on_at: self.on_at.max(other.on_at) }
    }

    /// What an act says, if it switches an account: whose, and how.
    pub fn of(act: &Revocation) -> Option<(&str, Self)> {
        let at = Some(act.issued_before);
        match &act.target {
            Target::Disabled(name) => Some((name, Self { off_at: at, on_at: None })),
            Target::Enabled(name) => Some((name, Self { off_at: None, on_at: at })),
            _ => None,
        }
    }
}

/// Both instants are forgotten at the same time: were that of switching on forgotten first, the
/// account would be off again.
#[derive(Debug, Clone, Copy, Default)]
struct Switch {
    state: Switched,
    until: Until,
}

/// The acts that still count, as every replica holds them. Its size is bounded by the acts of the
/// longest token life.
#[derive(Debug, Default)]
pub struct Revoked {
    tokens: HashMap<TokenId, Until>,
    families: HashMap<Uuid, Until>,
    keys: HashMap<String, Until>,
    subjects: HashMap<String, Watermark>,
    switches: HashMap<String, Switch>,
    clients: HashMap<String, Watermark>,
    resources: HashMap<String, Watermark>,
    everything: Option<Watermark>,
}

impl Revoked {
    /// Adds an act. Of two acts with the same target the one that says more stays.
    pub fn add(&mut self, act: &Revocation) {
        let until = round_up(act.expires_at);
        let mark = Watermark { issued_before: act.issued_before, until };
        match &act.target {
            Target::Token(id) => longest(&mut self.tokens, *id, until),
            Target::Family(id) => longest(&mut self.families, *id, until),
            Target::Key(kid) => longest(&mut self.keys, kid.clone(), until),
            Target::Subject(name) => highest(&mut self.subjects, name, mark),
            Target::Disabled(name) | Target::Enabled(name) => self.switch(name, act, until),
            Target::Client(name) => highest(&mut self.clients, name, mark),
            Target::Resource(name) => highest(&mut self.resources, name, mark),
            Target::Everything => {
                self.everything = Some(self.everything.map_or(mark, |held| held.with(mark)));
            }
        }
    }

    fn switch(&mut self, name: &str, act: &Revocation, until: Until) {
        let held = self.switches.entry(name.to_owned()).or_default();
        let said = Switched::of(act).map(|(_, said)| said).unwrap_or_default();
        *held = Switch { state: held.state.with(said), until: held.until.max(until) };
    }

    /// Why a token was taken back, if it was.
    pub fn verdict(&self, token: &Facts) -> Option<Inactive> {
        let before = |mark: Option<&Watermark>| mark.is_some_and(|m| token.birth < m.issued_before);
        let itself = |mark: &Watermark| token.issued < mark.issued_before;
        if self.keys.contains_key(&token.kid) {
            return Some(Inactive::KeyCompromised);
        }
        if self.tokens.contains_key(&token.id) {
            return Some(Inactive::TokenRevoked);
        }
        if token.family.is_some_and(|family| self.families.contains_key(&family)) {
            return Some(Inactive::FamilyRevoked);
        }
        if self.switched(&token.subject).is_off() {
            return Some(Inactive::SubjectDisabled);
        }
        let marked = before(self.everything.as_ref())
            || before(self.subjects.get(&token.subject))
            || before(self.clients.get(&token.client))
            || self.resources.get(&token.resource).is_some_and(itself);
        marked.then_some(Inactive::BeforeWatermark)
    }

    /// Whether an authorization was taken back by itself.
    pub fn names_family(&self, family: Uuid) -> bool {
        self.families.contains_key(&family)
    }

    /// When somebody's account was last switched off and on, as far as acts say.
    pub fn switched(&self, subject: &str) -> Switched {
        self.switches.get(subject).map(|switch| switch.state).unwrap_or_default()
    }

    /// Whether everything that a key signed was taken back.
    pub fn names_key(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Whether an act, or one that says more, is in here.
    pub fn covers(&self, act: &Revocation) -> bool {
        let marked = |mark: Option<&Watermark>| {
            mark.is_some_and(|held| held.issued_before >= act.issued_before)
        };
        match &act.target {
            Target::Token(id) => self.tokens.contains_key(id),
            Target::Family(id) => self.families.contains_key(id),
            Target::Key(kid) => self.keys.contains_key(kid),
            Target::Subject(name) => marked(self.subjects.get(name)),
            Target::Disabled(name) => self.switched(name).off_at >= Some(act.issued_before),
            Target::Enabled(name) => self.switched(name).on_at >= Some(act.issued_before),
            Target::Client(name) => marked(self.clients.get(name)),
            Target::Resource(name) => marked(self.resources.get(name)),
            Target::Everything => marked(self.everything.as_ref()),
        }
    }

    /// Every act that still counts at `now`.
    pub fn acts(&self, now: Time) -> impl Iterator<Item = Revocation> {
        let never = Time::from_micros(0);
        let act = |target, issued_before, until: Until| Revocation {
            target,
            issued_before,
            expires_at: Time::from_seconds(until.into()),
        };
        let marks = move |target: fn(String) -> Target, map: &HashMap<String, Watermark>| {
            let act = |(name, mark): (&String, &Watermark)| {
                act(target(name.clone()), mark.issued_before, mark.until)
            };
            map.iter().map(act).collect::<Vec<_>>()
        };
        let tokens =
            self.tokens.iter().map(move |(id, until)| act(Target::Token(*id), never, *until));
        let families =
            self.families.iter().map(move |(id, until)| act(Target::Family(*id), never, *until));
        let keys =
            self.keys.iter().map(move |(kid, until)| act(Target::Key(kid.clone()), never, *until));
        let switches = self.switches.iter().flat_map(move |(name, switch)| {
            let Switch { state, until } = *switch;
            let off = state.off_at.map(|at| act(Target::Disabled(name.clone()), at, until));
            let on = state.on_at.map(|at| act(Target::Enabled(name.clone()), at, until));
            off.into_iter().chain(on)
        });
        let everything =
            self.everything.map(|mark| act(Target::Everything, mark.issued_before, mark.until));
        tokens
            .chain(families)
            .chain(keys)
            .chain(marks(Target::Subject, &self.subjects))
            .chain(switches)
            .chain(marks(Target::Client, &self.clients))
            .chain(marks(Target::Resource, &self.resources))
            .chain(everything)
            .filter(move |act| act.expires_at > now)
    }

    /// Forgets what no longer counts, and gives memory back that a storm of acts took.
    pub fn forget(&mut self, now: Time) {
        let alive = |until: &Until| Time::from_seconds((*until).into()) > now;
        sweep(&mut self.tokens, alive);
        sweep(&mut self.families, alive);
        sweep(&mut self.keys, alive);
        for marks in [&mut self.subjects, &mut self.clients, &mut self.resources] {
            sweep(marks, |mark| alive(&mark.until));
        }
        sweep(&mut self.switches, |switch| alive(&switch.until));
        self.everything = self.everything.filter(|mark| alive(&mark.until));
    }

    /// How many acts there are.
    pub fn len(&self) -> usize {
        let marks = [&self.subjects, &self.clients, &self.resources].map(HashMap::len);
        let dated = |switch: &Switch| {
            usize::from(switch.state.off_at.is_some()) + usize::from(switch.state.on_at.is_some())
        };
        self.tokens.len()
            + self.families.len()
            + self.keys.len()
            + marks.iter().sum::<usize>()
            + self.switches.values().map(dated).sum::<usize>()
            + usize::from(self.everything.is_some())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Watermark {
    fn with(self, other: Watermark) -> Watermark {
        Watermark {
            issued_before: self.issued_before.max(other.issued_before),
            until: self.until.max(other.until),
        }
    }
}

fn round_up(at: Time) -> Until {
    u32::try_from(at.seconds().saturating_add(1)).unwrap_or(if at.seconds() < 0 {
        0
    } else {
        u32::MAX
    })
}

fn longest<K: Eq + Hash>(map: &mut HashMap<K, Until>, key: K, until: Until) {
    let held = map.entry(key).or_insert(until);
    *held = until.max(*held);
}

fn highest(map: &mut HashMap<String, Watermark>, name: &str, mark: Watermark) {
    let held = map.entry(name.to_owned()).or_insert(mark);
    *held = held.with(mark);
}

fn sweep<K: Eq + Hash, V>(map: &mut HashMap<K, V>, alive: impl Fn(&V) -> bool) {
    map.retain(|_, value| alive(value));
    // Keeping twice the room that is needed spares a map that breathes from being copied all day.
    if map.capacity() > 1024 && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}
