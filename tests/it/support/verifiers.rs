//! Verifiers as they are out there: how long each keeps the keys that it fetched, and what it does when
//! it meets a key that it does not hold. Who may fetch again hides a key that came late; who may not shows
//! it.
//!
//! Their times are those of their defaults, shortened as the issuer's are: a lead of six seconds stands for
//! an hour, the shortest that an issuer may have.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::verify;

/// An hour is so long here.
pub const HOUR: Duration = Duration::from_secs(6);

/// What a verifier does about keys.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Whose behaviour it is.
    pub name: &'static str,
    /// For how long fetched keys are kept.
    keeps: Option<Duration>,
    /// Whether they are fetched when that is over, or when a token comes after it.
    polls: bool,
    /// How soon after a fetch an unknown key may lead to another; never, if this is not there.
    refetches: Option<Duration>,
}

/// Of minutes.
const fn minutes(count: u32) -> Duration {
    Duration::from_millis(HOUR.as_secs() * 1000 * count as u64 / 60)
}

/// Everyone whose behaviour differs.
pub const MODELS: [Model; 5] = [
    // Ten minutes; an unknown key leads to a fetch unless the last one is not half a minute old.
    Model {
        name: "jose",
        keeps: Some(minutes(10)),
        polls: false,
        refetches: Some(Duration::from_millis(50)),
    },
    // For ever; an unknown key always leads to a fetch.
    Model { name: "go-oidc", keeps: None, polls: false, refetches: Some(Duration::ZERO) },
    // Ten minutes by default, and an unknown key is an error.
    Model { name: "Envoy", keeps: Some(minutes(10)), polls: false, refetches: None },
    // The same, as somebody set it up who wanted fewer fetches: half an hour.
    Model { name: "Envoy, 30 min", keeps: Some(minutes(30)), polls: false, refetches: None },
    // Every twenty minutes, whether a token comes or not, and an unknown key is an error.
    Model { name: "Istio", keeps: Some(minutes(20)), polls: true, refetches: None },
];

/// One verifier, with the keys that it holds.
#[derive(Debug)]
pub struct Verifier {
    /// How it behaves.
    pub model: Model,
    held: RefCell<Option<(Value, Instant)>>,
    /// How often it fetched.
    pub fetches: Cell<usize>,
}

impl Verifier {
    /// One that holds nothing.
    pub fn of(model: Model) -> Self {
        Self { model, held: RefCell::default(), fetches: Cell::new(0) }
    }

    /// Fetches; where nobody answers, what is held stays.
    async fn fetch(&self, jwks: impl Future<Output = Option<Value>>) {
        if let Some(keys) = jwks.await {
            self.fetches.set(self.fetches.get() + 1);
            *self.held.borrow_mut() = Some((keys, Instant::now()));
        }
    }

    fn age(&self) -> Option<Duration> {
        self.held.borrow().as_ref().map(|(_, since)| since.elapsed())
    }

    fn is_due(&self) -> bool {
        self.age().is_none_or(|age| self.model.keeps.is_some_and(|keeps| age >= keeps))
    }

    /// What it does by itself, if it does: to be called often.
    pub async fn beat(&self, jwks: impl AsyncFn() -> Option<Value>) {
        if self.model.polls && self.is_due() {
            self.fetch(jwks()).await;
        }
    }

    /// Whether it lets a token in.
    pub async fn check(
        &self,
        token: &str,
        jwks: impl AsyncFn() -> Option<Value>,
    ) -> Result<(), String> {
        if self.age().is_none() || (!self.model.polls && self.is_due()) {
            self.fetch(jwks()).await;
        }
        let refused = match self.look(token) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        let may =
            self.model.refetches.is_some_and(|after| self.age().is_none_or(|age| age >= after));
        if !may {
            return Err(refused);
        }
        self.fetch(jwks()).await;
        self.look(token)
    }

    fn look(&self, token: &str) -> Result<(), String> {
        let held = self.held.borrow();
        let (keys, _) = held.as_ref().ok_or("it never got any keys")?;
        verify::verify(token, keys).map(drop)
    }
}
