//! `jeton keys …`

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use super::context::{Context, Intent, context};
use super::table::table;
use super::{Global, print, print_json, say};
use crate::domain::{Algorithm, Stage, Time};
use crate::error::Exit;
use crate::keys::PrivateKey;
use crate::manage::emergency::CompromiseView;
use crate::manage::keys::{ForecastView, KeyView};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Show every key: its stage, what comes next and when, and a timeline
    #[command(after_help = "Examples:\n  jeton keys list\n  jeton keys list --json")]
    List,
    /// Show what will happen if nobody intervenes
    #[command(after_help = "Example:\n  jeton keys plan --days 90")]
    Plan {
        /// How far to look ahead
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Bring the next rotation forward to the earliest instant that breaks no verifier
    #[command(after_help = "Examples:\n  jeton keys rotate\n  jeton keys rotate --algorithm RS256")]
    Rotate {
        /// The line [default: the first of keys.algorithms]
        #[arg(long, value_name = "ALG")]
        algorithm: Option<Algorithm>,
    },
    /// Keep a key in the JWKS beyond its time
    #[command(
        after_help = "Example:\n  jeton keys hold kfAjnlc_eUIUnz5CZ9sYMqN1xPYJxNjGmJ9TwjH-FvU"
    )]
    Hold {
        /// The key
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Let a held key go
    #[command(
        after_help = "Example:\n  jeton keys release kfAjnlc_eUIUnz5CZ9sYMqN1xPYJxNjGmJ9TwjH-FvU"
    )]
    Release {
        /// The key
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Declare a key stolen: the next key signs at once, a new one is published, and nothing that
    /// the stolen one signed counts any more
    #[command(after_help = "Example:\n  jeton keys compromise KID --why 'found in a bucket'")]
    Compromise {
        /// The key
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// What happened, for the audit trail
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Bring in a private key that another issuer signed with, so that moving to Jeton breaks no
    /// verifier. Before the first `serve` it becomes the first active key of its line; later it
    /// queues behind the last one. Its kid is its RFC 7638 thumbprint
    #[command(after_help = "Example:\n  jeton keys import old-issuer.pem --algorithm RS256")]
    Import {
        /// An unencrypted private key in PEM form; destroy the file afterwards
        file: PathBuf,
        /// The line that it joins
        #[arg(long, value_name = "ALG")]
        algorithm: Algorithm,
    },
}

impl Keys {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let looks = matches!(self, Self::List | Self::Plan { .. });
        let intent = if looks { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        match self {
            Self::List => show(global, &desk.keys(now).await?, now),
            Self::Plan { days } => {
                let until = now + Duration::from_secs(u64::from(days) * 86400);
                plan(global, desk.forecast(now, until).await?)
            }
            Self::Rotate { algorithm } => {
                let line = algorithm.or_else(|| desk.policy.algorithms.first().copied());
                let line =
                    line.ok_or_else(|| Exit::Failed("no key line is configured".to_owned()))?;
                show(global, &desk.rotate(line, now).await?, now)
            }
            Self::Hold { kid } => {
                desk.hold(&kid, true, now).await?;
                let sentence = format!("{kid} stays in the JWKS until it is released");
                say(global, &json!({ "held": kid }), &sentence)
            }
            Self::Release { kid } => {
                desk.hold(&kid, false, now).await?;
                let sentence = format!("{kid} leaves the JWKS at its own time");
                say(global, &json!({ "released": kid }), &sentence)
            }
            Self::Compromise { kid, why } => {
                let view = desk.compromise_key(&kid, why.as_deref(), now).await?;
                if global.json {
                    return print_json(&view);
                }
                print(exposure(&view))?;
                Ok(())
            }
            Self::Import { file, algorithm } => {
                let pem = std::fs::read(&file)
                    .map(Zeroizing::new)
                    .map_err(|error| Exit::Failed(format!("{}: {error}", file.display())))?;
                let private = PrivateKey::from_pem(&pem, algorithm)
                    .map_err(|error| Exit::Failed(format!("{}: {error}", file.display())))?;
                let kid = desk.import_key(private, algorithm, now).await?;
                say(global, &json!({ "imported": kid }), &format!("imported {kid}"))
            }
        }
    }
}

fn plan(global: &Global, events: Vec<ForecastView>) -> Result<(), Exit> {
    if global.json {
        return print_json(&events);
    }
    let row = |event: ForecastView| {
        let kid = event.kid.unwrap_or_else(|| "(not made yet)".to_owned());
        let place = format!("#{}", event.epoch);
        vec![event.at, event.algorithm.to_owned(), place, event.becomes.to_owned(), kid]
    };
    let rows: Vec<_> = events.into_iter().map(row).collect();
    print(table(&["AT", "LINE", "KEY", "BECOMES", "KID"], &rows))?;
    Ok(())
}

/// What a theft means from now on, and for whom.
pub(super) fn exposure(view: &CompromiseView) -> String {
    let list = |kids: &[String]| if kids.is_empty() { "none".to_owned() } else { kids.join(" ") };
    let rows: Vec<_> = view
        .exposure
        .iter()
        .map(|one| vec![one.verifiers.to_owned(), one.accept.to_owned()])
        .collect();
    format!(
        "stolen:    {}\nsigning:   {}\npublished: {}\nEvery replica obeys within {}. How long \
         verifiers may accept what the stolen keys sign:\n\n{}",
        list(&view.compromised),
        list(&view.signing),
        list(&view.published),
        view.obeyed_within,
        table(&["VERIFIERS", "ACCEPT IT FOR"], &rows)
    )
}

fn show(global: &Global, keys: &[KeyView], now: Time) -> Result<(), Exit> {
    if global.json {
        return print_json(&keys);
    }
    let row = |key: &KeyView| {
        let mut stage = key.stage.to_owned();
        if key.held {
            stage.push_str(", held");
        }
        if key.trouble.is_some() {
            stage.push_str(", UNUSABLE");
        }
        vec![
            key.algorithm.to_owned(),
            format!("#{}", key.epoch),
            stage,
            next_turn(key, now),
            key.kid.clone(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    print(table(&["LINE", "KEY", "STAGE", "NEXT", "KID"], &rows))?;
    for key in keys {
        if let Some(trouble) = &key.trouble {
            print(format_args!("\n{}: {trouble}", key.kid))?;
        }
    }
    print(format_args!("\n{}", timeline(keys, now)))?;
    Ok(())
}

/// Whether a key has no turns left.
fn is_out(key: &KeyView) -> bool {
    key.stage == Stage::Compromised.name()
}

/// What comes next for a key, and in how long.
fn next_turn(key: &KeyView, now: Time) -> String {
    if is_out(key) {
        return "-".to_owned();
    }
    let names = ["published", "signs", "stops signing", "removed"];
    let next = names.iter().zip(&key.turns).find(|(_, at)| **at > now);
    next.map_or_else(
        || "-".to_owned(),
        |(name, at)| {
            let left = Duration::from_secs(at.since(now).as_secs());
            format!("{name} in {}", humantime::format_duration(left))
        },
    )
}

/// The keys that are not gone, over time: published, signing, retiring.
fn timeline(keys: &[KeyView], now: Time) -> String {
    const WIDTH: usize = 64;
    let alive: Vec<_> = keys.iter().filter(|key| key.turns[3] > now && !is_out(key)).collect();
    let starts = alive.iter().map(|key| key.turns[0]).chain([now]).min().unwrap_or(now);
    let ends = alive.iter().map(|key| key.turns[3]).max().unwrap_or(now);
    let length = ends.since(starts).as_micros().max(1);
    let column = |at: Time| {
        let cells = at.since(starts).as_micros() * (WIDTH as u128 - 1) / length;
        usize::try_from(cells).unwrap_or(0)
    };
    let mut lines = Vec::new();
    for key in alive {
        let [publish, activate, retire, remove] = key.turns.map(column);
        let cell = |at: usize| match at {
            at if at == column(now) => '|',
            at if at < publish || at > remove => ' ',
            at if at < activate => '.',
            at if at < retire => '#',
            _ => '-',
        };
        let bar: String = (0..WIDTH).map(cell).collect();
        lines.push(format!("{:>8} #{:<3} {}", key.algorithm, key.epoch, bar.trim_end()));
    }
    lines.push(format!("{:>13} {} to {}", "", starts.rfc3339(), ends.rfc3339()));
    lines.push(format!("{:>13} . published   # signs   - retiring   | now", ""));
    lines.join("\n")
}
