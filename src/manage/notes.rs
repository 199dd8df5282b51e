//! Writes down what the token path noted in passing.

use serde_json::json;

use super::Desk;
use crate::domain::{ClientId, Reason};
use crate::mirror::{FailedRun, Name, SecretUse};
use crate::store::audit::{self, Action, Event};
use crate::store::{StoreError, Tx, secrets};

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
                    failed_run(tx, run).await?;
                }
                Ok(())
            })
            .await
    }
}

async fn failed_run(tx: &mut Tx, run: &FailedRun) -> Result<(), StoreError> {
    let network = run.network.to_string();
    let (action, reason, client, detail) = match &run.name {
        Name::Client(client) => (
            Action::ClientAuthFailedRun,
            Some(Reason::ClientAuthFailed),
            client.as_ref(),
            json!({ "registered": client.is_some(), "network": network }),
        ),
        Name::Person(person) => (
            Action::SignInFailedRun,
            Some(Reason::SignInFailed),
            None,
            json!({ "subject": person, "network": network }),
        ),
        Name::NotItsClient(client) => {
            (Action::ForeignTokenRevocation, None, Some(client), json!({ "network": network }))
        }
    };
    let actor = client.map_or("somebody", ClientId::as_str);
    let event = Event {
        reason,
        client,
        request: Some(&run.request),
        detail,
        ..Event::new(action, actor, run.at)
    };
    audit::add(tx, &event).await
}
