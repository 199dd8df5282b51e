//! The rotation schedule: a pure function of key rows, policy and time.
//!
//! A new key is published long before it signs, because verifiers cache: Envoy keeps a JWKS for
//! ten minutes, Istio polls every twenty, and neither asks again when it meets an unknown kid. An
//! old key stays published until the last token it signed has expired everywhere. In between, each
//! line always shows two keys, the active one and the next.
//!
//! Every replica calls [`plan`] with the same rows and, within the error of the shared clock, the
//! same `now`; whoever comes first carries the steps out, and the others find nothing left to do.
//! Should a successor come late (the database was away), its predecessor signs until the successor
//! has been published for the full lead: late is safe, early never happens.

use std::time::Duration;

use super::{Algorithm, SigningKey, Stage, Time, Times};

/// The least lead that a real issuer may have: twice Istio's poll, and a margin.
pub const LEAD_FLOOR: Duration = Duration::from_secs(3600);

/// For so long after a theft the JWKS is cached as briefly as it ever is: there may be more to say.
const ALARM: Duration = Duration::from_secs(3600);

/// What the configuration says about keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The lines, the issuer's default first.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs.
    pub period: Duration,
    /// How long a key is published before it signs.
    pub lead: Duration,
    /// How long a verifier may cache the JWKS.
    pub max_age: Duration,
    /// How far clocks of verifiers may be off.
    pub skew: Duration,
    /// No access token lives longer.
    pub longest_token: Duration,
}

impl Policy {
    /// How long a new key waits before it is shown, so that every replica has loaded it and all
    /// begin to show it at the same instant.
    pub fn publish_delay(&self) -> Duration {
        Duration::from_secs(10).min(self.lead / 4)
    }

    /// The longest `max-age` that the JWKS is served with: never more than a quarter of the lead.
    pub fn longest_max_age(&self) -> Duration {
        self.max_age.min(self.lead / 4)
    }

    /// How long a key stays published after its last signature.
    pub fn retention(&self, longest_token: Duration) -> Duration {
        longest_token + self.max_age + self.skew
    }

    pub(super) fn life(&self, publish_at: Time, activate_at: Time) -> Times {
        let sign_until = activate_at + self.period;
        Times {
            publish_at,
            activate_at,
            sign_until,
            remove_at: sign_until + self.retention(self.longest_token),
            longest_token: self.longest_token,
        }
    }
}

/// A key that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its line.
    pub algorithm: Algorithm,
    /// Its place in the line.
    pub epoch: i64,
    /// The turns of its life.
    pub times: Times,
}

impl NewKey {
    /// The key as it comes into being.
    pub fn key(&self, kid: String, now: Time) -> SigningKey {
        SigningKey {
            kid,
            algorithm: self.algorithm,
            epoch: self.epoch,
            created_at: now,
            times: self.times,
            held: false,
            compromised_at: None,
            destroyed: false,
            corrupt: false,
        }
    }
}

/// One thing to do to the key rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a key.
    Create(NewKey),
    /// Give a key other times.
    Reschedule {
        /// Which key.
        kid: String,
        /// Its new times.
        times: Times,
    },
    /// Declare a key stolen.
    Compromise {
        /// Which key.
        kid: String,
    },
    /// Erase a private half that has signed its last.
    Destroy {
        /// Which key.
        kid: String,
    },
}

/// What has to be done to the rows at `now`. Doing it and asking again yields nothing.
///
/// `certain` says that the clocks agree; what cannot be undone waits for that.
pub fn plan(keys: &[SigningKey], policy: &Policy, now: Time, certain: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for &algorithm in &policy.algorithms {
        steps.extend(succession(keys, policy, algorithm, now));
    }
    for key in keys {
        steps.extend(lengthening(key, &steps, policy, now));
    }
    if certain {
        steps.extend(keys.iter().filter(|key| is_spent(keys, key, policy, now)).map(destruction));
    }
    steps
}

/// Sees to it that a line has a next key, and that its present one signs until then.
fn succession(keys: &[SigningKey], policy: &Policy, algorithm: Algorithm, now: Time) -> Vec<Step> {
    let line = || keys.iter().filter(move |key| key.algorithm == algorithm);
    let epoch = line().map(|key| key.epoch).max().unwrap_or(0).saturating_add(1);
    let create = |epoch, times| Step::Create(NewKey { algorithm, epoch, times });

    if keys.is_empty() {
        // The issuer's very first keys: nobody can hold an older JWKS, so they sign at once.
        let first = policy.life(now, now);
        return vec![create(1, first), create(2, policy.life(now, first.sign_until))];
    }
    let shown = now + policy.publish_delay();
    let Some(last) = line().filter(|key| key.is_usable()).max_by_key(|key| key.epoch) else {
        return vec![create(epoch, policy.life(shown, shown + policy.lead))];
    };
    if now < last.times.activate_at {
        return Vec::new();
    }
    let activate_at = last.times.sign_until.max(shown + policy.lead);
    let mut steps = vec![create(epoch, policy.life(shown, activate_at))];
    if last.times.sign_until < activate_at {
        steps.push(reschedule(last, sign_until(&last.times, activate_at, policy)));
    }
    steps
}

