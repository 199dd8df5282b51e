//! One time for all replicas: the database's time at the last poll, carried on by this machine's
//! monotonic clock. A step of a local clock moves nothing, and without a database time goes on.
//!
//! This is the only place that reads a clock; `now` is read once at the edge and passed down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::Time;
use crate::domain::time::to_micros;

/// Beyond this distance between two clocks one of them is simply wrong: start is refused, and a
/// running server stops following the database.
pub const REFUSE: Duration = Duration::from_secs(30);

/// Beyond this distance an operator is warned.
pub const WARN: Duration = Duration::from_secs(1);

/// A reading of the time base. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Microseconds to add to the monotonic clock.
    offset: AtomicI64,
    /// Whether the database's, the local and the carried-on time agreed at the last look.
    certain: AtomicBool,
    /// A test's clock stands still but for `advance`.
    manual: bool,
}

/// An instant on this machine's monotonic clock, for measuring how long something took or how old
/// something is. It keeps running while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(i64);

/// What the database said its time was, and when we asked.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The database's time.
    pub time: Time,
    /// Just before we asked.
    pub sent: Tick,
    /// Just after it answered.
    pub received: Tick,
    /// Whether the database keeps time for all replicas. SQLite's time is only our own clock again.
    pub authoritative: bool,
}

/// The last time at which something happened, if it did: read and set by any thread.
#[derive(Debug)]
pub struct LastTick(AtomicI64);

impl LastTick {
    const NEVER: i64 = i64::MIN;

    /// When it last happened.
    pub fn get(&self) -> Option<Tick> {
        Some(self.0.load(Ordering::SeqCst)).filter(|at| *at != Self::NEVER).map(Tick)
    }

    /// Sets when it last happened.
    pub fn set(&self, at: Option<Tick>) {
        self.0.store(at.map_or(Self::NEVER, |at| at.0), Ordering::SeqCst);
    }
}

impl Default for LastTick {
    fn default() -> Self {
        Self(AtomicI64::new(Self::NEVER))
    }
}

impl Clock {
    /// The real clock; until the first [`Clock::follow`] it shows this machine's own time.
    pub fn system() -> Self {
        let offset = wall().micros() - monotonic();
        Self(Arc::new(Inner {
            offset: AtomicI64::new(offset),
            certain: AtomicBool::new(true),
            manual: false,
        }))
    }

    /// A clock that stands at `start` and moves only by [`Clock::advance`]: for tests.
    pub fn manual(start: Time) -> Self {
        Self(Arc::new(Inner {
            offset: AtomicI64::new(start.micros()),
            certain: AtomicBool::new(true),
            manual: true,
        }))
    }

    /// Moves a manual clock on.
    pub fn advance(&self, by: Duration) {
        self.0.offset.fetch_add(to_micros(by), Ordering::SeqCst);
    }

    /// The time now.
    pub fn now(&self) -> Time {
        let carried = if self.0.manual { 0 } else { monotonic() };
        Time::from_micros(carried + self.0.offset.load(Ordering::SeqCst))
    }

    /// The monotonic instant now.
    pub fn tick(&self) -> Tick {
        Tick(if self.0.manual { self.0.offset.load(Ordering::SeqCst) } else { monotonic() })
    }

    /// How long ago `tick` was.
    pub fn elapsed(&self, tick: Tick) -> Duration {
        Time::from_micros(self.tick().0).since(Time::from_micros(tick.0))
    }

    /// Whether all clocks agreed at the last look; what cannot be undone waits until they do.
    pub fn is_certain(&self) -> bool {
        self.0.certain.load(Ordering::SeqCst)
    }

    /// Takes the database's time as ours, unless it contradicts both our own clocks; returns how
    /// far the database and this machine's clock are apart.
    pub fn follow(&self, sample: Sample) -> Duration {
        let round_trip = sample.received.0 - sample.sent.0;
        let database = sample.time + Duration::from_micros(round_trip.unsigned_abs() / 2);
        if self.0.manual {
            return Duration::ZERO;
        }
        let skew = database.distance(wall());
        let step = self.now().distance(database);
        self.0.certain.store(skew <= REFUSE && step <= REFUSE, Ordering::SeqCst);
        // Half a round trip is the error of the measurement: within it, keep what we have.
        let noise = Duration::from_micros(round_trip.unsigned_abs() / 2 + 1000);
        if sample.authoritative && skew <= REFUSE && step > noise {
            self.0.offset.store(database.micros() - sample.received.0, Ordering::SeqCst);
        }
        if sample.authoritative { skew } else { step }
    }
}

/// This machine's own clock.
fn wall() -> Time {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the local clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(to_micros(since))
}

/// Microseconds on a clock that no one sets and that counts while the machine sleeps: a laptop that
/// wakes up must not issue tokens dated last night.
fn monotonic() -> i64 {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let at = rustix::time::clock_gettime(id);
    at.tv_sec.saturating_mul(1_000_000).saturating_add(at.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(clock: &Clock, ahead: i64, authoritative: bool) -> Sample {
        let tick = clock.tick();
        let time = Time::from_micros(wall().micros() + ahead);
        Sample { time, sent: tick, received: tick, authoritative }
    }

    #[test]
    fn the_database_sets_the_time() {
        let clock = Clock::system();
        clock.follow(sample(&clock, 5_000_000, true));
        let ahead = clock.now().distance(wall());
        assert!(ahead > Duration::from_secs(4) && ahead < Duration::from_secs(6), "{ahead:?}");
        assert!(clock.is_certain());
    }

    #[test]
    fn a_database_whose_clock_is_simply_wrong_is_not_followed() {
        let clock = Clock::system();
        for hour in [3_600_000_000, -3_600_000_000] {
            clock.follow(sample(&clock, hour, true));
            assert!(clock.now().distance(wall()) < WARN);
            assert!(!clock.is_certain());
        }
        clock.follow(sample(&clock, 0, true));
        assert!(clock.is_certain());
    }

    #[test]
    fn with_sqlite_a_step_of_the_local_clock_moves_nothing_but_is_noticed() {
        let clock = Clock::system();
        let before = clock.now();
        let skew = clock.follow(sample(&clock, 3_600_000_000, false));
        assert!(clock.now().distance(before) < WARN);
        assert!(skew > REFUSE && !clock.is_certain());
    }
}
