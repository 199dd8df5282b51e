//! The set of acts that still count, against a model that keeps every act and looks at all of them.

use std::time::Duration;

use jeton::domain::{Facts, Inactive, Revocation, Revoked, Target, Time, TokenId};
use proptest::prelude::*;
use uuid::Uuid;

/// All times of a run lie within a few seconds, in steps that often meet.
const BEGIN: i64 = 1_800_000_000_000_000;

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        (0..8_i64).prop_map(|n| Time::from_micros(BEGIN + n * 500_000)),
        (0..4_000_000_i64).prop_map(|n| Time::from_micros(BEGIN + n)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn id() -> impl Strategy<Value = TokenId> {
    (0..4_u8).prop_map(|n| TokenId::new(Time::from_micros(BEGIN), [n; 9]))
}

fn family() -> impl Strategy<Value = Uuid> {
    (0..3_u128).prop_map(Uuid::from_u128)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        id().prop_map(Target::Token),
        family().prop_map(Target::Family),
        name().prop_map(Target::Subject),
        name().prop_map(Target::Disabled),
        name().prop_map(Target::Enabled),
        name().prop_map(Target::Client),
        name().prop_map(Target::Resource),
        name().prop_map(Target::Key),
        Just(Target::Everything),
    ]
}

fn act() -> impl Strategy<Value = Revocation> {
    (target(), time(), time()).prop_map(|(target, issued_before, expires_at)| Revocation {
        target,
        issued_before,
        expires_at,
    })
}

fn token() -> impl Strategy<Value = Facts> {
    let times = (time(), time());
    (id(), times, prop::option::of(family()), name(), name(), name(), name()).prop_map(
        |(id, (birth, issued), family, subject, client, resource, kid)| Facts {
            id,
            birth,
            issued,
            family,
            subject,
            client,
            resource,
            kid,
        },
    )
}

/// Whether an act among others takes a token back, as the words of each kind have it.
fn concerns(act: &Revocation, acts: &[Revocation], token: &Facts) -> bool {
    let earlier = token.birth < act.issued_before;
    match &act.target {
        Target::Token(id) => token.id == *id,
        Target::Family(id) => token.family == Some(*id),
        Target::Key(kid) => token.kid == *kid,
        Target::Subject(name) => token.subject == *name && earlier,
        Target::Disabled(name) => {
            let lifts = |other: &Revocation| {
                other.target == Target::Enabled(name.clone())
                    && other.issued_before >= act.issued_before
            };
            token.subject == *name && !acts.iter().any(lifts)
        }
        Target::Enabled(_) => false,
        Target::Client(name) => token.client == *name && earlier,
        Target::Resource(name) => token.resource == *name && token.issued < act.issued_before,
        Target::Everything => earlier,
    }
}

/// The cause that an act gives.
fn cause(act: &Revocation) -> Inactive {
    match &act.target {
        Target::Key(_) => Inactive::KeyCompromised,
        Target::Token(_) => Inactive::TokenRevoked,
        Target::Family(_) => Inactive::FamilyRevoked,
        Target::Disabled(_) => Inactive::SubjectDisabled,
        _ => Inactive::BeforeWatermark,
    }
}

fn of(acts: &[Revocation]) -> Revoked {
    let mut revoked = Revoked::default();
    for act in acts {
        revoked.add(act);
    }
    revoked
}