/// The same life with another end of signing, long enough for what is configured now; the removal
/// never comes earlier than it was.
pub(super) fn sign_until(times: &Times, sign_until: Time, policy: &Policy) -> Times {
    let longest_token = times.longest_token.max(policy.longest_token);
    let remove_at = times.remove_at.max(sign_until + policy.retention(longest_token));
    Times { sign_until, remove_at, longest_token, ..*times }
}

/// When longer tokens, caching or skew have been configured, what can still sign stays long enough
/// for them. It never gets shorter: an older replica may still use the older, longer values.
fn lengthening(key: &SigningKey, so_far: &[Step], policy: &Policy, now: Time) -> Option<Step> {
    let touched =
        so_far.iter().any(|step| matches!(step, Step::Reschedule { kid, .. } if *kid == key.kid));
    if touched || !key.is_usable() || now >= key.times.sign_until {
        return None;
    }
    let times = sign_until(&key.times, key.times.sign_until, policy);
    (times != key.times).then(|| reschedule(key, times))
}

/// Whether a private half has signed its last. Where the line goes on, its successor must already
/// sign: no step ever takes the last usable key away.
fn is_spent(keys: &[SigningKey], key: &SigningKey, policy: &Policy, now: Time) -> bool {
    if key.destroyed
        || key.corrupt
        || (now < key.times.sign_until + policy.skew && key.compromised_at.is_none())
    {
        return false;
    }
    let goes_on = policy.algorithms.contains(&key.algorithm);
    let succeeded = || {
        keys.iter().any(|other| {
            other.algorithm == key.algorithm
                && other.epoch > key.epoch
                && other.is_usable()
                && now >= other.times.activate_at
        })
    };
    key.compromised_at.is_some() || !goes_on || succeeded()
}

fn destruction(key: &SigningKey) -> Step {
    Step::Destroy { kid: key.kid.clone() }
}

fn reschedule(key: &SigningKey, times: Times) -> Step {
    Step::Reschedule { kid: key.kid.clone(), times }
}

/// Why a rotation cannot be brought forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotRotate {
    /// The line has no active key.
    #[error("this line has no active key; start `jeton serve` once so that it makes its keys")]
    NoActiveKey,
    /// The line has no next key.
    #[error(
        "this line has no next key yet; a running `jeton serve` makes it within seconds, then try \
         again"
    )]
    NoNextKey,
    /// It would not come earlier than it comes anyway.
    #[error("the next key already takes over as early as it safely can")]
    AlreadySoon,
}

/// Brings a line's next rotation forward to the earliest safe instant: when the next key has been
/// published for the full lead, and every replica has had time to learn of the change.
///
/// `trusted` is how long a replica that is cut off from the database goes on signing; the old key
/// stays published for what such a replica may sign after the switch.
pub fn rotate(
    keys: &[SigningKey],
    policy: &Policy,
    algorithm: Algorithm,
    now: Time,
    trusted: Duration,
) -> Result<Vec<Step>, CannotRotate> {
    let line = || keys.iter().filter(move |key| key.algorithm == algorithm && key.is_usable());
    let active =
        line().find(|key| key.stage(now) == Stage::Active).ok_or(CannotRotate::NoActiveKey)?;
    let mut later: Vec<_> = line().filter(|key| key.epoch > active.epoch).collect();
    later.sort_by_key(|key| key.epoch);
    let next = *later.first().ok_or(CannotRotate::NoNextKey)?;

    let switch = (now + policy.publish_delay()).max(next.times.publish_at + policy.lead);
    if switch >= active.times.sign_until {
        return Err(CannotRotate::AlreadySoon);
    }
    let mut ending = sign_until(&active.times, switch, policy);
    // Earlier than planned, too, or keys that are rotated daily would fill the JWKS for a month.
    ending.remove_at = switch + trusted + policy.retention(ending.longest_token);
    let mut beginning = Times { activate_at: switch, ..next.times };
    if later.len() == 1 {
        // It has signed nothing yet, so all that follows moves forward with it.
        let until = switch + policy.period;
        beginning = sign_until(&Times { remove_at: until, ..beginning }, until, policy);
    }
    Ok(vec![reschedule(active, ending), reschedule(next, beginning)])
}

