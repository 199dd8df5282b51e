//! Whatever happens, in whatever order: no verifier ever meets a token whose key it does not hold.

mod model;

use std::collections::HashMap;
use std::time::Duration;

use jeton::domain::schedule::{self, CannotRotate, Policy, Step};
use jeton::domain::{Algorithm, SigningKey, Stage, Time};
use model::{Happening, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const START: Time = Time::from_seconds(1_800_000_000);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The policy of `config/default.toml`.
fn ordinary() -> Policy {
    Policy {
        algorithms: vec![Algorithm::Es256],
        period: secs(30 * 86_400),
        lead: secs(86_400),
        max_age: secs(300),
        skew: secs(300),
        longest_token: secs(3600),
    }
}

/// Policies as the configuration accepts them: of hours and days, or of seconds for tests.
fn policies() -> impl Strategy<Value = Policy> {
    let lines = prop::sample::subsequence(Algorithm::ALL.to_vec(), 1..=3);
    let lead = prop_oneof![2 => 3600..172_800_u64, 1 => 4..30_u64];
    (lines, lead, 1..60_u32, 1..100_u32, 1..600_u64, 1..86_400_u64).prop_map(
        |(algorithms, lead, periods, age, skew, token)| {
            let is_tiny = lead < 60;
            let lead = secs(lead);
            Policy {
                algorithms,
                // From barely the lead, where a successor always comes a little late.
                period: lead + lead * (periods - 1) / 2,
                lead,
                max_age: (lead / 4 * age / 100).max(secs(1)),
                skew: secs(if is_tiny { 2 + skew % 5 } else { 2 + skew }),
                longest_token: secs(if is_tiny { 1 + token % 20 } else { token }),
            }
        },
    )
}

fn happenings() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        5 => (0..1500_u64).prop_map(H::Passes),
        3 => (-2_000_000..2_000_000_i64).prop_map(H::NearTurn),
        2 => (0..4_usize, 0..1000_u64).prop_map(|(who, long)| H::CutOff(who, long)),
        1 => (0..4500_u64).prop_map(H::Unmaintained),
        1 => (0..4500_u64).prop_map(H::DatabaseAway),
        3 => (0..4_usize).prop_map(H::Rotate),
        1 => (0..40_usize, any::<bool>()).prop_map(|(key, held)| H::Hold(key, held)),
        1 => (0..4_usize).prop_map(H::Import),
        2 => (0..3_usize, 2..20_u64).prop_map(|(which, factor)| H::Raise(which, factor)),
        3 => (0..4_usize).prop_map(H::Deploy),
        1 => Just(H::AddAlgorithm),
        2 => (0..4_usize, any::<bool>()).prop_map(|(who, certain)| H::Doubt(who, certain)),
    ]
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
}