/// An account is switched off, or on.
fn switched(subject: &str, at: i64, off: bool) -> Revocation {
    let subject = subject.to_owned();
    let issued_before = Time::from_micros(BEGIN + at);
    Revocation {
        target: if off { Target::Disabled(subject) } else { Target::Enabled(subject) },
        issued_before,
        expires_at: issued_before + Duration::from_secs(60),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_token_is_revoked_exactly_when_an_act_concerns_it_and_for_its_cause(
        acts in prop::collection::vec(act(), 0..12),
        tokens in prop::collection::vec(token(), 1..12),
    ) {
        let revoked = of(&acts);
        for token in &tokens {
            let causes: Vec<_> =
                acts.iter().filter(|act| concerns(act, &acts, token)).map(cause).collect();
            match revoked.verdict(token) {
                Some(verdict) => prop_assert!(causes.contains(&verdict), "{verdict} {causes:?}"),
                None => prop_assert!(causes.is_empty(), "{causes:?}"),
            }
        }
    }

    #[test]
    fn the_order_of_acts_and_their_repetition_change_nothing(
        acts in prop::collection::vec(act(), 0..12),
        tokens in prop::collection::vec(token(), 1..6),
        now in time(),
    ) {
        let (forwards, mut backwards) = (of(&acts), Revoked::default());
        for act in acts.iter().rev().chain(&acts) {
            backwards.add(act);
        }
        prop_assert_eq!(forwards.len(), backwards.len());
        for token in &tokens {
            prop_assert_eq!(forwards.verdict(token), backwards.verdict(token));
        }
        let sorted = |revoked: &Revoked| {
            let mut all: Vec<_> = revoked.acts(now).map(|act| format!("{act:?}")).collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&forwards), sorted(&backwards));
    }

    #[test]
    fn forgetting_forgets_no_act_that_still_counts_and_revokes_nothing_anew(
        acts in prop::collection::vec(act(), 0..12),
        tokens in prop::collection::vec(token(), 1..12),
        now in time(),
    ) {
        let before = of(&acts);
        let mut after = of(&acts);
        after.forget(now);
        prop_assert!(after.len() <= before.len());
        for token in &tokens {
            let counts = |act: &&Revocation| act.expires_at > now && concerns(act, &acts, token);
            if acts.iter().any(|act| counts(&act)) {
                prop_assert!(after.verdict(token).is_some(), "an act that still counts is gone");
            }
            if after.verdict(token).is_some() {
                prop_assert!(acts.iter().any(|act| concerns(act, &acts, token)), "nothing concerns it");
            }
        }
        let long = now + Duration::from_secs(60);
        after.forget(long);
        prop_assert!(after.is_empty(), "everything ends");
    }

    #[test]
    fn what_is_listed_says_as_much_as_what_was_put_in(
        acts in prop::collection::vec(act(), 0..12),
        tokens in prop::collection::vec(token(), 1..6),
        now in time(),
    ) {
        let revoked = of(&acts);
        let listed: Vec<_> = revoked.acts(now).collect();
        let again = of(&listed);
        for act in acts.iter().filter(|act| act.expires_at > now) {
            prop_assert!(revoked.covers(act) && again.covers(act), "{act:?}");
        }
        for act in &listed {
            prop_assert!(act.expires_at > now);
            prop_assert!(revoked.covers(act));
        }
        for token in &tokens {
            if acts.iter().any(|act| act.expires_at > now && concerns(act, &acts, token)) {
                prop_assert_eq!(again.verdict(token).is_some(), true);
            }
            if again.verdict(token).is_some() {
                prop_assert!(revoked.verdict(token).is_some());
            }
        }
    }

    #[test]
    fn an_act_is_covered_only_if_every_token_that_it_concerns_is_revoked(
        acts in prop::collection::vec(act(), 0..8),
        one in act(),
        tokens in prop::collection::vec(token(), 1..40),
    ) {
        let revoked = of(&acts);
        let covered = revoked.covers(&one);
        if covered {
            for token in tokens.iter().filter(|token| concerns(&one, &acts, token)) {
                prop_assert!(revoked.verdict(token).is_some());
            }
        }
        // The same target, and at least as early a mark: that is what covers, and nothing else does.
        let says_more = |act: &&Revocation| {
            act.target == one.target
                && (!one.target.is_dated() || act.issued_before >= one.issued_before)
        };
        prop_assert_eq!(covered, acts.iter().any(|act| says_more(&act)));
    }

    #[test]
    fn of_switching_off_and_on_what_was_done_last_counts_in_whatever_order_it_is_read(
        done in prop::collection::btree_map(0..1000_i64, any::<bool>(), 1..6)
            .prop_map(|done| done.into_iter().collect::<Vec<_>>()),
        read in prop::collection::vec(any::<prop::sample::Index>(), 12),
        token in token(),
    ) {
        let acts: Vec<_> = done.iter().map(|(at, off)| switched(&token.subject, *at, *off)).collect();
        // In any order, and some of them more than once.
        let mut revoked = Revoked::default();
        for index in &read {
            revoked.add(index.get(&acts));
        }
        for act in acts.iter().rev() {
            revoked.add(act);
        }
        let (last, off) = done.last().copied().unwrap();
        let verdict = off.then_some(Inactive::SubjectDisabled);
        prop_assert_eq!(revoked.verdict(&token), verdict);
        let state = revoked.switched(&token.subject);
        prop_assert_eq!(state.is_off(), off);
        prop_assert_eq!(state.off_at.max(state.on_at), Some(Time::from_micros(BEGIN + last)));
        let other = Facts { subject: "somebody else".to_owned(), ..token };
        prop_assert_eq!(revoked.verdict(&other), None);
    }

    #[test]
    fn within_one_second_a_watermark_spares_exactly_what_was_born_at_it_or_later(
        born in 0..1_000_000_i64,
        mark in -2_000_000..2_000_000_i64,
        random in any::<[u8; 9]>(),
    ) {
        let birth = Time::from_micros(BEGIN + born);
        let id = TokenId::new(birth, random);
        let read = TokenId::parse(&id.to_string()).unwrap();
        prop_assert_eq!(read.birth(birth.seconds()), birth);
        let issued_before = Time::from_micros(BEGIN + mark);
        let act = Revocation {
            target: Target::Everything,
            issued_before,
            expires_at: issued_before + Duration::from_secs(60),
        };
        let token = Facts {
            id,
            birth: read.birth(birth.seconds()),
            issued: read.birth(birth.seconds()),
            family: None,
            subject: "s".to_owned(),
            client: "c".to_owned(),
            resource: "r".to_owned(),
            kid: "k".to_owned(),
        };
        prop_assert_eq!(of(&[act]).verdict(&token).is_some(), born < mark);
    }

    #[test]
    fn names_of_tokens_sort_by_birth_and_a_birth_never_leaves_the_second_of_iat(
        one in time(),
        two in time(),
        random in any::<([u8; 9], [u8; 9])>(),
        any_name in any::<(i64, [u8; 9])>(),
        issued_at in 0..4_000_000_000_i64,
    ) {
        let (first, second) = (TokenId::new(one, random.0), TokenId::new(two, random.1));
        if one != two {
            prop_assert_eq!(first < second, one < two);
        }
        // Whatever a name says, verifiers go by `iat`, and so do we.
        let odd = TokenId::new(Time::from_micros(any_name.0), any_name.1);
        prop_assert_eq!(odd.birth(issued_at).seconds(), issued_at);
    }

    #[test]
    fn a_target_is_stored_and_read_back_as_it_was(target in target()) {
        prop_assert_eq!(Target::parse(target.kind(), &target.key()), Some(target));
    }
}

#[test]
fn an_end_beyond_what_is_counted_is_never_too_early() {
    let far = [i64::MAX, 4_294_967_295, 4_294_967_294, 253_402_300_800].map(Time::from_seconds);
    for end in far {
        let act = Revocation {
            target: Target::Everything,
            issued_before: Time::from_micros(BEGIN),
            expires_at: end,
        };
        let mut revoked = of(&[act]);
        revoked.forget(Time::from_seconds(4_000_000_000));
        assert_eq!(revoked.len(), 1, "{end:?}");
    }
}
