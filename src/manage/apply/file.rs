//! The file of `jeton apply`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::people::UserDescription;
use crate::manage::ManageError;
use crate::manage::describe::{ClientDescription, ResourceDescription};
use crate::secret::{FileMark, WrittenPassword, WrittenSecret};

/// What a file describes, read but not yet held against anything.
#[derive(Debug, Default)]
pub struct ApplyFile {
    /// Its `[[resource]]` entries.
    pub resources: Vec<ResourceDescription>,
    /// Its `[[client]]` entries.
    pub clients: Vec<ClientDescription>,
    /// Its `[[user]]` entries.
    pub users: Vec<UserDescription>,
    /// Every file that was read for it.
    pub read: Vec<ReadFile>,
}

/// A file as it was when it was read. It is marked before it is read, so that a change at that very
/// moment is noticed later and never lost.
#[derive(Debug)]
pub struct ReadFile(PathBuf, Option<FileMark>);

impl ReadFile {
    /// The file as it is now.
    pub fn now(path: PathBuf) -> Self {
        let mark = FileMark::of(&path);
        Self(path, mark)
    }

    /// The same file, as it is now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::now(self.0.clone())
    }

    /// Whether it is another one since.
    pub fn has_changed(&self) -> bool {
        FileMark::of(&self.0) != self.1
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    resource: Vec<toml::Value>,
    #[serde(default)]
    client: Vec<toml::Value>,
    #[serde(default)]
    user: Vec<toml::Value>,
}

impl ApplyFile {
    /// Reads a file; a `secret_file` or a `password_file` is looked for beside it.
    pub fn load(path: &Path) -> Result<Self, ManageError> {
        let itself = ReadFile::now(path.to_owned());
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| ManageError::invalid(format!("{}: {error}", path.display())))?;
        let mut file = Self::parse(&text, path.parent().unwrap_or(Path::new(".")))?;
        file.read.push(itself);
        Ok(file)
    }

    /// Whether nothing is described.
    pub const fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.clients.is_empty() && self.users.is_empty()
    }

    /// Reads the text of a file; relative paths in it start at `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ManageError> {
        let tables: Tables = toml::from_str(text).map_err(|error| {
            let at =
                error.span().map_or(0, |span| text.get(..span.start).unwrap_or("").lines().count());
            // The library's own message would print the line, and a line may hold a secret.
            ManageError::invalid(format!("line {}: {}", at.max(1), error.message()))
        })?;
        let (mut mistakes, mut read) = (Vec::new(), Vec::new());
        let resources = entries("resource", tables.resource, &mut mistakes);
        let mut clients: Vec<ClientDescription> = entries("client", tables.client, &mut mistakes);
        for client in &mut clients {
            read.extend(client.secret_file.as_ref().map(|file| ReadFile::now(base.join(file))));
            read_secret(client, base, &mut mistakes);
        }
        let mut users: Vec<UserDescription> = entries("user", tables.user, &mut mistakes);
        for user in &mut users {
            read.extend(user.password_file.as_ref().map(|file| ReadFile::now(base.join(file))));
            read_password(user, base, &mut mistakes);
        }
        if mistakes.is_empty() {
            Ok(Self { resources, clients, users, read })
        } else {
            Err(ManageError::Invalid(mistakes))
        }
    }
}

fn entries<T: DeserializeOwned>(
    kind: &str,
    tables: Vec<toml::Value>,
    mistakes: &mut Vec<String>,
) -> Vec<T> {
    let mut read = Vec::new();
    for (number, table) in (1..).zip(tables) {
        let id = table.get(if kind == "user" { "username" } else { "id" });
        let id = id.and_then(toml::Value::as_str).map(str::to_owned);
        let name = id.map_or_else(|| format!("number {number}"), |id| format!("{id:?}"));
        match table.try_into() {
            Ok(entry) => read.push(entry),
            Err(error) => mistakes.push(format!("{kind} {name}: {}", described(&error))),
        }
    }
    read
}

/// What is wrong with an entry: the key and what is expected of it, never the value, which may be
/// a secret.
fn described(error: &toml::de::Error) -> String {
    let shown = error.to_string();
    let key = shown.split("in `").nth(1).and_then(|rest| rest.split('`').next());
    let key = key.map_or_else(String::new, |key| format!("{key}: "));
    match error.message().split_once(", expected ") {
        Some((what, expected)) if what.starts_with("invalid ") => {
            let what = what.split(':').next().unwrap_or(what);
            format!("{key}{what}, expected {expected}")
        }
        _ => format!("{key}{}", error.message()),
    }
}

fn read_secret(client: &mut ClientDescription, base: &Path, mistakes: &mut Vec<String>) {
    let Some(file) = client.secret_file.as_ref().filter(|_| client.secret.is_none()) else {
        return;
    };
    match std::fs::read_to_string(base.join(file)) {
        Ok(text) => {
            client.secret = Some(WrittenSecret::new(&text));
            client.secret_file = None;
        }
        Err(error) => {
            mistakes.push(format!("client {:?}: secret_file: {file}: {error}", client.id));
        }
    }
}

fn read_password(user: &mut UserDescription, base: &Path, mistakes: &mut Vec<String>) {
    let Some(file) = user.password_file.as_ref().filter(|_| user.password.is_none()) else {
        return;
    };
    match std::fs::read_to_string(base.join(file)) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            user.password = Some(WrittenPassword::line(&text));
            user.password_file = None;
        }
        Err(error) => {
            mistakes.push(format!("user {:?}: password_file: {file}: {error}", user.username));
        }
    }
}