/// Where an imported key joins its line, as its epoch and the steps that make room for it. On an
/// issuer that has no keys it is the first of its line and signs at once, since it is the key that
/// verifiers already trust; else it queues behind the last key and waits the full lead.
pub fn joining(
    keys: &[SigningKey],
    policy: &Policy,
    algorithm: Algorithm,
    now: Time,
) -> (i64, Vec<Step>) {
    if keys.is_empty() {
        return (1, plan(keys, policy, now, false));
    }
    let line = || keys.iter().filter(move |key| key.algorithm == algorithm);
    let epoch = line().map(|key| key.epoch).max().unwrap_or(0).saturating_add(1);
    let shown = now + policy.publish_delay();
    let mut activate_at = shown + policy.lead;
    let mut steps = Vec::new();
    if let Some(last) = line().filter(|key| key.is_usable()).max_by_key(|key| key.epoch) {
        activate_at = activate_at.max(last.times.sign_until);
        if last.times.sign_until < activate_at {
            steps.push(reschedule(last, sign_until(&last.times, activate_at, policy)));
        }
    }
    let times = policy.life(shown, activate_at);
    steps.push(Step::Create(NewKey { algorithm, epoch, times }));
    (epoch, steps)
}

/// The `max-age` to serve the JWKS with at `now`. It shrinks as a change nears, so that caches ask
/// again when there is something new; not below a minute, lest all of them ask at once.
pub fn max_age<'a>(
    keys: impl Iterator<Item = &'a SigningKey> + Clone,
    policy: &Policy,
    now: Time,
) -> Duration {
    let longest = policy.longest_max_age();
    let floor = Duration::from_secs(60).min(longest);
    let stolen = |key: &SigningKey| key.compromised_at.is_some_and(|at| now.since(at) < ALARM);
    if keys.clone().any(stolen) {
        return floor;
    }
    let next = keys.filter_map(|key| key.next_turn(now)).min();
    next.map_or(longest, |turn| turn.since(now).clamp(floor, longest))
}

/// Carries steps out on rows in memory: what the database does, for forecasts and models.
/// `name` gives a new key its kid.
pub fn carry_out(
    keys: &mut Vec<SigningKey>,
    steps: Vec<Step>,
    now: Time,
    mut name: impl FnMut(&NewKey) -> String,
) {
    for step in steps {
        match step {
            Step::Create(new) => {
                let kid = name(&new);
                keys.push(new.key(kid, now));
            }
            Step::Reschedule { kid, times } => {
                keys.iter_mut().filter(|key| key.kid == kid).for_each(|key| key.times = times);
            }
            Step::Compromise { kid } => {
                let stolen = keys.iter_mut().filter(|key| key.kid == kid);
                stolen.for_each(|key| key.compromised_at = Some(now));
            }
            Step::Destroy { kid } => {
                keys.iter_mut().filter(|key| key.kid == kid).for_each(|key| key.destroyed = true);
            }
        }
    }
}

/// Something that will happen to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// In which line.
    pub algorithm: Algorithm,
    /// To which place in the line.
    pub epoch: i64,
    /// To which key; keys that do not exist yet have no name.
    pub kid: Option<String>,
    /// The stage it enters.
    pub stage: Stage,
}

/// What will happen until `until` if nobody intervenes, in order of time.
pub fn forecast(keys: &[SigningKey], policy: &Policy, now: Time, until: Time) -> Vec<Event> {
    let mut rows = keys.to_vec();
    let mut at = now;
    loop {
        let steps = plan(&rows, policy, at, false);
        carry_out(&mut rows, steps, at, |new| format!("+{}#{}", new.algorithm, new.epoch));
        match rows.iter().filter_map(|key| key.next_turn(at)).min() {
            Some(turn) if turn <= until => at = turn,
            _ => break,
        }
    }
    let mut events: Vec<_> = rows.iter().flat_map(|key| turns(key, now, until)).collect();
    events.sort_by_key(|event| (event.at, event.algorithm, event.epoch, event.stage));
    events
}

fn turns(key: &SigningKey, now: Time, until: Time) -> Vec<Event> {
    let times = &key.times;
    let mut turns = vec![
        (times.publish_at, Stage::Published),
        (times.activate_at, Stage::Active),
        (times.sign_until, Stage::Retiring),
    ];
    if !key.held {
        turns.push((times.remove_at, Stage::Removed));
    }
    // A key whose private half is gone still has to leave the JWKS.
    let has_turns = !key.corrupt && key.compromised_at.is_none();
    turns
        .into_iter()
        .filter(|(at, _)| has_turns && (now..=until).contains(at))
        .map(|(at, stage)| Event {
            at,
            algorithm: key.algorithm,
            epoch: key.epoch,
            kid: (!key.kid.starts_with('+')).then(|| key.kid.clone()),
            stage,
        })
        .collect()
}
