//! What is in effect, and where it comes from: for an operator who wonders which of four sources
//! won.

use serde::Serialize;
use url::Url;

use super::{DatabaseUrl, Settings};

/// Where a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in, or derived from the data directory.
    Default,
    /// A mode of `serve`, such as `--dev`.
    Mode,
    /// The file of `--config`.
    File,
    /// A `JETON__…` variable.
    Environment,
}

impl Origin {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Mode => "mode",
            Self::File => "file",
            Self::Environment => "environment",
        }
    }
}

/// One setting as it is in effect. No value holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its full name.
    pub key: String,
    /// Its value, as one would write it; absent if it is not set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Origin,
}

/// Fills in what follows from other settings and takes out what is secret.
pub(super) fn effective(settings: &Settings, mut found: Vec<Setting>) -> Vec<Setting> {
    let file = found.iter().find(|one| one.key == "database.url_file" && one.value.is_some());
    let by_file = file.map(|one| one.source);
    for one in &mut found {
        match one.key.as_str() {
            "database.url" => {
                one.source = by_file.unwrap_or(one.source);
                one.value = Some(redacted(&settings.database.url));
            }
            "secrets.file" => one.value = Some(settings.secrets_file.display().to_string()),
            _ => {}
        }
    }
    found
}

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// The parameters of a database URL that are known to hold no secret.
const HARMLESS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "mode",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// A database URL without its password. A parameter that we do not know may be one, too.
fn redacted(url: &DatabaseUrl) -> String {
    let text = url.expose();
    if url.is_sqlite() {
        return text.to_owned();
    }
    let Ok(mut url) = Url::parse(text) else { return format!("postgres://{HIDDEN}") };
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return format!("postgres://{HIDDEN}");
    }
    url.set_fragment(None);
    if url.query().is_some() {
        let shown: Vec<_> = url
            .query_pairs()
            .map(|(name, value)| {
                let known = HARMLESS.contains(&name.as_ref());
                format!("{name}={}", if known { &value } else { HIDDEN })
            })
            .collect();
        url.set_query(Some(&shown.join("&")));
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    #[test]
    fn a_database_url_is_shown_without_whatever_may_be_a_secret() {
        for (url, shown) in [
            (
                "postgres://u:hunter2@h:1/d?sslmode=require",
                "postgres://u:***@h:1/d?sslmode=require",
            ),
            ("postgres://u:hun%20ter@2@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h/d?password=hunter2&port=1", "postgres://u@h/d?password=***&port=1"),
            ("postgres://u:hunter2@h:port/d", "postgres://***"),
            ("postgres://u@h/d#hunter2", "postgres://u@h/d"),
            ("sqlite:data/jeton.db", "sqlite:data/jeton.db"),
        ] {
            let text = redacted(&DatabaseUrl(Zeroizing::new(url.to_owned())));
            assert_eq!(text, shown, "{url}");
        }
    }
}
