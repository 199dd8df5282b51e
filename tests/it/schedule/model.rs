//! A model of an issuer: several replicas over one set of key rows, things that happen to them, and
//! what must hold at every instant.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jeton::domain::schedule::{self, NewKey, Policy, Step};
use jeton::domain::{Algorithm, SigningKey, Stage, Time};

/// How often a replica looks at the rows.
pub const BEAT: Duration = Duration::from_secs(1);

/// Something that happens. Lengths are in thousandths of the policy's period or lead.
#[derive(Debug, Clone)]
pub enum Happening {
    /// Time passes: thousandths of a period.
    Passes(u64),
    /// Time passes up to an instant close to the next turn: so many microseconds before or after.
    NearTurn(i64),
    /// A replica loses the rows for some thousandths of the lead, and signs from its old copy.
    CutOff(usize, u64),
    /// Polls work and maintenance does not, for thousandths of a period.
    Unmaintained(u64),
    /// The database is away, for thousandths of a period.
    DatabaseAway(u64),
    /// An operator brings a line's rotation forward.
    Rotate(usize),
    /// An operator holds or releases a key.
    Hold(usize, bool),
    /// An operator imports a key.
    Import(usize),
    /// Longer tokens, caching or skew are configured; replicas learn it when they are deployed.
    Raise(usize, u64),
    /// A replica starts again with the present configuration.
    Deploy(usize),
    /// One more algorithm is configured.
    AddAlgorithm,
    /// A replica's clock is seen to disagree, or to agree again.
    Doubt(usize, bool),
}

/// A replica: its copy of the rows, and its idea of the time.
struct Replica {
    copy: Vec<SigningKey>,
    polled: Time,
    cut_until: Time,
    /// Microseconds that its clock is off.
    noise: i64,
    certain: bool,
    policy: Policy,
    /// How many changes there had been when it last carried out the plan by its own policy.
    maintained: usize,
}

impl Replica {
    fn now(&self, now: Time) -> Time {
        Time::from_micros(now.micros() + self.noise)
    }
}

/// A token that some replica signed.
struct Token {
    kid: String,
    /// A verifier with this skew, and with a JWKS as old as may be, asks until then.
    needed_until: Time,
}

/// The whole.
pub struct World {
    now: Time,
    rows: Vec<SigningKey>,
    replicas: Vec<Replica>,
    target: Policy,
    trusted: Duration,
    unmaintained_until: Time,
    away_until: Time,
    tokens: Vec<Token>,
    genesis: HashSet<String>,
    /// Lines that could sign once by a replica's clock: from then on they can by that clock, whenever
    /// maintenance works.
    started: HashSet<(usize, Algorithm)>,
    /// Which change last gave a key its times, counting all changes.
    changed: HashMap<String, usize>,
    changes: usize,
    /// What every replica has allowed for from the beginning: skew, and age of a cached JWKS.
    least_allowance: Duration,
    /// What was seen, so that a test can tell that it saw anything.
    pub seen: HashMap<&'static str, usize>,
}

impl World {
    pub fn new(policy: &Policy, trusted: Duration, noises: &[i64]) -> Self {
        let now = Time::from_seconds(1_800_000_000);
        let replica = |noise: &i64| Replica {
            copy: Vec::new(),
            polled: now,
            cut_until: now,
            noise: *noise,
            certain: true,
            policy: policy.clone(),
            maintained: 0,
        };
        let mut world = Self {
            now,
            rows: Vec::new(),
            replicas: noises.iter().map(replica).collect(),
            target: policy.clone(),
            trusted,
            unmaintained_until: now,
            away_until: now,
            tokens: Vec::new(),
            genesis: HashSet::new(),
            started: HashSet::new(),
            changed: HashMap::new(),
            changes: 0,
            least_allowance: policy.skew + policy.max_age,
            seen: HashMap::new(),
        };
        world.maintain(0);
        let first = world.rows.iter().filter(|key| key.epoch == 1);
        world.genesis = first.map(|key| key.kid.clone()).collect();
        world.arrive(now);
        world
    }

