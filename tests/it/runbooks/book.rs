//! A runbook, followed: its shell blocks are run as they stand, in a directory of their own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::database::pooler_setting;
use crate::support::process::{JETON, Process};
use crate::support::replica::{self, ISSUER, Replica};

/// The runbooks.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")
}

/// The fenced blocks of one language in a text, without the indentation that lists give them.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        open = match open.take() {
            None if line.trim() == format!("```{language}") => Some((indent, String::new())),
            None => None,
            Some((_, block)) if line.trim() == "```" => {
                found.push(block);
                None
            }
            Some((by, block)) => Some((by, block + line.get(by..).unwrap_or_default() + "\n")),
        };
    }
    found
}

/// A runbook that is being followed.
pub struct Book {
    text: String,
    /// Its blocks but for those that want a cluster.
    blocks: Vec<String>,
    run: RefCell<BTreeSet<usize>>,
    /// Where it is followed.
    pub path: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Book {
    /// Opens a runbook, to be followed in a directory on a database.
    pub fn open(name: &str, path: &Path, url: &str) -> Self {
        let text = std::fs::read_to_string(directory().join(name)).unwrap();
        let mut blocks = blocks(&text, "sh");
        blocks.retain(|block| !block.contains("kubectl"));
        let run = RefCell::default();
        let mut book =
            Self { text, blocks, run, path: path.to_owned(), variables: BTreeMap::new() };
        let bin = path.join("bin");
        std::fs::create_dir(&bin).unwrap();
        symlink(JETON, bin.join("jeton")).unwrap();
        let file = path.join("database-url");
        std::fs::write(&file, format!("{url}\n")).unwrap();
        let paths = [bin.display().to_string(), postgres(), std::env::var("PATH").unwrap()];
        book.set("PATH", &paths.join(":"));
        book.set("DATABASE_URL", url);
        book.set("JETON__DATABASE__POOLER", pooler_setting());
        book.set("JETON__DATABASE__URL_FILE", &file.display().to_string());
        book.set("JETON__SECRETS__FILE", &path.join("root-secrets").display().to_string());
        book.set("JETON__ISSUER", ISSUER);
        for listener in ["PUBLIC", "OPERATIONS"] {
            book.set(&format!("JETON__SERVER__{listener}"), "127.0.0.1:0");
        }
        book.set("JETON__SERVER__DRAIN_DELAY", "0s");
        book
    }

    /// Sets a variable for all that follows.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// The first block of another language.
    pub fn file(&self, language: &str) -> String {
        blocks(&self.text, language)[0].clone()
    }

    /// Runs a block, which must succeed; returns what it printed.
    pub fn follow(&self, at: usize) -> String {
        let (succeeded, said) = self.try_follow(at);
        assert!(succeeded, "{}\n{said}", self.blocks[at]);
        said
    }

    /// Runs a block; returns whether it succeeded, and what it printed.
    pub fn try_follow(&self, at: usize) -> (bool, String) {
        self.run.borrow_mut().insert(at);
        let block = format!("exec 2>&1\n{}", self.blocks[at]);
        self.shell(&block)
    }

    /// Runs something that is not in the book, and must succeed.
    pub fn aside(&self, command: &str) -> String {
        let (succeeded, said) = self.shell(&format!("exec 2>&1\n{command}"));
        assert!(succeeded, "{command}\n{said}");
        said
    }

    fn shell(&self, script: &str) -> (bool, String) {
        let done = Command::new("timeout")
            .args(["60", "bash", "-euo", "pipefail", "-c", script])
            .envs(&self.variables)
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Says that a block has nothing to do on this database.
    pub fn leave_out(&self, at: usize) {
        self.run.borrow_mut().insert(at);
    }

    /// Every block was followed.
    pub fn close(self) {
        let run = self.run.into_inner();
        assert_eq!(run.len(), self.blocks.len(), "not every block was followed: {run:?}");
    }

    /// Starts a server with what the book has set up.
    pub fn serve(&self, name: &str, args: &[&str]) -> Process {
        let ours = |(name, _): &(&String, &String)| name.starts_with("JETON");
        let variables: Vec<_> = self.variables.iter().filter(ours).collect();
        let variables: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Process::serve(&self.path, name, args, &variables)
    }

    /// Starts a server with the clients of replicas, and waits until it serves.
    pub async fn replica(&self, name: &str) -> Replica {
        let fixtures = replica::fixtures(&self.path);
        Replica::of(self.serve(name, &["--apply", &fixtures])).await
    }
}

/// Where Postgres' programs are; nothing needs them on SQLite.
fn postgres() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres");
    let done = Command::new(script).arg("bin").output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
