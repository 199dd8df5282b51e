//! The servers that are measured, as child processes: a release `jeton`, and the ceiling.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::Running;

/// The binary that this bench was built with.
pub const JETON: &str = env!("CARGO_BIN_EXE_jeton");

/// The longest wait for a server to be ready: the first start makes RSA keys.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs until it is dropped.
pub struct Server {
    child: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Where a `jeton` lives: its root secrets, its clients, its database.
pub struct Home {
    binary: PathBuf,
    directory: tempfile::TempDir,
    database: String,
    settings: Vec<(String, String)>,
}

impl Home {
    /// A new home for this build, with root secrets of its own.
    pub fn new(database: &str) -> Self {
        Self::of(Path::new(JETON), database)
    }

    /// A new home for any build.
    pub fn of(binary: &Path, database: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("jeton-bench-").tempdir().unwrap();
        let (binary, database) = (binary.to_owned(), database.to_owned());
        let home = Self { binary, directory, database, settings: Vec::new() };
        let secrets = home.path("root-secrets");
        let made = home.jeton(&["secrets", "generate", "--out", secrets.to_str().unwrap()]);
        assert!(quiet(made).status().unwrap().success());
        home
    }

    /// Settings for whatever is started from now on, as environment variables.
    pub fn set(&mut self, settings: &[(&str, &str)]) {
        let owned = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.settings = owned.collect();
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn jeton(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--data-dir").arg(self.directory.path()).args(arguments);
        let settings = [
            ("JETON__ISSUER", ISSUER),
            ("JETON__SERVER__PUBLIC", "127.0.0.1:0"),
            ("JETON__SERVER__OPERATIONS", "127.0.0.1:0"),
            ("JETON__SERVER__DRAIN_DELAY", "0s"),
            ("JETON__KEYS__ALGORITHMS", "ES256,RS256,PS256,Ed25519"),
            ("JETON__DATABASE__URL", self.database.as_str()),
        ];
        command.envs(settings).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes the schema, and clients and resources as the text says.
    pub fn furnish(&self, clients: &str) {
        let migrated = quiet(self.jeton(&["migrate"])).status().unwrap();
        assert!(migrated.success(), "jeton migrate failed");
        std::fs::write(self.path("clients.toml"), clients).unwrap();
    }

    /// Starts a server and waits until it answers. Its log goes where logs cost nothing: it is
    /// written, line by line, but nobody keeps it.
    pub fn serve(&self, more: &[&str]) -> Server {
        self.try_serve(more, Stdio::null()).unwrap_or_else(|| {
            let _ = self.try_serve(more, Stdio::inherit());
            panic!("jeton did not start; its log is above");
        })
    }

    fn try_serve(&self, more: &[&str], log: Stdio) -> Option<Server> {
        let ready = self.path("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut command = self.jeton(&["serve", "--ready-file", ready.to_str().unwrap()]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Server::start(command, &ready)
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts the ceiling: this very program in another role. What it serves lies in the directory.
pub fn ceiling(directory: &Path) -> Server {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // It ends when this pipe does, even if this process is killed outright.
    command.arg("--ceiling").arg(directory).stdin(Stdio::piped()).stdout(Stdio::null());
    Server::start(command, &directory.join("ceiling.json")).unwrap()
}

impl Server {
    /// Starts a server that will write its address to a file. `None` if it ends before.
    fn start(mut command: Command, ready: &Path) -> Option<Self> {
        let child = Running::start(&mut command);
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let started = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(ready) {
                let ready: Value = serde_json::from_str(&text).unwrap();
                let address = ready["public"].as_str().unwrap().trim_start_matches("http://");
                server.address = address.parse().unwrap();
                return Some(server);
            }
            if server.child.ended().is_some() || started.elapsed() > PATIENCE {
                return None;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Kills it and waits until it is gone.
    pub fn stop(&mut self) {
        self.child.stop();
    }
}

/// A client of the bench as `jeton apply` reads it.
pub fn client(id: &str, more: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "[[client]]\nid = \"{id}\"\nsecret = \"{SECRET}\"\nresources = [\"{RESOURCE}\"]\n{more}\n"
    );
    text
}

/// The issuer of every token here.
pub const ISSUER: &str = "https://id.example.test";

/// The secret of every client here.
pub const SECRET: &str = "jcs_Zm9yIGEgYmVuY2ggdGhhdCBuZXZlciBsZWF2ZXMgaGVyZQ";

/// The resource of every token here.
pub const RESOURCE: &str = "https://api.example.test/";
