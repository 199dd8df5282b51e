//! How old the state in memory is, and how a request that needs it fresher gets it so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, LastTick, Tick};

/// A request that needs a poll waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// After a poll that failed, requests are refused at once for this long: an outage must not turn
/// every request into a poll, nor let them pile up.
const PAUSE: Duration = Duration::from_millis(500);

/// So many requests may wait for a poll.
const WAITING: usize = 1024;

/// Of these so many may wait on the word of a text that anybody could have written, and no two polls on
/// such a word are closer together than this.
const HEARSAY: usize = 128;
const APART: Duration = Duration::from_millis(100);

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
    hearsay: Semaphore,
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
            hearsay: Semaphore::new(HEARSAY),
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

    /// Returns once a poll that is sent after this moment has succeeded, for whoever has nothing but
    /// the word of a text that anybody could have written: that must not keep the database busy, nor
    /// take all the places.
    pub async fn on_hearsay(&self, clock: &Clock) -> Result<(), Stale> {
        if self.has_just_failed(clock) {
            return Err(Stale);
        }
        let _place = self.hearsay.try_acquire().map_err(|_| Stale)?;
        let asked = clock.tick();
        sleep(APART.saturating_sub(self.age(clock))).await;
        // Another one's poll may have come meanwhile.
        if self.age(clock) < clock.elapsed(asked) {
            return Ok(());
        }
        self.since(asked, clock).await
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

#[cfg(test)]
mod tests {
    use futures_util::future::{join, join_all};

    use super::*;

    #[actix_web::test]
    async fn hearsay_makes_no_more_than_ten_polls_a_second_however_many_wait() {
        let (freshness, clock) = (Freshness::default(), Clock::system());
        let polls = std::cell::Cell::new(0_u128);
        let poller = async {
            loop {
                freshness.wanted().await;
                polls.set(polls.get() + 1);
                freshness.succeeded(clock.tick());
            }
        };
        let callers = async {
            for _ in 0..5 {
                let all = (0..HEARSAY + 10).map(|_| freshness.on_hearsay(&clock));
                let answers = join_all(all).await;
                assert_eq!(answers.iter().filter(|one| one.is_ok()).count(), HEARSAY);
            }
        };
        let began = clock.tick();
        let both = join(poller, callers);
        // The poller never ends by itself.
        let _ = timeout(Duration::from_secs(2), both).await;
        let most = clock.elapsed(began).as_millis() / APART.as_millis() + 1;
        assert!(polls.get() >= 5 && polls.get() <= most, "{} of {most}", polls.get());
    }
}
