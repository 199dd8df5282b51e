//! Files and who may read them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Subject;
use crate::manage::finding::Finding;
use crate::secret::{RootSecretError, file};

pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = vec![data_directory(subject)];
    if let Some(path) = subject.sqlite {
        found.push(database_file(path));
    }
    found.push(root_secrets(subject.secrets_file));
    found
}

/// The permission bits of a file.
fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.mode() & 0o777)
}

/// Whether a mode lets all users do this (read 4, write 2, enter 1).
const fn lets_all(mode: u32, what: u32) -> bool {
    mode & what != 0
}

/// Whether it lets its group do this.
const fn lets_group(mode: u32, what: u32) -> bool {
    (mode >> 3) & what != 0
}

fn data_directory(subject: &Subject<'_>) -> Finding {
    const CHECK: &str = "data directory";
    let path = subject.data_dir;
    let shown = path.display();
    let inside = |file: &Path| file.starts_with(path);
    if !subject.sqlite.is_some_and(inside) && !inside(subject.secrets_file) {
        return Finding::good(CHECK, "nothing of ours lies in it");
    }
    match mode(path) {
        Ok(mode) if !lets_all(mode, 7) && !lets_group(mode, 7) => {
            Finding::good(CHECK, format!("{shown} has mode {mode:o}"))
        }
        Ok(mode) => {
            Finding::warning(CHECK, format!("{shown} has mode {mode:o}: others may look in"))
                .remedy(format!("run: chmod 700 {shown}"))
        }
        Err(error) => Finding::bad(CHECK, format!("{shown}: {error}"))
            .remedy("name the right one with --data-dir"),
    }
}

fn database_file(path: &Path) -> Finding {
    const CHECK: &str = "database file";
    let shown = path.display();
    // SQLite makes its files readable for all; a directory that keeps others out protects them.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let sheltered = mode(directory.unwrap_or(Path::new("."))).is_ok_and(|mode| !lets_all(mode, 1));
    let remedy = format!("run: chmod 600 {shown}");
    match mode(path) {
        Ok(mode) if sheltered || !lets_all(mode, 7) => {
            Finding::good(CHECK, format!("{shown} has mode {mode:o}"))
        }
        Ok(mode) if lets_all(mode, 2) => {
            Finding::bad(CHECK, format!("{shown} has mode {mode:o}: all users may write to it"))
                .remedy(remedy)
        }
        Ok(mode) => {
            Finding::bad(CHECK, format!("{shown} has mode {mode:o}: all users may read it"))
                .remedy(remedy)
        }
        Err(error) => Finding::bad(CHECK, format!("{shown}: {error}"))
            .remedy("run `jeton migrate` to make one, or name yours with --config or --data-dir"),
    }
}

fn root_secrets(path: &Path) -> Finding {
    const CHECK: &str = "root secrets";
    let shown = path.display();
    let secrets = match file::load(path, "") {
        Ok(secrets) => secrets,
        Err(RootSecretError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Finding::bad(CHECK, format!("there is no file {shown}")).remedy(format!(
                "restore it from its copy; only for a new issuer run `jeton secrets generate \
                 --out {shown}`"
            ));
        }
        // The message says what to do.
        Err(error) => return Finding::bad(CHECK, error.to_string()),
    };
    let ids: Vec<_> = secrets.ids().iter().map(|id| id.0.to_string()).collect();
    let mode = mode(path).unwrap_or(0);
    let what = format!("{shown} has mode {mode:o} and holds the ids {}", ids.join(", "));
    if lets_group(mode, 2) {
        Finding::warning(CHECK, format!("{what}; its group may write to it"))
            .remedy(format!("run: chmod 600 {shown}"))
    } else {
        Finding::good(CHECK, what)
    }
}
