//! What the database owes: revocations that it had and has lost, by a failover or a restored backup.
//!
//! The outbox is only half of an act. It is forgotten after the longest life of an access token, and
//! what keeps refresh tokens from working after that is in the rows. So the rows get it back as well.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use crate::domain::session::End;
use crate::domain::{ClientId, Revocation, Switched, Target, Time};
use crate::store::audit::{self, Action, Event};
use crate::store::users::{self, Account};
use crate::store::versions::{self, Part};
use crate::store::{Db, StoreError, Tx, clients, families, instance, revocations, sessions};

/// Writes acts again, with all that they did to rows, in one transaction. Several replicas may do so
/// at once, each with what it knows: what is there stays as it is.
pub(super) async fn write_again(db: &Db, acts: &[Revocation], now: Time) -> Result<(), StoreError> {
    // In one order everywhere, so that two replicas never wait for each other crosswise.
    let mut acts = acts.to_vec();
    acts.sort_by_cached_key(|act| (act.target.kind(), act.target.key()));
    db.write(async |tx| {
        if acts.iter().any(|act| matches!(act.target, Target::Client(_) | Target::Everything)) {
            versions::bump(tx, Part::Directory).await?;
        }
        let people = people(&acts);
        for subject in people.keys() {
            users::hold(tx, *subject).await?;
        }
        let mut sessions = 0;
        for act in &acts {
            sessions += to_rows(tx, act, now).await?;
        }
        sessions += switch(tx, &people).await?;
        let event = Event::new(Action::RevocationsRestored, "server", now);
        let detail = json!({ "acts": acts.len(), "sessions": sessions });
        audit::add(tx, &Event { detail, ..event }).await?;
        revocations::append(tx, &acts).await
    })
    .await
}

/// Of everybody whom the acts are about, in order, whether they switch the account.
fn people(acts: &[Revocation]) -> BTreeMap<Uuid, Switched> {
    let mut people: BTreeMap<Uuid, Switched> = BTreeMap::new();
    for act in acts {
        let (Target::Subject(name) | Target::Disabled(name) | Target::Enabled(name)) = &act.target
        else {
            continue;
        };
        // Nobody signs in under another name than a UUID.
        let Ok(subject) = Uuid::parse_str(name) else { continue };
        let said = Switched::of(act).map(|(_, said)| said).unwrap_or_default();
        let held = people.entry(subject).or_default();
        *held = held.with(said);
    }
    people
}

/// Switches accounts as the acts that were lost and those that were not say together; how many
/// families are suspended, or go on, with them. Somebody may have switched an account since the loss,
/// and what came last counts.
async fn switch(tx: &mut Tx, people: &BTreeMap<Uuid, Switched>) -> Result<u64, StoreError> {
    let lost = || people.iter().filter(|(_, lost)| **lost != Switched::default());
    if lost().next().is_none() {
        return Ok(0);
    }
    let stored = revocations::switched(tx).await?;
    let mut families = 0;
    for (subject, lost) in lost() {
        let Some(Account { user, .. }) = users::get_in(tx, *subject).await? else { continue };
        let stored = stored.get(&subject.to_string()).copied().unwrap_or_default();
        let row = Switched { off_at: user.disabled_at, on_at: None };
        let all = lost.with(stored).with(row);
        let first = user.disabled_at.filter(|at| Some(*at) > all.on_at);
        let since = first.or(all.off_at).filter(|_| all.is_off());
        let last = all.off_at.max(all.on_at).unwrap_or(user.updated_at);
        users::set_disabled(tx, *subject, since, last).await?;
        if since.is_some() {
            users::discard_codes(tx, *subject).await?;
        }
        families += families::suspend(tx, *subject, since).await?;
    }
    Ok(families)
}

/// Brings the rows to what an act says for good; how many families it ended. Keys have a keeper of
/// their own, and of an access token there is no row.
async fn to_rows(tx: &mut Tx, act: &Revocation, now: Time) -> Result<u64, StoreError> {
    let before = act.issued_before;
    match &act.target {
        Target::Family(id) => {
            families::end_as(tx, *id, End::Restored.name(), now).await.map(u64::from)
        }
        Target::Subject(subject) => {
            let Ok(subject) = Uuid::parse_str(subject) else { return Ok(0) };
            users::set_valid_from(tx, subject, before).await?;
            sessions::end_older(tx, subject, before, End::Restored, now).await
        }
        Target::Client(id) => {
            let Ok(id) = ClientId::parse(id) else { return Ok(0) };
            clients::set_valid_from(tx, &id, before).await.map(|()| 0)
        }
        Target::Everything => instance::set_valid_from(tx, before).await.map(|()| 0),
        Target::Disabled(_)
        | Target::Enabled(_)
        | Target::Token(_)
        | Target::Resource(_)
        | Target::Key(_) => Ok(0),
    }
}
