//! How old the state in memory is, and how a request that needs it fresher gets it so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::clock::{Clock, LastTick, Tick};

/// A request that needs a poll waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// After a poll that failed, requests are refused at once for this long: an outage must not turn
/// every request into a poll, nor let them pile up.
const PAUSE: Duration = Duration::from_millis(500);

/// So many requests may wait for a poll.
const WAITING: usize = 1024;

/// The state is too old, and could not be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// The age of what is in memory, and the meeting place of the poller and those who wait for it.
#[derive(Debug)]
pub struct Freshness {
    /// When the last good poll was sent: everything in memory is at least that fresh.
    good: LastTick,
    failed: LastTick,
    wanted: Notify,
    is_wanted: AtomicBool,
    polls: watch::Sender<u64>,
    places: Semaphore,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            good: LastTick::default(),
            failed: LastTick::default(),
            wanted: Notify::new(),
            is_wanted: AtomicBool::new(false),
            polls: watch::Sender::new(0),
            places: Semaphore::new(WAITING),
        }
    }
}

impl Freshness {
    /// How long ago the last good poll was sent.
    pub fn age(&self, clock: &Clock) -> Duration {
        self.good.get().map_or(Duration::MAX, |tick| clock.elapsed(tick))
    }

    /// Returns once the state is no older than `bound`. One that is older is renewed by one poll
    /// that all who wait share; if that fails, the caller is refused rather than told what may have
    /// been true a while ago.
    pub async fn within(&self, bound: Duration, clock: &Clock) -> Result<(), Stale> {
        if self.age(clock) <= bound {
            return Ok(());
        }
        if self.has_just_failed(clock) {
            return Err(Stale);
        }
        let _place = self.places.try_acquire().map_err(|_| Stale)?;
        let mut polls = self.polls.subscribe();
        // The first poll to end may have been sent before we came.
        for _ in 0..2 {
            self.want();
            let ended = timeout(PATIENCE, polls.changed()).await;
            if self.age(clock) <= bound {
                return Ok(());
            }
            if ended.is_err() || self.has_just_failed(clock) {
                return Err(Stale);
            }
        }
        Err(Stale)
    }

    /// Returns once a poll that was sent after `since` has succeeded: what the database has lost until
    /// then has been noticed, and written again.
    pub async fn since(&self, since: Tick, clock: &Clock) -> Result<(), Stale> {
        let _place = self.places.try_acquire().map_err(|_| Stale)?;
        let mut polls = self.polls.subscribe();
        // The first poll to end may have been sent before.
        for _ in 0..2 {
            self.want();
            let ended = timeout(PATIENCE, polls.changed()).await;
            if self.age(clock) <= clock.elapsed(since) {
                return Ok(());
            }
            if ended.is_err() || self.has_just_failed(clock) {
                return Err(Stale);
            }
        }
        Err(Stale)
    }

    /// Asks for a poll without waiting for it.
    pub fn want(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
        self.wanted.notify_one();
    }

    /// Returns when a poll is wanted: for the poller.
    pub async fn wanted(&self) {
        while !self.is_wanted.swap(false, Ordering::SeqCst) {
            self.wanted.notified().await;
        }
    }

    /// A poll that was sent at `sent` brought everything up to date.
    pub(super) fn succeeded(&self, sent: Tick) {
        self.good.set(Some(sent));
        self.failed.set(None);
        self.polls.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A poll failed.
    pub(super) fn failed(&self, now: Tick) {
        self.failed.set(Some(now));
        self.polls.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn has_just_failed(&self, clock: &Clock) -> bool {
        self.failed.get().is_some_and(|at| clock.elapsed(at) < PAUSE)
    }
}
