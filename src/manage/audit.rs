//! The audit trail, to look at. It is written by the acts themselves.

use serde::Serialize;
use serde_json::Value;

use super::{Desk, ManageError, shown};
use crate::domain::Time;
use crate::store::audit::{self, Filter, Recorded};

/// A security event as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    /// The event's name.
    pub id: String,
    /// When it happened.
    pub at: String,
    /// What happened.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// The reason, for a refusal.
    pub reason: Option<String>,
    /// The client concerned.
    pub client: Option<String>,
    /// The resource concerned.
    pub resource: Option<String>,
    /// The key concerned.
    pub kid: Option<String>,
    /// The request that caused it.
    pub request: Option<String>,
    /// What else there is to know.
    pub detail: Value,
}

impl From<Recorded> for EventView {
    fn from(row: Recorded) -> Self {
        Self {
            id: row.id.to_string(),
            at: shown(Time::from_micros(row.at)),
            action: row.action,
            actor: row.actor,
            reason: row.reason,
            client: row.client_id,
            resource: row.resource,
            kid: row.kid,
            request: row.request_id,
            detail: row.detail.0,
        }
    }
}

impl Desk {
    /// The events that a filter lets through, newest last: that is where a terminal ends.
    pub async fn audit(&self, filter: &Filter<'_>) -> Result<Vec<EventView>, ManageError> {
        let rows = audit::list(&self.db, filter).await?;
        Ok(rows.into_iter().rev().map(EventView::from).collect())
    }
}
