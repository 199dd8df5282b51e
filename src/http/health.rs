//! Health, for whoever restarts and routes.
//!
//! *Startup*: configuration, schema, root secrets and a signing key are there. *Live*: every thread
//! still turns; it depends on nothing outside, since a restart would mend nothing there. *Ready*:
//! started, not draining, and the public listener answers. Neither depends on the database: all
//! replicas share it, and if all went unready together the JWKS would vanish and with it every
//! resource server's trust.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use crate::clock::{Clock, Tick};
use crate::telemetry::Metrics;

/// A thread that has not turned for this long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// So many looks in a row must fail before the listener counts as dead: one that is merely slow
/// under load must not take itself out, and every replica with it.
const MISSES: u32 = 3;

/// The pulse of one thread.
#[derive(Debug)]
pub struct Heart {
    name: String,
    beat: Mutex<Tick>,
}

/// How this process is.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    started: AtomicBool,
    draining: AtomicBool,
    /// Looks at our own listener that failed, one after the other.
    misses: AtomicU32,
    hearts: Mutex<Vec<Arc<Heart>>>,
    /// The metrics, for the operations listener.
    pub metrics: Arc<Metrics>,
}

impl Health {
    /// A process that has not started yet.
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            clock,
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            misses: AtomicU32::new(MISSES),
            hearts: Mutex::default(),
            metrics,
        }
    }

    /// Everything is there.
    pub fn start(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    /// The process is about to end: not ready from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether the public listener answered when it was last asked.
    pub fn answers(&self, answers: bool) {
        self.metrics.listener(answers);
        if answers {
            self.misses.store(0, Ordering::SeqCst);
        } else {
            self.misses.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Starts a pulse on the present thread: if the thread gets stuck, it stops.
    pub fn pulse(self: &Arc<Self>, name: impl Into<String>) {
        let beat = Mutex::new(self.clock.tick());
        let heart = Arc::new(Heart { name: name.into(), beat });
        self.hearts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&heart));
        let health = Arc::downgrade(self);
        actix_web::rt::spawn(async move {
            loop {
                match health.upgrade() {
                    Some(health) => {
                        *heart.beat.lock().unwrap_or_else(PoisonError::into_inner) =
                            health.clock.tick();
                    }
                    None => return,
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    fn stuck(&self) -> Option<String> {
        let hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |heart: &Heart| {
            self.clock.elapsed(*heart.beat.lock().unwrap_or_else(PoisonError::into_inner))
        };
        hearts.iter().find(|heart| since(heart) > STUCK).map(|heart| heart.name.clone())
    }
}

/// `GET /healthz/startup`
pub(super) async fn startup(health: Data<Health>) -> HttpResponse {
    verdict(if health.started.load(Ordering::SeqCst) { Ok(()) } else { Err("starting".to_owned()) })
}

/// `GET /healthz/live`
pub(super) async fn live(health: Data<Health>) -> HttpResponse {
    verdict(health.stuck().map_or(Ok(()), |name| Err(format!("the thread {name} is stuck"))))
}

/// `GET /healthz/ready`
pub(super) async fn ready(health: Data<Health>) -> HttpResponse {
    verdict(if !health.started.load(Ordering::SeqCst) {
        Err("starting".to_owned())
    } else if health.is_draining() {
        Err("draining".to_owned())
    } else if health.misses.load(Ordering::SeqCst) >= MISSES {
        Err("the public listener does not answer".to_owned())
    } else {
        Ok(())
    })
}

fn verdict(verdict: Result<(), String>) -> HttpResponse {
    match verdict {
        Ok(()) => HttpResponse::Ok()
            .insert_header(("cache-control", "no-store"))
            .json(json!({ "status": "ok" })),
        Err(why) => HttpResponse::ServiceUnavailable()
            .insert_header(("cache-control", "no-store"))
            .json(json!({ "status": why })),
    }
}
