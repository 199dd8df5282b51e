//! What runs beside the requests, on one beat a second: the poll, the key schedule, the notes, the
//! metrics, and a look at our own listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock::{Clock, WARN};
use crate::domain::schedule;
use crate::http::{Health, SelfCheck};
use crate::limits::Limits;
use crate::manage::{Desk, ManageError};
use crate::mirror::{Mirror, Poller};
use crate::store::StoreError;
use crate::telemetry::{Held, Metrics};

/// The beat.
const EVERY: Duration = Duration::from_secs(1);

/// So many beats lie between two looks at our own listener.
const SELF_CHECK_EVERY: u64 = 5;

/// So many beats lie between two times of forgetting callers whose budgets are full again.
const FORGET_EVERY: u64 = 10;

/// Keeps one replica going.
#[derive(Debug)]
pub struct Keeper {
    /// What acts on the database.
    pub desk: Desk,
    /// What keeps the mirror fresh.
    pub poller: Poller,
    /// What is kept fresh.
    pub mirror: Arc<Mirror>,
    /// The time.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The budgets of callers, of which old ones are forgotten.
    pub limits: Arc<Limits>,
    /// How many beats there were.
    pub beats: u64,
    /// Whether the last poll succeeded, so that only a change is logged.
    pub connected: bool,
    /// Whether the clocks agreed at the last poll.
    pub agreed: bool,
}

impl Keeper {
    /// One beat. Nothing in it can fail the process: what does not work now is tried again.
    pub async fn beat(&mut self) {
        self.mirror.notes.forget_old(self.clock.now());
        self.beats = self.beats.wrapping_add(1);
        if self.beats.is_multiple_of(FORGET_EVERY) {
            self.limits.forget_old();
        }
        if self.poll().await {
            self.maintain().await;
            self.write_notes().await;
        }
        self.show();
    }

    async fn poll(&mut self) -> bool {
        let polled = self.poller.poll().await;
        let brief = polled.as_ref().map(|poll| poll.skew).map_err(StoreError::class);
        self.metrics.polled(brief);
        match &polled {
            Ok(_) if !self.connected => tracing::info!("the database is back"),
            Err(error) if self.connected => {
                tracing::warn!(%error, "the database does not answer; serving from memory");
            }
            _ => {}
        }
        self.connected = polled.is_ok();
        if let Ok(poll) = &polled {
            let agree = poll.skew <= WARN;
            if !agree && self.agreed {
                tracing::warn!(
                    skew_seconds = poll.skew.as_secs_f64(),
                    "this machine's clock and the common time differ; see to its time service, and \
                     restart jeton once it is right if it runs on SQLite"
                );
            }
            self.agreed = agree;
        }
        self.connected
    }

    /// Carries out the key schedule, if it asks for anything.
    async fn maintain(&mut self) {
        let now = self.clock.now();
        let certain = self.clock.is_certain();
        let keys = self.mirror.keys().schedule();
        if schedule::plan(&keys, &self.desk.policy, now, certain).is_empty() {
            return;
        }
        match self.desk.maintain(now, certain).await {
            Ok(done) => {
                for step in done {
                    tracing::info!(action = step.action, kid = %step.kid, "signing keys");
                }
            }
            Err(error) => {
                let class = match &error {
                    ManageError::Store(error) => error.class(),
                    _ => "key",
                };
                self.metrics.rotation_failed(class);
                tracing::error!(%error, "the key schedule could not be carried out; trying again");
            }
        }
        // What was done shows at once here, and at the next poll elsewhere.
        self.poll().await;
    }

    /// Writes down what the token path noted.
    pub async fn write_notes(&self) {
        let (uses, runs) = self.mirror.notes.take();
        if uses.is_empty() && runs.is_empty() {
            return;
        }
        if let Err(error) = self.desk.write_notes(&uses, &runs).await {
            tracing::warn!(%error, "notes could not be written; trying again");
            self.mirror.notes.put_back(uses, runs);
        }
    }

    fn show(&self) {
        let keys = self.mirror.keys();
        let (open, idle) = self.desk.db.connections();
        let held = Held {
            age: self.mirror.age(&self.clock),
            open_connections: open as usize,
            idle_connections: idle,
            clients: self.mirror.directory().len(),
            limited_callers: self.limits.held(),
            keys_loaded: self.mirror.keys_loaded_at(),
            keys: keys.schedule(),
            key_troubles: keys.iter().filter(|key| key.trouble.is_some()).count(),
        };
        self.metrics.show(&held, self.clock.now());
    }
}

/// Beats until told to stop, then writes the last notes.
pub async fn run(mut keeper: Keeper, mut stop: tokio::sync::watch::Receiver<bool>) {
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => keeper.beat().await,
            _ = stop.changed() => break,
        }
    }
    keeper.write_notes().await;
}

/// Looks at our own listener every few seconds: an accept loop that is dead shows in nothing else.
pub async fn watch_listener(
    health: Arc<Health>,
    address: SocketAddr,
    path: String,
    mark: SelfCheck,
) {
    loop {
        health.answers(listener_answers(address, &path, &mark).await);
        tokio::time::sleep(EVERY * u32::try_from(SELF_CHECK_EVERY).unwrap_or(5)).await;
    }
}

/// Whether the public listener answers a request for the JWKS.
pub async fn listener_answers(address: SocketAddr, path: &str, mark: &SelfCheck) -> bool {
    let look = async {
        let mut stream = TcpStream::connect(reachable(address)).await.ok()?;
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {}\r\nconnection: close\r\n\r\n",
            mark.0
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.ok()?;
        Some(&start == b"HTTP/1.1 200")
    };
    timeout(Duration::from_secs(2), look).await.ok().flatten().unwrap_or(false)
}

/// An address that listens on every interface is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