    pub fn happen(&mut self, what: &Happening) {
        let part = |of: Duration, thousandths: u64| {
            Duration::from_micros(u64::try_from(of.as_micros()).unwrap() / 1000 * thousandths)
        };
        let (period, lead) = (self.target.period, self.target.lead);
        let count = self.replicas.len();
        match *what {
            Happening::Passes(thousandths) => self.go_to(self.now + part(period, thousandths)),
            Happening::NearTurn(micros) => {
                if let Some(turn) = self.rows.iter().filter_map(|k| k.next_turn(self.now)).min() {
                    let at = Time::from_micros(turn.micros() + micros).max(self.now);
                    self.go_to(at);
                }
            }
            Happening::CutOff(who, thousandths) => {
                self.replicas[who % count].cut_until = self.now + part(lead, thousandths);
            }
            Happening::Unmaintained(thousandths) => {
                self.unmaintained_until = self.now + part(period, thousandths);
            }
            Happening::DatabaseAway(thousandths) => {
                self.away_until = self.now + part(period, thousandths);
            }
            Happening::Deploy(who) => {
                let who = who % count;
                if self.is_connected(who) && self.now >= self.unmaintained_until {
                    self.replicas[who].policy = self.target.clone();
                    self.maintain(who);
                    self.poll(who);
                }
            }
            Happening::Doubt(who, certain) => self.replicas[who % count].certain = certain,
            Happening::AddAlgorithm => {
                let new = Algorithm::ALL.iter().find(|one| !self.target.algorithms.contains(one));
                let Some(new) = new else { return };
                self.target.algorithms.push(*new);
                for replica in &mut self.replicas {
                    replica.policy.algorithms.push(*new);
                }
            }
            Happening::Raise(which, factor) => {
                let factor = u32::try_from(factor).unwrap();
                match which % 3 {
                    0 => self.target.longest_token *= factor,
                    1 => self.target.max_age *= factor,
                    _ => self.target.skew *= factor,
                }
                let longest = Duration::from_secs(24 * 3600);
                self.target.longest_token = self.target.longest_token.min(longest);
                self.target.max_age = self.target.max_age.min(lead / 4);
                self.target.skew = self.target.skew.min(Duration::from_secs(3600));
            }
            _ => self.operator_acts(what),
        }
        self.arrive(self.now);
        self.go_to(self.now + BEAT);
    }

    fn operator_acts(&mut self, what: &Happening) {
        if self.now < self.away_until {
            return;
        }
        let line = |number: usize| self.target.algorithms[number % self.target.algorithms.len()];
        match *what {
            Happening::Rotate(number) => {
                let algorithm = line(number);
                let target = &self.target;
                let steps = schedule::rotate(&self.rows, target, algorithm, self.now, self.trusted);
                let Ok(steps) = steps else { return };
                self.see("rotations");
                let before = self.rows.clone();
                self.carry_out(steps, self.now);
                for (old, new) in before.iter().zip(&self.rows) {
                    let kept = self.target.retention(new.times.longest_token);
                    let needed = new.times.sign_until + kept;
                    let ended = new.times.sign_until < old.times.sign_until;
                    assert!(!ended || new.times.remove_at >= needed, "rotated away: {new:?}");
                    assert!(new.times.activate_at <= old.times.activate_at, "put off: {new:?}");
                }
            }
            Happening::Hold(number, held) => {
                let number = number % self.rows.len();
                self.rows[number].held = held;
                self.see("holds");
            }
            Happening::Import(number) => {
                let algorithm = line(number);
                let (epoch, steps) =
                    schedule::joining(&self.rows, &self.target, algorithm, self.now);
                let is_it = |step: &&Step| {
                    matches!(step, Step::Create(new)
                        if new.algorithm == algorithm && new.epoch == epoch)
                };
                assert_eq!(steps.iter().filter(is_it).count(), 1, "the imported key has no place");
                self.carry_out(steps, self.now);
                self.see("imports");
            }
            _ => unreachable!(),
        }
    }

    /// Lets time pass, and looks at every instant at which something may change.
    fn go_to(&mut self, until: Time) {
        loop {
            let mut instants = vec![until];
            let skew = self.target.skew;
            for key in &self.rows {
                instants.extend(key.next_turn(self.now));
                instants.push(key.times.sign_until + skew);
                for turn in [key.times.publish_at, key.times.activate_at, key.times.sign_until] {
                    instants.extend([turn - Duration::from_micros(1), turn + BEAT]);
                }
            }
            instants.extend(self.replicas.iter().map(|replica| replica.cut_until));
            instants.extend([self.unmaintained_until, self.away_until]);
            let next = instants.into_iter().filter(|at| *at > self.now && *at <= until).min();
            let Some(next) = next else { return };
            self.arrive(next);
        }
    }

