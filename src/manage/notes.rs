//! Writes down what the token path noted in passing.

use serde_json::json;

use super::Desk;
use crate::domain::{ClientId, Reason};
use crate::mirror::{FailedRun, SecretUse};
use crate::store::audit::{self, Action, Event};
use crate::store::{StoreError, secrets};

impl Desk {
    /// Writes the notes in one transaction.
    pub async fn write_notes(
        &self,
        uses: &[SecretUse],
        runs: &[FailedRun],
    ) -> Result<(), StoreError> {
        self.db
            .write(async |tx| {
                for one in uses {
                    secrets::used(tx, one.secret, one.at).await?;
                    if let Some((from, to, digest)) = &one.rekeyed {
                        secrets::rekey(tx, one.secret, *from, *to, digest).await?;
                    }
                }
                for run in runs {
                    let actor = run.client.as_ref().map_or("somebody", ClientId::as_str);
                    let event = Event::new(Action::ClientAuthFailedRun, actor, run.at);
                    let event = Event {
                        reason: Some(Reason::ClientAuthFailed),
                        client: run.client.as_ref(),
                        request: Some(&run.request),
                        detail: json!({
                            "registered": run.client.is_some(),
                            "network": run.network.to_string(),
                        }),
                        ..event
                    };
                    audit::add(tx, &event).await?;
                }
                Ok(())
            })
            .await
    }
}
