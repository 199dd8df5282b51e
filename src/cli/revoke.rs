//! `jeton revoke`

use clap::{ArgGroup, Args};

use super::context::{Context, Intent, context};
use super::{Global, print, print_json, stdin};
use crate::domain::when::When;
use crate::error::Exit;
use crate::manage::revoke::{RevocationView, What};
use crate::secret::TokenText;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Revoke {
    /// Take back the one access token that stands on standard input; a token is never an argument,
    /// which every user of the machine could read
    #[arg(long, group = "what")]
    token_stdin: bool,
    /// Take back everything that was issued to a client, refresh tokens included
    #[arg(long, group = "what", value_name = "ID")]
    client: Option<String>,
    /// Take back every access token that was issued for a resource; refresh tokens stay
    #[arg(long, group = "what", value_name = "ID")]
    resource: Option<String>,
    /// Take back everything, refresh tokens included
    #[arg(long, group = "what")]
    all: bool,
    /// Only what was issued before this instant, such as 2026-01-31T12:00:00Z, or so long ago, such
    /// as 2h [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "token_stdin")]
    before: Option<When>,
    /// Only show what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Revoke {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let what = match (self.token_stdin, self.client, self.resource) {
            (true, ..) => What::Token(token()?),
            (_, Some(client), _) => What::Client(client),
            (_, _, Some(resource)) => What::Resource(resource),
            (false, None, None) => What::Everything,
        };
        let intent = if self.dry_run { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        let view =
            desk.revoke(&what, self.before.map(|at| at.resolve(now)), now, self.dry_run).await?;
        if global.json {
            return print_json(&view);
        }
        print(sentence(&view))?;
        Ok(())
    }
}

fn token() -> Result<TokenText, Exit> {
    Ok(TokenText::new(&stdin::text("token")?))
}

fn sentence(view: &RevocationView) -> String {
    let what = match view.kind {
        "token" => format!("the token {}", view.key),
        "everything" => "everything".to_owned(),
        kind => format!("everything of {kind} {}", view.key),
    };
    let before = view.issued_before.as_ref();
    let before = before.map(|at| format!(" issued before {at}")).unwrap_or_default();
    let asked = "Resource servers that check signatures themselves and never ask";
    let until = &view.accepted_without_asking_until;
    match &view.obeyed_within {
        Some(bound) => format!(
            "revoked: {what}{before}. Introspection on every replica obeys within {bound}.\n{asked} \
             may accept it until {until}"
        ),
        None => format!(
            "would revoke: {what}{before}. {asked} could accept it until {until}. Nothing was done"
        ),
    }
}
