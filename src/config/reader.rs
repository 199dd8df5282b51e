//! Reads single settings and remembers every problem with them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use config::{Config, Environment, File, FileFormat, Value, ValueKind};
use ipnet::IpNet;

use super::rate::{self, Rate};
use super::show::{Origin, Setting};
use super::{DEFAULT, Problems, Sources};

pub(super) struct Reader {
    merged: Config,
    /// Each source by itself, lowest first: who set what.
    layers: Vec<(Origin, Config)>,
    known: HashSet<String>,
    found: Vec<Setting>,
    problems: Vec<String>,
}

impl Reader {
    /// Merges all sources, lowest first.
    pub(super) fn new(sources: &Sources) -> Result<Self, Problems> {
        // The library's own messages quote the line or the value at fault, and that may be a
        // password: ours name the place only.
        let failed = |_| Problems(vec!["a JETON__… variable is not text".to_owned()]);
        let mut builder = Config::builder();
        for (key, value) in &sources.defaults {
            builder = builder.set_default(key, value.as_str()).map_err(failed)?;
        }
        let mode = builder.build().map_err(failed)?;
        let text = |text: &str| {
            let source = File::from_str(text, FileFormat::Toml);
            Config::builder().add_source(source).build().map_err(failed)
        };
        let mut layers = vec![(Origin::Default, text(DEFAULT)?), (Origin::Mode, mode)];
        if let Some(file) = &sources.file {
            let read = read_file(file).map_err(|problem| Problems(vec![problem]))?;
            layers.push((Origin::File, text(&read)?));
        }
        // With `__` behind the prefix, the variables that Kubernetes makes up for a Service named
        // jeton (JETON_PORT=…) are not taken for settings.
        let environment = Environment::with_prefix("JETON").prefix_separator("__").separator("__");
        let environment = Config::builder().add_source(environment).build().map_err(failed)?;
        layers.push((Origin::Environment, environment));
        let merged = layers
            .iter()
            .fold(Config::builder(), |builder, (_, layer)| builder.add_source(layer.clone()))
            .build()
            .map_err(failed)?;
        let (known, found) = (HashSet::new(), Vec::new());
        Ok(Self { merged, layers, known, found, problems: Vec::new() })
    }

    /// Remembers a setting's value for whoever asks what is in effect.
    fn note(&mut self, key: &str, value: Option<String>) {
        let sets = |layer: &Config| layer.get::<Value>(key).is_ok();
        let layer = self.layers.iter().rev().find(|(_, layer)| sets(layer));
        let source = layer.map_or(Origin::Default, |(origin, _)| *origin);
        self.found.push(Setting { key: key.to_owned(), value, source });
    }

    /// Notes that a setting is wrong.
    pub(super) fn problem(&mut self, key: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{key}: {what}"));
    }

    /// The setting as text, if it is set. One that is set to nothing, or to a list, is a mistake
    /// and not an absent setting: a database URL that is lost on the way must not mean SQLite.
    fn raw(&mut self, key: &str) -> Option<String> {
        self.known.insert(key.to_owned());
        match self.merged.get_string(key) {
            Ok(text) if !text.is_empty() => {
                self.note(key, Some(text.clone()));
                Some(text)
            }
            Err(config::ConfigError::NotFound(_)) => {
                self.note(key, None);
                None
            }
            _ => {
                self.problem(key, "it is empty, or not a single value");
                None
            }
        }
    }

