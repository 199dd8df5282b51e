//! `jeton token …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

use super::table::plain;
use super::{Global, findings, print, print_json, stdin};
use crate::clock::Clock;
use crate::domain::Issuer;
use crate::error::Exit;
use crate::manage::doctor::skipped;
use crate::manage::finding::Finding;
use crate::manage::token::{
    Evidence, Expected, Revocation, Sources, TimeView, Token, explain, metadata_urls, schedule_url,
};
use crate::outbound::Outbound;

#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// Show what a token says. Nothing is verified, and no server is asked
    #[command(after_help = "Examples:\n  jeton token inspect - < token\n  jeton token inspect - \
                            --json < token | jq .claims")]
    Inspect(Given),
    /// Check a token as a careful resource server would, and say why it passes or fails. Works with
    /// any issuer that publishes metadata; exit status 1 if anything is wrong with the token
    #[command(after_help = "Examples:\n  jeton token explain - --issuer https://id.example.com < \
                            token\n  jeton token explain - --issuer https://id.example.com \
                            --audience https://api.example.com/ --client api --secret-file \
                            api-secret < token")]
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Given {
    /// Read the token from standard input; it is never an argument, which others could see
    #[arg(value_name = "-")]
    from: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    given: Given,
    /// The issuer that the token should come from
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The audience that the token should be for
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// Ask the issuer's introspection, as this client, whether the token was taken back
    #[arg(long, value_name = "CLIENT", requires = "secret_file")]
    client: Option<String>,
    /// The file that holds the client's secret
    #[arg(long, value_name = "FILE", requires = "client")]
    secret_file: Option<PathBuf>,
}

/// What is said to whoever puts a token where others can read it.
pub(super) const NEVER_AN_ARGUMENT: &str = "a token is never an argument, where every user of this machine and the shell's history can \
     read it: give it on standard input, as in `jeton token inspect - < FILE`";

impl Given {
    fn read(&self) -> Result<Zeroizing<String>, Exit> {
        if self.from.iter().any(|from| from != "-") {
            return Err(Exit::Failed(NEVER_AN_ARGUMENT.to_owned()));
        }
        stdin::text("token")
    }
}

impl Tokens {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        match self {
            Self::Inspect(given) => inspect(global, &given.read()?),
            Self::Explain(explain) => explain.run(global).await,
        }
    }
}

fn inspect(global: &Global, text: &str) -> Result<(), Exit> {
    let token = Token::read(text).map_err(Exit::Failed)?;
    let view = token.inspect(Clock::system().now());
    if global.json {
        return print_json(&view);
    }
    let names = view.header.keys().chain(view.claims.keys());
    let width = names.map(|name| plain(name).chars().count()).max().unwrap_or(0);
    let line = |name: &str, value: &Value, time: Option<&TimeView>| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let time = time.map_or_else(String::new, |time| match &time.at {
            Some(at) => format!("  {at}, {}", time.relative),
            None => format!("  {}", time.relative),
        });
        format!("  {:<width$}  {}{time}\n", plain(name), plain(&value))
    };
    let time = |name: &str| view.times.iter().find(|time| time.claim == name);
    let header: String = view.header.iter().map(|(name, value)| line(name, value, None)).collect();
    let claims = view.claims.iter().map(|(name, value)| line(name, value, time(name)));
    let claims: String = claims.collect();
    print(format!(
        "NOT VERIFIED: whoever likes can write such a token; `jeton token explain` checks it.\n\n\
         header\n{header}\nclaims\n{claims}\nsignature of {} bytes, not verified",
        view.signature_bytes
    ))
}

/// What cannot be checked of something that is no token.
const REST: &[&str] =
    &["type", "algorithm", "key", "signature", "issuer", "audience", "exp", "iat", "revocation"];

impl Explain {
    async fn run(self, global: &Global) -> Result<(), Exit> {
        let text = self.given.read()?;
        let issuer =
            Issuer::parse(&self.issuer).map_err(|why| Exit::Failed(format!("--issuer: {why}")))?;
        let secret = self.secret_file.as_deref().map(secret).transpose()?;
        let token = match Token::read(&text) {
            Ok(token) => token,
            Err(why) => {
                let mut found = vec![Finding::bad("form", why)];
                found.extend(skipped(REST, "it is no token that can be read"));
                return findings::show(global, &found);
            }
        };
        let outbound = Outbound::new().map_err(|error| Exit::Failed(error.to_string()))?;
        let client = self.client.as_deref().zip(secret.as_deref());
        let evidence = gather(&outbound, &issuer, &text, client).await;
        let expected = Expected { issuer: &issuer, audience: self.audience.as_deref() };
        findings::show(global, &explain(&token, &expected, &evidence, Clock::system().now()))
    }
}

/// A secret without the line's end that editors leave behind it.
fn secret(path: &Path) -> Result<Zeroizing<String>, Exit> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| Exit::Failed(format!("--secret-file {}: {error}", path.display())))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Fetches what the issuer says. Nothing is fetched from where another issuer's metadata leads, and
/// above all the token and the secret are not sent there.
async fn gather(
    outbound: &Outbound,
    issuer: &Issuer,
    token: &str,
    client: Option<(&str, &String)>,
) -> Evidence {
    let (url, sources) = match metadata(outbound, issuer).await {
        Ok(found) => found,
        Err(why) => {
            let no_metadata = "there is no metadata to be trusted".to_owned();
            return Evidence {
                metadata: Err(why),
                jwks: Err(no_metadata.clone()),
                schedule: None,
                revocation: Revocation::NotAsked(no_metadata),
            };
        }
    };
    let jwks = outbound.get(&sources.jwks).await;
    let schedule = outbound.get(&schedule_url(issuer)).await.ok();
    Evidence {
        metadata: Ok(url),
        jwks: jwks.map_err(|error| format!("the JWKS at {}: {error}", sources.jwks)),
        schedule: schedule.filter(|schedule| schedule["issuer"] == issuer.as_str()),
        revocation: revocation(outbound, sources.introspection, token, client).await,
    }
}

async fn metadata(outbound: &Outbound, issuer: &Issuer) -> Result<(String, Sources), String> {
    let mut tried = Vec::new();
    for url in metadata_urls(issuer) {
        match outbound.get(&url).await {
            Ok(metadata) => {
                let sources = Sources::of(&metadata, issuer);
                return sources.map_err(|why| format!("{url}: {why}")).map(|found| (url, found));
            }
            Err(error) => tried.push(format!("{url}: {error}")),
        }
    }
    Err(tried.join("; "))
}

async fn revocation(
    outbound: &Outbound,
    endpoint: Option<String>,
    token: &str,
    client: Option<(&str, &String)>,
) -> Revocation {
    let Some((client, secret)) = client else {
        let why = "say --client and --secret-file to ask the issuer's introspection";
        return Revocation::NotAsked(why.to_owned());
    };
    let Some(endpoint) = endpoint else {
        return Revocation::NotAsked("the issuer has no introspection endpoint".to_owned());
    };
    let form = [("token", token), ("token_type_hint", "access_token")];
    match outbound.post(&endpoint, client, secret, &form).await {
        Ok(answer) => Revocation::Answer(answer),
        Err(error) => Revocation::NotAsked(format!("introspection at {endpoint}: {error}")),
    }
}
