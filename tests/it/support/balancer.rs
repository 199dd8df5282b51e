//! A real HAProxy in front of replicas, set up as a careful operator sets it up.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http;

/// A place for a replica: its public listener and its operations listener.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where requests go.
    pub public: String,
    /// Where its readiness is asked for.
    pub operations: String,
}

impl Place {
    /// One that is free.
    pub fn free() -> Self {
        Self { public: free_address(), operations: free_address() }
    }
}

/// An address that nobody listens at, and that the kernel gives to no outgoing connection meanwhile.
fn free_address() -> String {
    loop {
        let address = format!("127.0.0.1:{}", rand::random_range(12_000..20_000));
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// An HAProxy that runs.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: String,
    child: Child,
    log: PathBuf,
}

/// Readiness is asked for this often, and two bad answers in a row take a replica out.
const INTERVAL: Duration = Duration::from_millis(300);

impl Balancer {
    /// Starts one in front of these places.
    ///
    /// A request is repeated only where the connection could not be made (`conn-failure`): whatever was
    /// sent may have been done, and a POST is not repeated by anybody but its client.
    pub async fn start(directory: &Path, places: &[Place]) -> Self {
        let address = free_address();
        let mut text = format!(
            "global
    maxconn 1000
defaults
    mode http
    retries 3
    retry-on conn-failure
    option redispatch 1
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 30s
frontend in
    bind {address}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk
    http-check send meth GET uri /healthz/ready
    http-check expect status 200
    default-server check inter {}ms fall 2 rise 1
",
            INTERVAL.as_millis()
        );
        for (number, Place { public, operations }) in places.iter().enumerate() {
            text.push_str(&format!("    server r{number} {public} check addr {operations}\n"));
        }
        let (file, log) = (directory.join("haproxy.cfg"), directory.join("haproxy.log"));
        std::fs::write(&file, text).unwrap();
        let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];
        let program = program.iter().find(|path| Path::new(path).exists()).unwrap_or(&"haproxy");
        let child = Command::new(program)
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy: {error}; tests/setup installs it"));
        let mut balancer = Self { address, child, log };
        balancer.serves().await;
        balancer
    }

    async fn serves(&mut self) {
        let started = Instant::now();
        let path = "/.well-known/jwks.json";
        while http::try_send(&self.address, "GET", path, &[], b"").await.map(|it| it.status).ok()
            != Some(200)
        {
            let ended = self.child.try_wait().unwrap();
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed().as_secs() < 20, "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
