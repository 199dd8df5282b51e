//! `jeton audit …`

use clap::{Args, Subcommand};

use super::context::{Context, Intent, context};
use super::table::table;
use super::{Global, note, print};
use crate::domain::When;
use crate::error::Exit;
use crate::manage::audit::EventView;
use crate::store::audit::Filter;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show security events, newest last. With --json, one object on each line
    #[command(after_help = "Examples:\n  jeton audit list --since 2h\n  jeton audit list \
                            --client app --reason client_auth_failed\n  jeton audit list \
                            --action key_created --since 2026-01-01T00:00:00Z --json | jq .kid")]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Not before: an instant such as 2026-01-31T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only before: an instant, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only what concerns this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only this kind of event, such as client_disabled
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only refusals for this reason, such as client_auth_failed
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only what this request caused: the X-Request-Id of its answer
    #[arg(long, allow_hyphen_values = true, value_name = "ID")]
    request: Option<String>,
    /// The latest so many events
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Audit {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let Self::List(list) = self;
        let Context { desk, now } = context(global, Intent::Look).await?;
        let all = Filter::latest(list.limit);
        let filter = Filter {
            since: list.since.map_or(all.since, |when| when.resolve(now)),
            until: list.until.map_or(all.until, |when| when.resolve(now)),
            client: list.client.as_deref(),
            action: list.action.as_deref(),
            reason: list.reason.as_deref(),
            request: list.request.as_deref(),
            ..all
        };
        let events = desk.audit(&filter).await?;
        if events.is_empty() {
            // A misspelt filter looks like a quiet night otherwise.
            note("no event matches");
        }
        show(global, &events)
    }
}

fn show(global: &Global, events: &[EventView]) -> Result<(), Exit> {
    if global.json {
        let lines: Result<Vec<_>, _> = events.iter().map(serde_json::to_string).collect();
        let lines = lines.map_err(|error| Exit::Failed(error.to_string()))?;
        // No event is no line, not an empty one.
        return if lines.is_empty() { Ok(()) } else { print(lines.join("\n")) };
    }
    let row = |event: &EventView| {
        let concerned = [&event.client, &event.resource, &event.kid];
        let concerned: Vec<_> = concerned.into_iter().flatten().map(String::as_str).collect();
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let detail = event.detail.as_object().is_none_or(|detail| !detail.is_empty());
        vec![
            event.at.clone(),
            event.action.clone(),
            event.actor.clone(),
            if concerned.is_empty() { "-".to_owned() } else { concerned.join(" ") },
            or_dash(&event.reason),
            or_dash(&event.request),
            if detail { event.detail.to_string() } else { "-".to_owned() },
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    let head = ["AT", "ACTION", "ACTOR", "CONCERNS", "REASON", "REQUEST", "DETAIL"];
    print(table(&head, &rows))
}
