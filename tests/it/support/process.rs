//! A real `jeton` process, for what only a process can show: signals, crashes, several replicas.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const JETON: &str = env!("CARGO_BIN_EXE_jeton");

/// A `jeton serve` of its own.
pub struct Process {
    child: Child,
    ready: PathBuf,
    /// What it says on standard error.
    pub log: PathBuf,
}

impl Process {
    /// Starts `jeton serve` with these arguments and variables; files go to `directory`.
    pub fn serve(directory: &Path, name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::serve_under(&[], directory, name, args, env)
    }

    /// The same by way of a command that becomes the server.
    pub fn serve_under(
        wrapper: &[&str],
        directory: &Path,
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let ready = directory.join(format!("{name}.ready"));
        let log = directory.join(format!("{name}.log"));
        let _ = std::fs::remove_file(&ready);
        let whole = [wrapper, &[JETON, "serve"]].concat();
        let (program, first) = whole.split_first().unwrap();
        let child = Command::new(program)
            .args(first)
            .args(args)
            .arg("--ready-file")
            .arg(&ready)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, ready, log }
    }

    /// Waits until it is ready, and returns what its ready file says.
    pub async fn ready(&mut self) -> Value {
        self.try_ready().await.unwrap_or_else(|| panic!("not ready: {}", self.said()))
    }

    /// The same; `None` if it ended first.
    pub async fn try_ready(&mut self) -> Option<Value> {
        let started = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.ready) {
                return Some(serde_json::from_str(&text).unwrap());
            }
            if self.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "not ready: {}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything it has said so far: its lines come together for two milliseconds before they are written.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is asked for in many places that wait for nothing else"
    )]
    pub fn said(&self) -> String {
        std::thread::sleep(Duration::from_millis(50));
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has ended, and returns its exit status.
    pub async fn ended(&mut self, within: Duration) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < within, "still running: {}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a `jeton` command to its end.
pub fn jeton(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(JETON).args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

/// The same with something on its standard input.
pub fn jeton_reading(input: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut child = Command::new(JETON)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read everything.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The address in a URL.
pub fn address(url: &Value) -> String {
    let url = url::Url::parse(url.as_str().unwrap()).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}
