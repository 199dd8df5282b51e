//! Random histories of families against a model that keeps a row for each token, as other servers
//! do. What is done at the same time must look as if it had been done in some order.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::family::{Family, Move, Presented, RetryRules};
use jeton::domain::{ClientId, Reason, RefreshRetry, Time};
use proptest::prelude::*;
use rand::seq::IndexedRandom;
use uuid::Uuid;

use crate::support::database::loses_races;
use crate::support::servers::{Pace, Plan, Servers};
use crate::support::session::{random_id, signed_in};
use crate::support::{Answer, App};

const WINDOW: Duration = Duration::from_secs(30);

/// One token, as a server with a row for each would store it.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    issued_at: Time,
    used: bool,
}

/// A family by its tokens.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    tokens: Vec<Token>,
    revoked: bool,
    suspended: bool,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Refresh(u32),
    StrangerRefreshes(u32),
    Revoke(u32),
    Suspend,
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// The successor's number.
    Given(u32),
    Refused,
    Done,
}

impl Model {
    fn new(now: Time) -> Self {
        let first = Token { issued_at: now, used: false };
        Self { tokens: vec![first], revoked: false, suspended: false }
    }

    fn live(&self) -> u32 {
        u32::try_from(self.tokens.len() - 1).unwrap()
    }

    /// What one act does when it is alone.
    fn act(&mut self, act: Act, policy: RefreshRetry, now: Time) -> Outcome {
        match act {
            Act::Suspend => self.suspended = true,
            Act::Resume => self.suspended = false,
            Act::Revoke(_) => self.revoked = true,
            Act::StrangerRefreshes(_) => return Outcome::Refused,
            Act::Refresh(number) => return self.refresh(number, policy, now),
        }
        Outcome::Done
    }

    fn refresh(&mut self, number: u32, policy: RefreshRetry, now: Time) -> Outcome {
        if self.revoked || self.suspended {
            return Outcome::Refused;
        }
        let token = &mut self.tokens[number as usize];
        if !token.used {
            token.used = true;
            self.tokens.push(Token { issued_at: now, used: false });
            return Outcome::Given(number + 1);
        }
        let successor = &self.tokens[number as usize + 1];
        let in_time = now.since(successor.issued_at) <= WINDOW;
        let retry = match policy {
            RefreshRetry::Strict => false,
            RefreshRetry::Window => in_time,
            RefreshRetry::UntilUsed => true,
        };
        if !successor.used && retry {
            return Outcome::Given(number + 1);
        }
        self.revoked = true;
        Outcome::Refused
    }

    /// Every state that these acts, done at once with these outcomes, may have led to.
    fn after(&self, acts: &[(Act, Outcome)], policy: RefreshRetry, now: Time) -> Vec<Self> {
        if acts.is_empty() {
            return vec![self.clone()];
        }
        let mut all: Vec<Self> = Vec::new();
        for first in 0..acts.len() {
            let (mut state, mut rest) = (self.clone(), acts.to_vec());
            let (act, outcome) = rest.remove(first);
            let expected = state.act(act, policy, now);
            let mut after = state.after(&rest, policy, now);
            // Whoever is given a token of a family that somebody else ends before the answer is on its
            // way is not given it.
            if matches!((expected, outcome), (Outcome::Given(_), Outcome::Refused)) {
                after.retain(|state| state.revoked);
            } else if expected != outcome {
                continue;
            }
            all.extend(after);
        }
        all.dedup();
        all
    }
}

/// One family that lives through a random history.
struct Run {
    client: &'static str,
    policy: RefreshRetry,
    subject: Uuid,
    family: Uuid,
    /// Every state that it may be in.
    states: Vec<Model>,
}

impl Run {
    async fn begin(app: &App, client: &'static str, policy: RefreshRetry) -> Self {
        let now = app.clock.now();
        let (subject, family) = (random_id(), jeton::store::audit::row_id(now));
        app.begin_as(client, subject, family).await;
        Self { client, policy, subject, family, states: vec![Model::new(now)] }
    }

