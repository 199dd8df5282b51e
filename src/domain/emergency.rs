//! What to do when signing keys are stolen: a pure function from rows and time to steps, like the
//! schedule, except that it does not wait for verifiers.

use std::collections::BTreeSet;

use super::schedule::{NewKey, Policy, Step, sign_until};
use super::{Algorithm, SigningKey, Stage, Time, Times};

/// Takes keys out of use at once. In each line that loses its signer the next key signs from now on,
/// and every line that loses a key shows a new one at once: verifiers that ask again only when they
/// meet an unknown kid (go-oidc) give up the stolen key only then.
pub fn compromise(keys: &[SigningKey], policy: &Policy, stolen: &[String], now: Time) -> Vec<Step> {
    let is_stolen = |key: &&SigningKey| stolen.contains(&key.kid) && key.compromised_at.is_none();
    let hit: Vec<_> = keys.iter().filter(is_stolen).collect();
    let mut steps: Vec<_> =
        hit.iter().map(|key| Step::Compromise { kid: key.kid.clone() }).collect();
    let lines: BTreeSet<Algorithm> = hit.iter().map(|key| key.algorithm).collect();
    for line in lines.into_iter().filter(|line| policy.algorithms.contains(line)) {
        steps.extend(replace(keys, policy, stolen, line, now));
    }
    steps
}

fn replace(
    keys: &[SigningKey],
    policy: &Policy,
    stolen: &[String],
    line: Algorithm,
    now: Time,
) -> Vec<Step> {
    let all = || keys.iter().filter(move |key| key.algorithm == line);
    let mut left: Vec<_> =
        all().filter(|key| key.is_usable() && !stolen.contains(&key.kid)).collect();
    left.retain(|key| key.times.sign_until > now);
    left.sort_by_key(|key| key.epoch);
    let epoch = all().map(|key| key.epoch).max().unwrap_or(0).saturating_add(1);
    let create = |epoch, times| Step::Create(NewKey { algorithm: line, epoch, times });

    let Some(first) = left.first() else {
        let times = policy.life(now, now);
        let next = policy.life(now, times.sign_until);
        return vec![create(epoch, times), create(epoch.saturating_add(1), next)];
    };
    let signs = first.stage(now) == Stage::Active;
    let mut steps = Vec::new();
    let mut until = left.last().map_or(now, |key| key.times.sign_until);
    if !signs {
        let publish_at = first.times.publish_at.min(now);
        let mut times = Times { publish_at, activate_at: now, ..first.times };
        // A key that waits behind it keeps its own time.
        if left.len() == 1 {
            until = now + policy.period;
            times = sign_until(&Times { remove_at: until, ..times }, until, policy);
        }
        steps.push(Step::Reschedule { kid: first.kid.clone(), times });
    }
    if left.len() == 1 {
        let next = policy.life(now, until.max(now + policy.lead));
        if signs && until < next.activate_at {
            // The one that signs now goes on until its successor has been shown for long enough.
            let times = sign_until(&first.times, next.activate_at, policy);
            steps.push(Step::Reschedule { kid: first.kid.clone(), times });
        }
        steps.push(create(epoch, next));
    }
    steps
}
