//! The root-secret file: reading it, and changing it in one move so that no reader ever sees half.
//!
//! Lines that are no secrets (comments) are kept. The file is a list of lines
//! `<id 1-255> <base64url of 32 bytes>`; the first seals, every one opens.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::root::parse_line;
use super::{Key, RootSecretError, RootSecrets, SecretId};

/// Reads and checks the file.
pub fn load(path: &Path, issuer: &str) -> Result<RootSecrets, RootSecretError> {
    let text = read(path)?;
    let mode = fs::metadata(path).map_err(failed(path))?.mode();
    if mode & 0o007 != 0 {
        return Err(RootSecretError::TooOpen(path.to_owned()));
    }
    RootSecrets::parse(&text, issuer)
}

/// A set of one fresh secret, in the form of the file.
pub fn generate_text() -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", line(SecretId(1)).as_str()))
}

/// Writes a set of one fresh secret to a new file that only its owner can read. It never overwrites:
/// losing a root secret loses everything that was made under it.
pub fn generate(path: &Path) -> Result<(), RootSecretError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed(path))?;
    file.write_all(generate_text().as_bytes()).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))?;
    // Its name, too: the first keys are about to be sealed under it.
    fs::File::open(directory_of(path)).and_then(|held| held.sync_all()).map_err(failed(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Adds a fresh secret at the end: it opens and does not seal yet.
pub fn add(path: &Path, id: SecretId) -> Result<(), RootSecretError> {
    change(path, |lines| {
        lines.push(line(id));
        Ok(())
    })
}

/// Lets a secret of the file seal from now on.
pub fn promote(path: &Path, id: SecretId) -> Result<(), RootSecretError> {
    change(path, |lines| {
        let at = lines.iter().position(|line| names(line, id));
        let promoted = lines.remove(at.ok_or(RootSecretError::Missing(id.0))?);
        let first = lines.iter().position(|line| parse_line(line).is_some());
        lines.insert(first.unwrap_or(lines.len()), promoted);
        Ok(())
    })
}

/// Takes a secret that does not seal out of the file.
pub fn drop(path: &Path, id: SecretId) -> Result<(), RootSecretError> {
    change(path, |lines| {
        let before = lines.len();
        lines.retain(|line| !names(line, id));
        if lines.len() == before { Err(RootSecretError::Missing(id.0)) } else { Ok(()) }
    })
}

fn names(line: &str, id: SecretId) -> bool {
    parse_line(line.trim()).is_some_and(|(other, _)| other == id)
}

fn line(id: SecretId) -> Zeroizing<String> {
    let key = Key::generate();
    Zeroizing::new(format!("{} {}", id.0, URL_SAFE_NO_PAD.encode(key.expose())))
}

fn read(path: &Path) -> Result<Zeroizing<String>, RootSecretError> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed(path))
}

/// Changes the file's lines and puts the result in its place, with the rights that it had. What
/// comes out is checked before it replaces anything.
fn change(
    path: &Path,
    act: impl FnOnce(&mut Vec<Zeroizing<String>>) -> Result<(), RootSecretError>,
) -> Result<(), RootSecretError> {
    // The real file: a link is often how an orchestrator swaps it.
    let path = &path.canonicalize().map_err(failed(path))?;
    let directory = directory_of(path);
    // Two who change it at once would each put their own in its place.
    let lock = fs::File::open(directory).map_err(failed(path))?;
    lock.lock().map_err(failed(path))?;
    let text = read(path)?;
    let mut lines: Vec<_> = text.lines().map(|line| Zeroizing::new(line.to_owned())).collect();
    act(&mut lines)?;
    let mut text = Zeroizing::new(String::new());
    for line in &lines {
        text.push_str(line);
        text.push('\n');
    }
    RootSecrets::parse(&text, "")?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed(path))?;
    // The same owner, too: an operator who is root must not lock the server out of its own file.
    let held = fs::metadata(path).map_err(failed(path))?;
    let made = file.as_file().metadata().map_err(failed(path))?;
    if (held.uid(), held.gid()) != (made.uid(), made.gid()) {
        fchown(file.as_file(), Some(held.uid()), Some(held.gid())).map_err(failed(path))?;
    }
    let mode = Permissions::from_mode(held.mode() & 0o7777);
    file.as_file().set_permissions(mode).map_err(failed(path))?;
    file.write_all(text.as_bytes()).map_err(failed(path))?;
    file.as_file().sync_all().map_err(failed(path))?;
    file.persist(path).map_err(|error| failed(path)(error.error))?;
    lock.sync_all().map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RootSecretError {
    let path = path.to_owned();
    move |source| RootSecretError::File { path: path.clone(), source }
}