    /// A setting that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.raw(key)?;
        parse(&text).map_err(|what| self.problem(key, what)).ok()
    }

    fn required<T: Default>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        match self.raw(key) {
            Some(text) => parse(&text).map_err(|what| self.problem(key, what)).unwrap_or_default(),
            None => T::default(),
        }
    }

    /// Free text.
    pub(super) fn text(&mut self, key: &str) -> String {
        self.required(key, |text| Ok(text.to_owned()))
    }

    /// One of a few words.
    pub(super) fn choice(&mut self, key: &str, words: &[&str]) -> String {
        self.required(key, |text| {
            if words.contains(&text) {
                Ok(text.to_owned())
            } else {
                Err(format!("it is one of: {}", words.join(", ")))
            }
        })
    }

    /// A duration such as "10m".
    pub(super) fn duration(&mut self, key: &str) -> Duration {
        self.required(key, |text| {
            humantime::parse_duration(text).map_err(|_| {
                "write a duration with its unit, such as \"30s\", \"10m\", \"30d\"".to_owned()
            })
        })
    }

    /// A positive whole number.
    pub(super) fn number(&mut self, key: &str) -> u32 {
        self.required(key, |text| {
            text.parse().ok().filter(|n| *n > 0).ok_or("write a whole number above 0".to_owned())
        })
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.required(key, |text| text.parse().map_err(|_| "write true or false".to_owned()))
    }

    /// An address to listen on.
    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        let parsed = self.required(key, |text| {
            let address = text.parse::<SocketAddr>();
            address.map(Some).map_err(|_| {
                "write an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
            })
        });
        parsed.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// How often something may happen, or "off".
    pub(super) fn rate(&mut self, key: &str) -> Option<Rate> {
        self.required(key, rate::parse)
    }

    /// A list with something in it.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let parsed = self.list_or_none(key, parse);
        if parsed.is_empty() {
            self.problem(key, "the list needs at least one entry");
        }
        parsed
    }

    /// A list, or a text with commas (as the environment has it).
    pub(super) fn list_or_none<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.known.insert(key.to_owned());
        let items: Vec<String> = match self.merged.get::<Value>(key).map(|value| value.kind) {
            Ok(ValueKind::Array(items)) => items.iter().map(ToString::to_string).collect(),
            Ok(ValueKind::String(text)) => {
                text.split(',').map(|item| item.trim().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        self.note(key, Some(items.join(", ")));
        let mut parsed = Vec::new();
        for item in items.iter().filter(|item| !item.is_empty()) {
            match parse(item) {
                Ok(value) => parsed.push(value),
                Err(what) => self.problem(key, what),
            }
        }
        parsed
    }

    /// Refuses unknown keys, runs the checks across settings, and reports everything that is wrong,
    /// or else every setting that was found.
    pub(super) fn finish(
        mut self,
        check: impl FnOnce(&mut Vec<String>),
    ) -> Result<Vec<Setting>, Problems> {
        let mut found = Vec::new();
        leaves("", &self.merged.cache, &mut found);
        for key in found {
            if !self.known.contains(&key) {
                self.problem(&key, "there is no such setting; config/default.toml lists them all");
            }
        }
        // Checks across settings make sense only for settings that are sound by themselves.
        if self.problems.is_empty() {
            check(&mut self.problems);
        }
        if self.problems.is_empty() { Ok(self.found) } else { Err(Problems(self.problems)) }
    }
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = parsed.map_err(|_| {
        format!("{text:?} is no network; write it like \"10.0.0.0/8\" or \"2001:db8::1\"")
    })?;
    if network.addr().to_canonical() != network.addr() {
        return Err(format!("write {text} as the IPv4 network that it stands for"));
    }
    if network != network.trunc() {
        return Err(format!("{text} is an address and a length; write {}", network.trunc()));
    }
    // Every caller could name itself as it likes, and the limits would be none.
    if network.prefix_len() == 0 {
        return Err(format!("{text} is everybody; list the proxies alone"));
    }
    Ok(network)
}

/// The text of a settings file, known to be TOML.
fn read_file(path: &Path) -> Result<String, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let parsed = toml::from_str::<toml::Table>(&text);
    parsed.map(|_| ()).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or("").matches('\n').count() + 1;
        format!("{name}, line {line}: {}", error.message())
    })?;
    Ok(text)
}

fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    let ValueKind::Table(table) = &value.kind else {
        found.push(path.to_owned());
        return;
    };
    for (name, inner) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        leaves(&path, inner, found);
    }
}
