//! `jeton session …`

use clap::{ArgGroup, Args, Subcommand};
use uuid::Uuid;

use super::context::{Context, Intent, context};
use super::table::table;
use super::{Global, note, print, print_json};
use crate::domain::{Time, When};
use crate::error::Exit;
use crate::manage::sessions::{EndedView, SessionView, SessionsView, Which};

#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// Show sign-ins, newest first: each is one refresh-token family
    #[command(after_help = "Examples:\n  jeton session list --user alice\n  jeton session list \
                            --client app --before 30d --json")]
    List(List),
    /// Show one sign-in
    #[command(after_help = "Example:\n  jeton session show 019b76da-a800-7000-8000-000000000001")]
    Show {
        /// Its name: the sid of its access tokens
        #[arg(value_name = "UUID")]
        id: Uuid,
    },
    /// End sign-ins for good: their refresh tokens at once, their access tokens within seconds. What was
    /// allowed and not fetched yet ends with them, unless --family names one; with --user alone so does a
    /// sign-in that is under way
    #[command(after_help = "Examples:\n  jeton session revoke --user alice --dry-run\n  jeton \
                            session revoke --family 019b76da-a800-7000-8000-000000000001\n  jeton \
                            session revoke --client app --before 2026-01-31T12:00:00Z")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// The latest so many
    #[arg(long, value_name = "COUNT", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true)
    .args(["user", "client", "family", "before"]))]
pub(super) struct Revoke {
    #[command(flatten)]
    filter: Filter,
    /// Only say how many would end
    #[arg(long)]
    dry_run: bool,
}

/// Which sign-ins; what is said together must all hold.
#[derive(Debug, Args)]
struct Filter {
    /// Of this person: the username or the subject
    #[arg(long, value_name = "USERNAME", allow_hyphen_values = true)]
    user: Option<String>,
    /// Of this client
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    client: Option<String>,
    /// Only this one: the sid of its access tokens
    #[arg(long, value_name = "UUID")]
    family: Option<Uuid>,
    /// Begun before this instant, such as 2026-01-31T12:00:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    before: Option<When>,
}

impl Filter {
    fn resolve(self, now: Time) -> Which {
        let before = self.before.map(|at| at.resolve(now));
        Which { user: self.user, client: self.client, family: self.family, before }
    }
}

impl Sessions {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let acts = matches!(self, Self::Revoke(Revoke { dry_run: false, .. }));
        let intent = if acts { Intent::Act } else { Intent::Look };
        let Context { desk, now } = context(global, intent).await?;
        match self {
            Self::List(list) => {
                let which = list.filter.resolve(now);
                show(global, &desk.sessions(&which, list.limit, now).await?)
            }
            Self::Show { id } => print_json(&desk.session(id, now).await?),
            Self::Revoke(Revoke { filter, dry_run }) => {
                let ended = desk.revoke_sessions(&filter.resolve(now), now, dry_run).await?;
                if global.json { print_json(&ended) } else { print(sentence(&ended)) }
            }
        }
    }
}

fn sentence(ended: &EndedView) -> String {
    let count = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let mut what = count(ended.sessions, "session");
    if ended.codes > 0 {
        let codes = count(ended.codes, "authorization code");
        what = format!("{what}, and {codes} that no app had redeemed yet");
    }
    match &ended.obeyed_within {
        None => format!("would end {what}. Nothing was done"),
        Some(_) if ended.sessions + ended.codes == 0 => "no session was to be ended".to_owned(),
        Some(bound) => format!(
            "ended {what}. Introspection on every replica obeys within {bound}.\nResource servers \
             that check signatures themselves and never ask may accept their access tokens until \
             {}",
            ended.accepted_without_asking_until
        ),
    }
}

fn show(global: &Global, found: &SessionsView) -> Result<(), Exit> {
    if global.json {
        return print_json(found);
    }
    if found.sessions.is_empty() {
        note("no session matches");
    }
    let some = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |session: &SessionView| {
        let state = session
            .why
            .as_ref()
            .map_or_else(|| session.state.to_owned(), |why| format!("{}: {why}", session.state));
        vec![
            session.id.clone(),
            session.username.clone().unwrap_or_else(|| session.subject.clone()),
            session.client.clone(),
            some(&session.born_at),
            session.refreshed_at.clone(),
            session.generation.to_string(),
            state,
            some(&session.network),
            some(&session.user_agent),
        ]
    };
    let rows: Vec<_> = found.sessions.iter().map(row).collect();
    let head = [
        "SESSION",
        "USER",
        "CLIENT",
        "BEGAN",
        "LAST REFRESH",
        "GENERATION",
        "STATE",
        "NETWORK",
        "USER AGENT",
    ];
    print(table(&head, &rows))?;
    if found.more {
        note(&format!(
            "these are the latest {}; there are more: narrow it down, or say --limit",
            found.sessions.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sessions: u64, codes: u64, done: bool) -> String {
        let obeyed_within = done.then(|| "2s".to_owned());
        let until = "2026-01-01T01:00:00Z".to_owned();
        sentence(&EndedView {
            sessions,
            codes,
            obeyed_within,
            accepted_without_asking_until: until,
        })
    }

    #[test]
    fn a_sign_in_that_was_only_a_code_is_said_to_have_ended() {
        assert_eq!(said(0, 0, true), "no session was to be ended");
        assert!(said(2, 0, true).starts_with("ended 2 sessions. Introspection"));
        let both = "ended 0 sessions, and 1 authorization code that no app had redeemed yet. ";
        assert!(said(0, 1, true).starts_with(both));
        let would = "would end 1 session, and 2 authorization codes that no app had redeemed yet. \
                     Nothing was done";
        assert_eq!(said(1, 2, false), would);
    }
}