    /// Everything that replicas do at an instant: sign, look at the rows, act on them, sign.
    fn arrive(&mut self, at: Time) {
        self.now = at;
        for who in 0..self.replicas.len() {
            // On its way here it has looked once a second, and nothing happened to the rows.
            if self.is_connected(who) && self.now.since(self.replicas[who].polled) > BEAT {
                self.poll(who);
            }
            self.sign(who);
        }
        self.check();
        for who in 0..self.replicas.len() {
            if !self.is_connected(who) {
                continue;
            }
            if self.now >= self.unmaintained_until {
                self.maintain(who);
            }
            self.poll(who);
        }
        (0..self.replicas.len()).for_each(|who| self.sign(who));
        self.check();
    }

    fn is_connected(&self, who: usize) -> bool {
        self.now >= self.away_until && self.now >= self.replicas[who].cut_until
    }

    fn poll(&mut self, who: usize) {
        let replica = &mut self.replicas[who];
        replica.copy.clone_from(&self.rows);
        replica.polled = self.now;
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn carry_out(&mut self, steps: Vec<Step>, now: Time) {
        if steps.is_empty() {
            return;
        }
        self.changes += 1;
        let changes = self.changes;
        let name = |new: &NewKey| format!("{}-{}-{changes}", new.algorithm, new.epoch);
        for step in &steps {
            let kid = match step {
                Step::Create(new) => name(new),
                Step::Reschedule { kid, .. } | Step::Compromise { kid } | Step::Destroy { kid } => {
                    kid.clone()
                }
            };
            self.changed.insert(kid, changes);
        }
        schedule::carry_out(&mut self.rows, steps, now, name);
    }

    fn maintain(&mut self, who: usize) {
        let replica = &self.replicas[who];
        let (now, certain, policy) =
            (replica.now(self.now), replica.certain, replica.policy.clone());
        let steps = schedule::plan(&self.rows, &policy, now, certain);
        assert_eq!(steps, schedule::plan(&self.rows, &policy, now, certain), "not deterministic");
        for step in &steps {
            self.check_step(step, now, certain);
        }
        self.carry_out(steps, now);
        self.replicas[who].maintained = self.changes;
        let again = schedule::plan(&self.rows, &policy, now, certain);
        assert!(again.is_empty(), "the plan asks for more once it is carried out: {again:?}");

        for &algorithm in &policy.algorithms {
            let line = || self.rows.iter().filter(move |key| key.algorithm == algorithm);
            let signs = line().any(|key| key.is_usable() && key.stage(now) == Stage::Active);
            if signs {
                self.started.insert((who, algorithm));
            }
            // I5
            let must = self.started.contains(&(who, algorithm));
            assert!(signs || !must, "{algorithm} cannot sign: {:#?}", self.rows);
            // An active line has a next key that comes when the active one ends.
            for key in line().filter(|key| key.is_usable() && key.stage(now) == Stage::Active) {
                let next = line().any(|next| {
                    next.is_usable()
                        && next.epoch > key.epoch
                        && next.times.activate_at == key.times.sign_until
                });
                assert!(next, "no key follows {key:?} at once");
            }
        }
        // I4
        if certain {
            let is_over = |k: &&SigningKey| {
                k.stage(now) == Stage::Removed && now >= k.times.sign_until + policy.skew
            };
            let left = self.rows.iter().filter(is_over).find(|key| !key.destroyed);
            assert!(left.is_none(), "removed, and its private half is there: {left:?}");
        }
    }

    /// No step of a plan takes anything away that may be needed.
    fn check_step(&mut self, step: &Step, now: Time, certain: bool) {
        match step {
            Step::Create(new) => {
                let times = &new.times;
                let lead = times.activate_at.since(times.publish_at);
                let first = self.rows.is_empty() && new.epoch == 1;
                assert!(first || lead >= self.target.lead, "too early: {new:?}");
                assert!(times.publish_at >= now, "published in the past: {new:?}");
                self.see("creations");
            }
            Step::Reschedule { kid, times } => {
                let key = self.rows.iter().find(|key| key.kid == *kid).unwrap();
                assert_eq!(times.publish_at, key.times.publish_at);
                assert_eq!(times.activate_at, key.times.activate_at);
                assert!(times.sign_until >= key.times.sign_until, "shortened: {key:?} {times:?}");
                assert!(times.remove_at >= key.times.remove_at, "removed sooner: {key:?}");
                assert!(times.longest_token >= key.times.longest_token, "shortened: {key:?}");
                if times.sign_until > key.times.sign_until {
                    self.see("extensions");
                } else {
                    self.see("lengthenings");
                }
            }
            Step::Destroy { kid } => {
                assert!(certain, "destroyed while clocks disagree: {kid}"); // I7
                self.see("destructions");
            }
            // An operator's act; the schedule never asks for it.
            Step::Compromise { kid } => panic!("declared stolen: {kid}"),
        }
    }

    /// Each replica signs with the active key of its own copy, for as long as it trusts that.
    fn sign(&mut self, who: usize) {
        let replica = &self.replicas[who];
        let now = replica.now(self.now);
        if self.now.since(replica.polled) > self.trusted.max(BEAT) {
            return;
        }
        for &algorithm in &replica.policy.algorithms {
            let active: Vec<_> = replica
                .copy
                .iter()
                .filter(|key| key.algorithm == algorithm && key.is_usable())
                .filter(|key| key.stage(now) == Stage::Active)
                .collect();
            assert!(active.len() <= 1, "two active keys: {active:#?}"); // I3
            let Some(key) = active.first() else { continue };
            // I1
            let lead = replica.policy.lead;
            let is_early = now < key.times.publish_at + lead && !self.genesis.contains(&key.kid);
            assert!(!is_early, "signs before its lead is over at {now:?}: {key:?}");
            let lifetime = replica.policy.longest_token.min(key.times.longest_token);
            // Longer allowances hold for a key once a replica that knows them has seen to it.
            let is_seen_to = self.changed.get(&key.kid).is_none_or(|at| *at <= replica.maintained);
            let own = replica.policy.skew + replica.policy.max_age;
            let after = if is_seen_to { own } else { self.least_allowance };
            self.tokens.push(Token { kid: key.kid.clone(), needed_until: now + lifetime + after });
            *self.seen.entry("tokens").or_default() += 1;
        }
    }

    /// What holds at every instant.
    fn check(&mut self) {
        let noise = self.replicas.iter().map(|replica| replica.noise).min().unwrap();
        let earliest = Time::from_micros(self.now.micros() + noise);
        self.tokens.retain(|token| token.needed_until > earliest);
        for (who, replica) in self.replicas.iter().enumerate() {
            let now = replica.now(self.now);
            // I4: by nobody's clock does a destroyed key sign.
            let gone = self.rows.iter().find(|k| k.destroyed && k.stage(now) == Stage::Active);
            assert!(gone.is_none(), "active and destroyed: {gone:?}");
            let max_age = schedule::max_age(replica.copy.iter(), &replica.policy, now);
            let quarter = replica.policy.lead / 4;
            assert!(max_age <= quarter.min(replica.policy.max_age), "{max_age:?}");
            let floor = Duration::from_secs(60).min(quarter).min(replica.policy.max_age);
            assert!(max_age >= floor, "{max_age:?}");
            // A copy of the JWKS that is made now is gone before a key that it lacks signs.
            let unseen = replica.copy.iter().filter(|k| now < k.times.publish_at && k.is_usable());
            for key in unseen.filter(|key| !self.genesis.contains(&key.kid)) {
                assert!(now + max_age < key.times.activate_at, "cached too long for {key:?}");
            }
            if !self.is_connected(who) || self.now.since(replica.polled) > BEAT {
                continue;
            }
            let shown: HashSet<_> = replica
                .copy
                .iter()
                .filter(|key| key.is_in_jwks(now))
                .map(|key| key.kid.as_str())
                .collect();
            // I2
            for token in self.tokens.iter().filter(|token| token.needed_until > now) {
                assert!(shown.contains(&*token.kid), "{} is not in the JWKS", token.kid);
            }
            // I6
            for key in replica.copy.iter().filter(|key| key.held && now >= key.times.publish_at) {
                assert!(shown.contains(&*key.kid), "held, and not in the JWKS: {key:?}");
            }
            // Two keys of each line at least, but for the moment in which a next one is made.
            for line in &replica.policy.algorithms {
                let of_line = || replica.copy.iter().filter(|key| key.algorithm == *line);
                let active = of_line().find(|k| k.is_usable() && k.stage(now) == Stage::Active);
                let Some(active) = active else { continue };
                let next = of_line().filter(|k| k.epoch > active.epoch && k.is_usable());
                let Some(next) = next.min_by_key(|key| key.epoch) else { continue };
                if now >= next.times.publish_at {
                    let keys = of_line().filter(|key| shown.contains(&*key.kid)).count();
                    assert!(keys >= 2, "{line} shows {keys} keys");
                }
            }
        }
    }
}
