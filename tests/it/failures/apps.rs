//! Apps as they are meant to be: one family each, the newest token kept, and after a 503 or a lost
//! answer the same token once more.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::report::Report;
use super::world::World;
use crate::support::Answer;
use crate::support::session::try_refresh_at;

/// Every retry policy: `web` until used, `spa` and `windowed` the window, and `strict`.
pub const EVERY: [&str; 4] = ["web", "spa", "windowed", "strict"];

/// Those that survive a lost answer.
pub const FORGIVING: [&str; 3] = ["web", "spa", "windowed"];

/// Within this time after the last fault everybody must have got through.
const AT_LAST: Duration = Duration::from_secs(10);

/// What one refresh came to, beyond success.
pub const NO_ANSWER: &str = "no answer";
pub const REFUSED_FOR_NOW: &str = "503 with Retry-After";
pub const SUCCESS: &str = "200";
/// The one way to lose a family, and only under `strict`: see [`App::told_that_it_is_over`].
pub const STRICT_LOST: &str = "strict: family over, its own refresh had been committed unseen";

/// An app that somebody is signed in to.
pub struct App {
    pub client: &'static str,
    pub family: Uuid,
    /// The newest token that it was given.
    pub token: String,
    /// Whether its last refresh ended without a token: it cannot know whether it happened.
    in_doubt: bool,
}

impl App {
    /// Somebody signs in.
    pub async fn begin(world: &World, client: &'static str) -> Self {
        let token = world.begin(client).await;
        Self { client, family: world.read(&token).family, token, in_doubt: false }
    }

    /// Refreshes once; says what came, and counts it.
    pub async fn refresh(&mut self, world: &World, address: &str, report: &Report) -> bool {
        let asked = Instant::now();
        let answer = try_refresh_at(address, self.client, &self.token, "").await;
        let Some((status, next)) = answer.ok().and_then(|answer| understood(&answer)) else {
            self.in_doubt = true;
            report.outcome(NO_ANSWER);
            return false;
        };
        match (status, next) {
            (200, Some(next)) => {
                self.advanced(world, next, report);
                report.outcome(SUCCESS);
                report.got_through(asked);
                return true;
            }
            (503, None) => {
                self.in_doubt = true;
                report.outcome(REFUSED_FOR_NOW);
            }
            (400, None) => self.told_that_it_is_over(world, report).await,
            (status, _) => report.violation(format!("{} was answered {status}", self.client)),
        }
        false
    }

    /// The new token is the successor of the one presented, and of no other.
    fn advanced(&mut self, world: &World, next: String, report: &Report) {
        let (old, new) = (world.read(&self.token), world.read(&next));
        if (new.family, new.generation) != (old.family, old.generation + 1) {
            report.violation(format!("{}: {old:?} was followed by {new:?}", self.client));
        }
        self.token = next;
        self.in_doubt = false;
    }

    /// `invalid_grant`. Only `strict` may hear it, and only if its own last refresh ended without a
    /// token and was committed all the same: it then presents a predecessor, which to this policy is
    /// a theft. What it loses so it signs in for again.
    async fn told_that_it_is_over(&mut self, world: &World, report: &Report) {
        let family = world.family(self.family).await;
        let presented = world.read(&self.token).generation;
        let committed = family.as_ref().is_some_and(|family| family.generation == presented + 1);
        if self.client == "strict" && self.in_doubt && committed {
            report.outcome(STRICT_LOST);
        } else {
            let what = "was told invalid_grant";
            report.violation(format!("{} {what} with {presented}: {family:?}", self.client));
        }
        *self = Self::begin(world, self.client).await;
    }

    /// Nothing is wrong any more: it must get through, and soon.
    pub async fn gets_through(&mut self, world: &World, address: &str, report: &Report) {
        let started = Instant::now();
        while !self.refresh(world, address, report).await {
            if started.elapsed() > AT_LAST {
                report.violation(format!("{} does not get through any more", self.client));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Status and refresh token of an answer that is whole and as it should be.
fn understood(answer: &Answer) -> Option<(u16, Option<String>)> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let error = body["error"].as_str();
    let status = match answer.status {
        // A 503 that does not say when to come again is another answer than that.
        503 if answer.header("retry-after") != "1" || error != Some("temporarily_unavailable") => 0,
        400 if error != Some("invalid_grant") => 0,
        status => status,
    };
    Some((status, body["refresh_token"].as_str().map(str::to_owned)))
}

/// Apps that refresh on their own until told to stop.
pub struct Crowd {
    apps: Vec<actix_web::rt::task::JoinHandle<App>>,
    stop: Rc<Cell<bool>>,
}

impl Crowd {
    /// So many apps of each kind, each of which refreshes, pauses, and refreshes again.
    pub async fn of(
        kinds: &[&'static str],
        each: usize,
        pause: Duration,
        world: &Rc<World>,
        address: impl Fn() -> String + Clone + 'static,
        report: &Report,
    ) -> Self {
        let stop = Rc::new(Cell::new(false));
        let mut apps = Vec::new();
        for client in kinds.iter().copied().cycle().take(kinds.len() * each) {
            let mut app = App::begin(world, client).await;
            let (stop, world) = (Rc::clone(&stop), Rc::clone(world));
            let (address, report) = (address.clone(), report.clone());
            apps.push(actix_web::rt::spawn(async move {
                while !stop.get() {
                    app.refresh(&world, &address(), &report).await;
                    tokio::time::sleep(pause).await;
                }
                app
            }));
        }
        Self { apps, stop }
    }

    /// The faults are over: each refreshes once more, and must succeed.
    pub async fn end(self, world: &World, address: &str, report: &Report) {
        self.stop.set(true);
        for app in self.apps {
            let mut app = app.await.unwrap();
            app.gets_through(world, address, report).await;
        }
    }
}
