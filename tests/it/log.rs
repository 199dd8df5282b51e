//! The log, as whoever reads it meets it.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::SECRET;
use crate::support::http;
use crate::support::process::{JETON, address};
use crate::support::replica::fixtures;

/// More than a pipe and the room for lines hold.
const FLOOD: usize = 6 << 20;

/// About as much as a request can make us log.
const LINE: usize = 2000;

struct Server {
    child: Child,
    public: String,
    operations: String,
}

impl Server {
    /// A server whose standard error is a pipe.
    async fn start(directory: &std::path::Path) -> Self {
        let file = directory.join("ready");
        let child = Command::new(JETON)
            .args(["serve", "--ephemeral", "--apply", &fixtures(directory), "--ready-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let ready: Value = loop {
            if let Ok(text) = std::fs::read_to_string(&file) {
                break serde_json::from_str(&text).unwrap();
            }
            assert!(started.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let [public, operations] = ["public", "operations"].map(|name| address(&ready[name]));
        Self { child, public, operations }
    }

    async fn dropped(&self) -> u64 {
        let answer = http::send(&self.operations, "GET", "/metrics", &[], b"").await;
        let text = String::from_utf8(answer.body).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix("jeton_log_lines_dropped_total "));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }

    /// Requests that are logged with all they ask for.
    async fn flood(&self, bytes: usize) {
        let scope = |one: char| one.to_string().repeat(LINE / 8 - 1);
        let asked = "abcdefgh".chars().map(scope).collect::<Vec<_>>().join("+");
        let form = format!("grant_type=client_credentials&scope={asked}");
        for _ in 0..=bytes / LINE {
            let refused = http::token(&self.public, "/oauth2/token", "app", SECRET, &form).await;
            assert_eq!(refused.status, 400, "{refused:?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_web::test]
async fn a_reader_that_hangs_holds_up_no_request_and_is_told_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    assert_eq!(server.dropped().await, 0);
    server.flood(FLOOD).await;
    assert!(server.dropped().await > 0, "nothing was dropped");
    let stderr = server.child.stderr.take().unwrap();
    let text = read_on(stderr.into());
    // What comes once it reads again says what is missing.
    server.flood(1).await;
    Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    assert!(server.child.wait().unwrap().success());
    let text = text.join().unwrap();
    assert!(text.contains("lines of the log were dropped"), "{}", text.len());
    let whole =
        |line: &str| line.len() > 27 && line.as_bytes()[4] == b'-' && line.as_bytes()[26] == b'Z';
    assert!(text.lines().all(whole), "a line was torn");
}

/// Reads a pipe to its end.
fn read_on(stderr: std::os::fd::OwnedFd) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        File::from(stderr).read_to_string(&mut text).unwrap();
        text
    })
}
