//! `jeton recover`

use clap::{ArgGroup, Args};

use super::context::{Context, Intent, context};
use super::{Global, print, print_json};
use crate::domain::When;
use crate::error::Exit;
use crate::manage::recover::RecoveryView;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Recover {
    /// What the database learned since this instant may be lost: say until when the backup goes, such
    /// as 2026-01-31T12:00:00Z, or how long ago that was, such as 2h
    #[arg(long, group = "what", value_name = "TIME")]
    lost_since: Option<When>,
    /// Nothing is lost any more: refuse again whoever is ahead of the database
    #[arg(long, group = "what")]
    close: bool,
    /// Only say how many sign-ins it concerns
    #[arg(long, conflicts_with = "close")]
    dry_run: bool,
}

impl Recover {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let intent = if self.dry_run { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        let view = match self.lost_since {
            Some(since) => desk.recover(since.resolve(now), now, self.dry_run).await?,
            None => desk.close_recovery(now).await?,
        };
        if global.json { print_json(&view) } else { print(sentence(&view)) }
    }
}

fn sentence(view: &RecoveryView) -> String {
    let count = match view.sessions {
        1 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    };
    match &view.lost_since {
        None => format!("closed. {count} had not been refreshed since; they may come too late now"),
        Some(since) if view.done => format!(
            "open: what was learned since {since} may be lost, and {count} may go on from wherever \
             they were. Once apps have been back, run `jeton recover --close`"
        ),
        Some(since) => format!(
            "would let {count} go on that were last refreshed before {since}. Nothing was done"
        ),
    }
}
