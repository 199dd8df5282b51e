//! After a backup was restored: an operator says since when what the database learned may be lost.
//!
//! Until that is closed, a refresh token may be ahead of its family's row by any number, if the row is
//! one of the backup. Nothing else changes: the family must be alive, and what replicas remember of
//! revocations is written again first.

use serde::Serialize;
use serde_json::json;

use super::{Desk, ManageError, shown};
use crate::domain::Time;
use crate::domain::revocation::MARGIN;
use crate::store::audit::{self, Action, Event};
use crate::store::{instance, sessions};

/// What holds after the command, or would.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveryView {
    /// Since when what the database learned may be lost; absent once that is closed.
    pub lost_since: Option<String>,
    /// So many sign-ins were last refreshed before that, and may go on from wherever they were.
    pub sessions: i64,
    /// Whether it was done.
    pub done: bool,
}

impl Desk {
    /// Says since when what the database learned may be lost.
    pub async fn recover(
        &self,
        since: Time,
        now: Time,
        dry_run: bool,
    ) -> Result<RecoveryView, ManageError> {
        if since > now {
            return Err(ManageError::invalid(
                "--lost-since lies in the future: say until when the backup goes",
            ));
        }
        let sessions = sessions::behind(&self.db, since + MARGIN, now).await?;
        if !dry_run {
            let event = Event::new(Action::RecoveryOpened, &self.actor, now);
            let detail = json!({ "lost_since": shown(since), "sessions": sessions });
            self.say_lost(Some(since), &Event { detail, ..event }).await?;
        }
        Ok(RecoveryView { lost_since: Some(shown(since)), sessions, done: !dry_run })
    }

    /// Says that nothing is lost any more: a token that is ahead of its row is refused again.
    pub async fn close_recovery(&self, now: Time) -> Result<RecoveryView, ManageError> {
        let Some(since) = instance::lost_since(&self.db).await? else {
            return Err(ManageError::invalid("no recovery is open"));
        };
        let event = Event::new(Action::RecoveryClosed, &self.actor, now);
        let detail = json!({ "lost_since": shown(since) });
        self.say_lost(None, &Event { detail, ..event }).await?;
        let sessions = sessions::behind(&self.db, since + MARGIN, now).await?;
        Ok(RecoveryView { lost_since: None, sessions, done: true })
    }

    async fn say_lost(&self, since: Option<Time>, event: &Event<'_>) -> Result<(), ManageError> {
        let write = self.db.write(async |tx| {
            instance::set_lost_since(tx, since).await?;
            audit::add(tx, event).await
        });
        Ok(write.await?)
    }
}
