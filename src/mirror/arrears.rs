//! What the database owes: revocations that it had and has lost, by a failover or a restored backup.
//!
//! The outbox is only half of an act. It is forgotten after the longest life of an access token, and
//! what keeps refresh tokens from working after that is in the rows. So the rows get it back as well.

use serde_json::json;
use uuid::Uuid;

use crate::domain::session::End;
use crate::domain::{ClientId, Revocation, Target, Time};
use crate::store::audit::{self, Action, Event};
use crate::store::versions::{self, Part};
use crate::store::{Db, StoreError, Tx, clients, families, instance, revocations, sessions, users};

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
        let mut sessions = 0;
        for act in &acts {
            sessions += to_rows(tx, act, now).await?;
        }
        let event = Event::new(Action::RevocationsRestored, "server", now);
        let detail = json!({ "acts": acts.len(), "sessions": sessions });
        audit::add(tx, &Event { detail, ..event }).await?;
        revocations::append(tx, &acts).await
    })
    .await
}

/// Brings the rows to what an act says; how many families it ended. An act does not tell whether it
/// switched an account off, set a password or deleted somebody, so sign-ins that were only suspended
/// end: to sign in again is the lesser harm. Keys have a keeper of their own, and of an access token
/// there is no row.
async fn to_rows(tx: &mut Tx, act: &Revocation, now: Time) -> Result<u64, StoreError> {
    let before = act.issued_before;
    match &act.target {
        Target::Family(id) => {
            families::end_as(tx, *id, End::Restored.name(), now).await.map(u64::from)
        }
        Target::Subject(subject) => {
            // Nobody signs in under another name than a UUID.
            let Ok(subject) = Uuid::parse_str(subject) else { return Ok(0) };
            users::set_valid_from(tx, subject, before).await?;
            sessions::end_older(tx, subject, before, End::Restored, now).await
        }
        Target::Client(id) => {
            let Ok(id) = ClientId::parse(id) else { return Ok(0) };
            clients::set_valid_from(tx, &id, before).await.map(|()| 0)
        }
        Target::Everything => instance::set_valid_from(tx, before).await.map(|()| 0),
        Target::Token(_) | Target::Resource(_) | Target::Key(_) => Ok(0),
    }
}