#[test]
fn no_history_breaks_a_verifier_or_leaves_a_line_without_a_key() {
    let worlds = (policies(), 0..1000_u64, prop::collection::vec(-500..500_i64, 2..=4));
    let histories = prop::collection::vec(happenings(), 5..60);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let sum = std::cell::RefCell::new(&mut seen);
    let outcome = runner(300).run(&(worlds, histories), |((policy, trusted, noises), history)| {
        // Clocks are off by up to a second, and by less than a quarter of what is allowed for.
        let most = i64::try_from(policy.skew.as_micros() / 4).unwrap().min(1_000_000);
        let mut noises: Vec<_> = noises.iter().map(|noise| most * noise / 500).collect();
        // The slowest makes the first keys, which sign at once; else it would wait for itself.
        noises.sort_unstable();
        let trusted = policy.lead / 1000 * u32::try_from(trusted).unwrap();
        let mut world = World::new(&policy, trusted, &noises);
        for what in &history {
            world.happen(what);
        }
        for (what, count) in &world.seen {
            *sum.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // A model in which nothing happens proves nothing.
    for what in ["tokens", "rotations", "imports", "holds", "creations", "extensions"]
        .into_iter()
        .chain(["lengthenings", "destructions"])
    {
        assert!(seen.get(what).copied().unwrap_or(0) > 100, "{what}: {seen:?}");
    }
}

/// Carries out the plan as a server with a sure clock would.
fn maintain(keys: &mut Vec<SigningKey>, policy: &Policy, now: Time) {
    let steps = schedule::plan(keys, policy, now, true);
    schedule::carry_out(keys, steps, now, |new| format!("{}-{}", new.algorithm, new.epoch));
}

fn genesis(policy: &Policy) -> Vec<SigningKey> {
    let mut keys = Vec::new();
    maintain(&mut keys, policy, START);
    keys
}

fn signer(keys: &[SigningKey], now: Time) -> Option<&str> {
    let active = |key: &&SigningKey| key.is_usable() && key.stage(now) == Stage::Active;
    keys.iter().find(active).map(|key| key.kid.as_str())
}

#[test]
fn the_forecast_is_what_happens_when_the_plan_is_carried_out_second_by_second() {
    let policies = (1..4_u64, 0..12_u64, 1..9_u64, 0..9_u64, 1..20_u64).prop_map(
        |(lead, more, age, skew, token)| Policy {
            algorithms: vec![Algorithm::Es256, Algorithm::Rs256],
            period: secs(lead * 4 + more),
            lead: secs(lead * 4),
            max_age: secs(age),
            skew: secs(skew),
            longest_token: secs(token),
        },
    );
    let outcome = runner(60).run(&(policies, 0..90_u64), |(policy, begin)| {
        let mut keys = genesis(&policy);
        for second in 0..=begin {
            maintain(&mut keys, &policy, START + secs(second));
        }
        let from = START + secs(begin);
        let until = from + secs(120);
        let foretold: Vec<_> = schedule::forecast(&keys, &policy, from, until)
            .into_iter()
            .filter(|event| event.at > from)
            .map(|event| (event.at, event.algorithm, event.epoch, event.stage))
            .collect();
        let mut happened = Vec::new();
        let mut stages: HashMap<_, _> =
            keys.iter().map(|key| ((key.algorithm, key.epoch), key.stage(from))).collect();
        for second in 1..=120 {
            let now = from + secs(second);
            maintain(&mut keys, &policy, now);
            for key in &keys {
                let place = (key.algorithm, key.epoch);
                let stage = key.stage(now);
                let before = stages.insert(place, stage).unwrap_or(Stage::Pending);
                if before != stage {
                    happened.push((now, key.algorithm, key.epoch, stage));
                }
            }
        }
        happened.sort();
        prop_assert_eq!(foretold, happened);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_first_keys_sign_at_once_and_every_later_one_waits_its_lead() {
    let policy = ordinary();
    let keys = genesis(&policy);
    let turns: Vec<_> = keys.iter().map(|key| key.times).collect();
    assert_eq!(turns.len(), 2);
    assert_eq!((turns[0].publish_at, turns[0].activate_at), (START, START));
    assert_eq!((turns[1].publish_at, turns[1].activate_at), (START, START + policy.period));
    // 3600 s token + 300 s cache + 300 s skew after the last signature.
    assert_eq!(turns[0].remove_at, START + policy.period + secs(4200));

    let mut keys = keys;
    let switch = START + policy.period;
    maintain(&mut keys, &policy, switch);
    let third = keys.last().unwrap();
    assert_eq!(third.times.publish_at, switch + secs(10));
    assert_eq!(third.times.activate_at, switch + policy.period);
    assert_eq!(signer(&keys, switch), Some("ES256-2"));

    // A line that is configured later.
    let later = Policy { algorithms: vec![Algorithm::Es256, Algorithm::Ps256], ..policy.clone() };
    maintain(&mut keys, &later, switch);
    let first = keys.iter().find(|key| key.algorithm == Algorithm::Ps256).unwrap();
    assert_eq!(first.times.publish_at, switch + secs(10));
    assert_eq!(first.times.activate_at, switch + secs(10) + policy.lead);
}

#[test]
fn after_an_outage_the_last_key_signs_again_at_once_until_its_successor_had_its_lead() {
    let policy = ordinary();
    for periods in [2, 3, 17] {
        let mut keys = genesis(&policy);
        let back = START + policy.period * periods + secs(12_345);
        assert_eq!(signer(&keys, back), None);
        maintain(&mut keys, &policy, back);
        assert_eq!(signer(&keys, back), Some("ES256-2"));
        assert!(keys.iter().any(|key| key.kid == "ES256-2" && key.is_in_jwks(back)));
        let shown = back + secs(10);
        let third = keys.iter().find(|key| key.epoch == 3).unwrap();
        assert_eq!(third.times.publish_at, shown);
        assert_eq!(third.times.activate_at, shown + policy.lead);
        let before = shown + policy.lead - Duration::from_micros(1);
        assert_eq!(signer(&keys, before), Some("ES256-2"));
        assert_eq!(signer(&keys, shown + policy.lead), Some("ES256-3"));
        let second = keys.iter().find(|key| key.epoch == 2).unwrap();
        assert_eq!(second.times.remove_at, shown + policy.lead + secs(4200));
    }
}

#[test]
fn a_rotation_comes_no_earlier_than_is_safe_and_says_why_it_cannot_come() {
    let policy = ordinary();
    let rotate = |keys: &[SigningKey], now| {
        schedule::rotate(keys, &policy, Algorithm::Es256, now, secs(300))
    };
    assert_eq!(rotate(&[], START), Err(CannotRotate::NoActiveKey));
    let mut keys = genesis(&policy);
    assert_eq!(rotate(&keys[..1], START), Err(CannotRotate::NoNextKey));
    let soon = START + policy.period - secs(10);
    assert_eq!(rotate(&keys, soon), Err(CannotRotate::AlreadySoon));

    // The next key was published a minute ago: it waits for the rest of its lead.
    let now = START + secs(60);
    let switch_of = |steps: &[Step]| match steps {
        [Step::Reschedule { times: ending, .. }, Step::Reschedule { times: beginning, .. }] => {
            assert_eq!(ending.sign_until, beginning.activate_at);
            assert!(ending.remove_at >= ending.sign_until + secs(300 + 4200));
            assert_eq!(beginning.sign_until, beginning.activate_at + policy.period);
            beginning.activate_at
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(switch_of(&rotate(&keys, now).unwrap()), START + policy.lead);
    // It was published for long: it waits until every replica knows of it.
    let now = START + policy.lead * 2;
    let steps = rotate(&keys, now).unwrap();
    assert_eq!(switch_of(&steps), now + secs(10));
    schedule::carry_out(&mut keys, steps, now, |_| unreachable!());
    assert_eq!(signer(&keys, now + secs(9)), Some("ES256-1"));
    assert_eq!(signer(&keys, now + secs(10)), Some("ES256-2"));
    // Until a next key has had its lead, it cannot be repeated.
    maintain(&mut keys, &policy, now + secs(10));
    let again = rotate(&keys, now + secs(11)).unwrap();
    assert_eq!(switch_of(&again), now + secs(20) + policy.lead);
}

#[test]
fn an_imported_key_is_the_first_of_an_empty_issuer_and_else_the_last_of_its_line() {
    let policy = ordinary();
    let (epoch, steps) = schedule::joining(&[], &policy, Algorithm::Es256, START);
    assert_eq!(epoch, 1);
    assert_eq!(steps, schedule::plan(&[], &policy, START, true));
    let keys = genesis(&policy);
    let (epoch, steps) = schedule::joining(&keys, &policy, Algorithm::Es256, START + secs(5));
    let behind = keys[1].times.sign_until;
    match &steps[..] {
        [Step::Create(new)] => assert_eq!((epoch, new.times.activate_at), (3, behind)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn doubt_about_the_time_destroys_nothing_and_certainty_makes_up_for_it() {
    let policy = ordinary();
    let mut keys = genesis(&policy);
    let now = START + policy.period + policy.skew;
    let steps = schedule::plan(&keys, &policy, now, false);
    assert!(!steps.is_empty() && !steps.iter().any(|s| matches!(s, Step::Destroy { .. })));
    maintain(&mut keys, &policy, now - Duration::from_micros(1));
    assert!(!keys.iter().any(|key| key.destroyed), "destroyed within the skew");
    maintain(&mut keys, &policy, now);
    let gone: Vec<_> = keys.iter().filter(|k| k.destroyed).map(|k| k.kid.as_str()).collect();
    assert_eq!(gone, ["ES256-1"]);
}

#[test]
fn the_max_age_shrinks_to_the_next_turn_and_no_further_than_a_minute() {
    let policy = ordinary();
    let keys = genesis(&policy);
    let turn = START + policy.period;
    let max_age = |before: u64| schedule::max_age(keys.iter(), &policy, turn - secs(before));
    assert_eq!([max_age(86_400), max_age(301), max_age(200)], [secs(300), secs(300), secs(200)]);
    assert_eq!([max_age(60), max_age(59), max_age(1)], [secs(60); 3]);
    assert_eq!(schedule::max_age([].iter(), &policy, START), secs(300));
    let tight = Policy { lead: secs(40), max_age: secs(300), ..policy.clone() };
    assert_eq!(schedule::max_age(keys.iter(), &tight, turn - secs(1)), secs(10));
}

#[test]
fn no_place_in_a_line_is_too_high_to_be_planned_from() {
    let policy = ordinary();
    let mut keys = genesis(&policy);
    // What a database writer may plant: it proves nothing, yet it occupies its place.
    let planted = SigningKey { epoch: i64::MAX, corrupt: true, ..keys[1].clone() };
    keys.push(planted);
    let now = START + policy.period;
    assert!(!schedule::plan(&keys, &policy, now, true).is_empty());
    let (_, steps) = schedule::joining(&keys, &policy, Algorithm::Es256, now);
    assert!(!steps.is_empty());
    assert_eq!(signer(&keys, now), Some("ES256-2"));
}