    /// Some acts at once, on tokens that were given out before: mostly the latest.
    fn acts(&self) -> Vec<Act> {
        let live = self.states.iter().map(Model::live).min().unwrap();
        let mut random = rand::rng();
        let mut act = || {
            let back = *[0, 0, 0, 0, 0, 0, 0, 1, 1, 2].choose(&mut random).unwrap();
            let number = live.saturating_sub(back);
            match rand::random_range(0..100) {
                0 => Act::Revoke(number),
                1..=3 => Act::Suspend,
                4..=20 => Act::Resume,
                21..=24 => Act::StrangerRefreshes(number),
                _ => Act::Refresh(number),
            }
        };
        (0..rand::random_range(2..=4)).map(|_| act()).collect()
    }

    /// One act, at whichever replica it happens to come to: what one of them has in memory the other may
    /// know from the row alone.
    async fn carry_out(&self, servers: &Servers, act: Act) -> Outcome {
        let app = servers.nth(rand::random_range(0..2));
        let token = |number| app.refresh_token(self.family, number);
        let since = match act {
            Act::Suspend => Some(app.clock.now()),
            Act::Resume => None,
            Act::Revoke(number) => {
                let token = token(number);
                let answer = settled(app, async || app.revoke(self.client, &token).await).await;
                assert_eq!(answer.status, 200);
                return Outcome::Done;
            }
            Act::Refresh(number) => return self.refresh(app, self.client, &token(number)).await,
            Act::StrangerRefreshes(number) => {
                return self.refresh(app, "other-web", &token(number)).await;
            }
        };
        let db = &app.running.desk.db;
        let suspend =
            db.write(async |tx| jeton::store::families::suspend(tx, self.subject, since).await);
        suspend.await.unwrap();
        Outcome::Done
    }

    async fn refresh(&self, app: &App, client: &str, token: &str) -> Outcome {
        let answer = settled(app, async || app.refresh(client, token, "").await).await;
        if answer.status == 200 {
            let successor = answer.json()["refresh_token"].as_str().unwrap().to_owned();
            return Outcome::Given(app.read(&successor).generation);
        }
        assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
        Outcome::Refused
    }

    /// One interleaving: some acts at once, and what they came to.
    async fn step(&mut self, servers: &Servers) {
        let (acts, now) = (self.acts(), servers[0].clock.now());
        let outcomes = join_all(acts.iter().map(|act| self.carry_out(servers, *act))).await;
        let seen: Vec<_> = acts.into_iter().zip(outcomes).collect();
        let before = std::mem::take(&mut self.states);
        for state in &before {
            self.states.extend(state.after(&seen, self.policy, now));
        }
        self.states.dedup();
        assert!(!self.states.is_empty(), "{before:?} cannot have answered {seen:?}");
        if self.states.iter().all(|state| state.revoked) {
            *self = Self::begin(&servers[0], self.client, self.policy).await;
        }
    }
}

/// The answer of a request that comes again for as long as it is told to. Where transactions are serializable
/// its writes may lose race after race, and on SQLite a disk may hang for longer than it waits for the one
/// writer. Nothing has happened then, and whoever believes it must be right.
async fn settled(app: &App, send: impl AsyncFn() -> Answer) -> Answer {
    loop {
        let answer = send().await;
        if answer.status != 503 || app.database.is_postgres() && !loses_races() {
            return answer;
        }
        assert!(!answer.header("retry-after").is_empty());
    }
}

/// Interleavings of two to four acts each, on one replica and as many on two.
async fn interleave(batching: bool, interleavings: usize) {
    for replicas in [1, 2] {
        let servers = Plan { replicas, batching, pace: Pace::Still }.start().await;
        let kinds = [
            ("strict", RefreshRetry::Strict),
            ("windowed", RefreshRetry::Window),
            ("web", RefreshRetry::UntilUsed),
        ];
        let mut runs = Vec::new();
        for (client, policy) in kinds.into_iter().cycle().take(30) {
            runs.push(Run::begin(&servers[0], client, policy).await);
        }
        for _ in 0..(interleavings / 2).div_ceil(runs.len()) {
            join_all(runs.iter_mut().map(|run| run.step(&servers))).await;
            servers[0].clock.advance(Duration::from_secs(rand::random_range(0..20)));
        }
        for app in servers.iter() {
            for reason in ["database_unavailable", "overloaded", "mirror_stale"] {
                let put_off = app.refusals(reason).await;
                println!("{replicas} replicas, batching {batching}: {put_off} x {reason}");
                assert!(put_off < 50.0 || loses_races(), "{put_off} were put off: {reason}");
            }
        }
        servers.stop().await;
    }
}

