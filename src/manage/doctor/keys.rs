//! Keys: can every line sign today, and will it tomorrow?

use std::time::Duration;

use super::database::cannot;
use crate::domain::schedule::{self, Step};
use crate::domain::{Algorithm, SigningKey, Stage, Time};
use crate::manage::Desk;
use crate::manage::finding::Finding;
use crate::manage::keys::KeyView;
use crate::secret::{SecretId, Vault};
use crate::store::{Db, doctor, keys as rows, root_secrets};

const CHECK: &str = "keys";

/// A running server carries steps out within seconds.
const OVERDUE: Duration = Duration::from_secs(60);

/// Whether the file holds every root secret that rows depend on.
pub(super) async fn needed(db: &Db, secrets: Option<&Vault>, now: Time) -> Finding {
    const CHECK: &str = "secret ids";
    let needed = match doctor::needed_secrets(db, now).await {
        Ok(needed) => needed,
        Err(error) => return cannot(CHECK, &error),
    };
    let stolen = match root_secrets::load(db).await {
        Ok(retired) => retired.into_iter().filter(|one| one.compromised_at.is_some()),
        Err(error) => return cannot(CHECK, &error),
    };
    let stolen: Vec<_> = stolen.map(|one| one.id).collect();
    let held = secrets.map(|vault| vault.now().ids()).unwrap_or_default();
    if let Some(vault) = secrets {
        // As a server does, or a row made by whoever stole a secret would pass for ours.
        vault.distrust(&stolen);
    }
    let holds = |id: i64| u8::try_from(id).is_ok_and(|id| held.contains(&SecretId(id)));
    let missing: Vec<_> = needed
        .iter()
        .filter(|one| !holds(one.secret_id))
        .map(|one| format!("id {} of {} rows in {}", one.secret_id, one.total, one.holder))
        .collect();
    if let Some(first) = held.first().filter(|first| stolen.contains(first)) {
        let what = format!("id {} is known to be stolen, and it stands first", first.0);
        return Finding::bad(CHECK, what)
            .remedy("put a new root secret first; see `jeton secrets --help`");
    }
    if missing.is_empty() {
        return Finding::good(CHECK, "the file holds every id that rows need");
    }
    Finding::bad(CHECK, format!("the root-secret file lacks {}", missing.join(", "))).remedy(
        "put the lines with these ids back into the file, from its copy; if there is none \
             anywhere, see `jeton help secrets lost`",
    )
}

/// Every line of keys, every row, and the schedule.
pub(super) async fn check(desk: &Desk, now: Time) -> Vec<Finding> {
    let (views, rows) = match (desk.keys(now).await, rows::load(&desk.db).await) {
        (Ok(views), Ok(rows)) => (views, rows),
        (_, Err(error)) => return vec![cannot(CHECK, &error)],
        (Err(error), _) => {
            return vec![Finding::unknown(CHECK, format!("not checked: {error}"))];
        }
    };
    if rows.is_empty() {
        let finding = Finding::warning(CHECK, "there are none yet");
        return vec![finding.remedy("the first `jeton serve` makes them")];
    }
    let mut keys = desk.proven(&rows);
    for key in &mut keys {
        // A key whose private half does not open here can no more sign than a planted one.
        key.corrupt |= views.iter().any(|view| view.kid == key.kid && view.trouble.is_some());
    }
    let lines = desk.policy.algorithms.iter();
    let mut found: Vec<_> = lines.map(|line| of_line(&keys, *line, now)).collect();
    found.extend(views.iter().filter_map(trouble));
    found.push(overdue(desk, &desk.proven(&rows), now));
    found
}

fn of_line(keys: &[SigningKey], line: Algorithm, now: Time) -> Finding {
    let usable = || keys.iter().filter(|key| key.algorithm == line && key.is_usable());
    let active = usable().find(|key| key.stage(now) == Stage::Active);
    let next = usable().filter(|key| now < key.times.activate_at).min_by_key(|key| key.epoch);
    match (active, next) {
        (Some(active), Some(next)) => Finding::good(
            CHECK,
            format!("{line}: {} signs, and {} is next", name(active), name(next)),
        ),
        (Some(active), None) => {
            Finding::warning(CHECK, format!("{line}: {} signs, and none is next", name(active)))
                .remedy("a running `jeton serve` makes it within seconds; look into its log")
        }
        (None, Some(next)) => {
            let at = next.times.activate_at.rfc3339();
            Finding::bad(CHECK, format!("{line}: no key signs until {at}"))
                .remedy("put another line first in keys.algorithms until then")
        }
        (None, None) if keys.iter().any(|key| key.algorithm == line) => {
            Finding::bad(CHECK, format!("{line}: no key signs"))
                .remedy("see the other findings; a running `jeton serve` makes a new key")
        }
        (None, None) => Finding::warning(CHECK, format!("{line}: the line has no key yet"))
            .remedy("the next `jeton serve` publishes one, which signs after keys.lead"),
    }
}

fn name(key: &SigningKey) -> String {
    format!("#{}", key.epoch)
}

/// A row that does not prove itself, or does not open, unless its key is out of the JWKS anyway.
fn trouble(view: &KeyView) -> Option<Finding> {
    let trouble = view.trouble.as_ref().filter(|_| view.stage != Stage::Removed.name())?;
    let what = format!("{} #{} ({}): {trouble}", view.algorithm, view.epoch, view.kid);
    Some(Finding::bad(CHECK, what).remedy(
        "put the root secrets back that it was made under; if somebody wrote this row by hand, \
         find out who",
    ))
}

/// Steps of the schedule that nobody carries out.
fn overdue(desk: &Desk, keys: &[SigningKey], now: Time) -> Finding {
    const CHECK: &str = "rotation";
    let steps = schedule::plan(keys, &desk.policy, now - OVERDUE, false);
    let has_line = |line: Algorithm| keys.iter().any(|key| key.algorithm == line);
    let creates = |step: &&Step| matches!(step, Step::Create(new) if has_line(new.algorithm));
    let missing = steps.iter().filter(creates).count();
    let remedy = "start `jeton serve`; if one runs, look into its log";
    if missing > 0 {
        let what = format!("{missing} keys should have been made more than a minute ago");
        return Finding::bad(CHECK, what).remedy(remedy);
    }
    if steps.iter().any(|step| matches!(step, Step::Reschedule { .. })) {
        let what = "keys wait for the times that the configuration asks for";
        return Finding::warning(CHECK, what).remedy(remedy);
    }
    Finding::good(CHECK, "nothing is overdue")
}