#[actix_web::test]
async fn five_thousand_random_interleavings_alone_look_as_if_done_one_after_the_other() {
    interleave(false, 5_000).await;
}

#[actix_web::test]
async fn five_thousand_random_interleavings_together_look_as_if_done_one_after_the_other() {
    interleave(true, 5_000).await;
}

fn policies() -> impl Strategy<Value = RefreshRetry> {
    prop_oneof![
        Just(RefreshRetry::Strict),
        Just(RefreshRetry::Window),
        Just(RefreshRetry::UntilUsed)
    ]
}

proptest! {
    /// The rule alone, over every kind of history: what it says is what a row for each token says.
    #[test]
    fn the_rule_decides_as_a_row_for_each_token_would(
        policy in policies(),
        steps in prop::collection::vec((0u32..4, 0i64..40), 1..40),
    ) {
        let mut now = Time::from_seconds(1_000_000);
        let mut model = Model::new(now);
        let mut family = signed_in("web", Uuid::nil(), Uuid::nil(), now).family;
        let rules = RetryRules { policy, window: WINDOW, heal: true };
        let client = ClientId::parse("web").unwrap();
        for (back, pause) in steps {
            now = now + Duration::from_secs(pause.unsigned_abs());
            let generation = model.live().saturating_sub(back);
            let key_thumbprint = None;
            let presented =
                Presented { generation, client: &client, has_credential: true, key_thumbprint };
            let said = family.decide(&presented, &rules, now);
            let expected = model.refresh(generation, policy, now);
            prop_assert_eq!(carried_out(&mut family, said, now), expected, "{:?}", said);
        }
    }

    /// Nothing that a stranger presents, or that is presented too late, is an attempt to change it.
    #[test]
    fn who_is_not_the_client_or_has_not_the_key_or_comes_too_late_changes_nothing(
        generation: u32, live: u32, own: bool, bound: bool, late in 0u8..4,
    ) {
        let now = Time::from_seconds(1_000_000);
        let mut family = signed_in("web", Uuid::nil(), Uuid::nil(), now).family;
        family.generation = live;
        family.key_thumbprint = bound.then(|| "key".to_owned());
        match late {
            1 => family.revoked_at = Some(now),
            2 => family.suspended_at = Some(now),
            3 => family.ends_at = now,
            _ => {}
        }
        let rules = RetryRules { policy: RefreshRetry::UntilUsed, window: WINDOW, heal: true };
        let client = ClientId::parse(if own { "web" } else { "other-web" }).unwrap();
        let presented =
            Presented { generation, client: &client, has_credential: true, key_thumbprint: None };
        let said = family.decide(&presented, &rules, now);
        let expected = match (own, bound, late) {
            (false, _, _) => Some(Reason::RefreshWrongClient),
            (true, true, _) => Some(Reason::RefreshWrongKey),
            (true, false, 1) => Some(Reason::RefreshFamilyRevoked),
            (true, false, 2) => Some(Reason::SubjectDisabled),
            (true, false, 3) => Some(Reason::RefreshExpired),
            _ => None,
        };
        match expected {
            Some(reason) => prop_assert_eq!(said, Move::Refuse(reason)),
            None => prop_assert!(!matches!(
                said,
                Move::Refuse(Reason::RefreshWrongClient | Reason::RefreshWrongKey)
            )),
        }
    }
}

/// What a decision does to the row.
fn carried_out(family: &mut Family, said: Move, now: Time) -> Outcome {
    match said {
        Move::Rotate => {
            family.generation += 1;
            family.rotated_at = now;
            Outcome::Given(family.generation)
        }
        Move::Retry => Outcome::Given(family.generation),
        Move::Reuse => {
            family.revoked_at = Some(now);
            Outcome::Refused
        }
        Move::Heal => panic!("nothing was lost"),
        Move::Refuse(_) => Outcome::Refused,
    }
}
