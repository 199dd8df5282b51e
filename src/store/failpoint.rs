//! Faults around the commit, where an answer can be lost: so that tests can show that nothing
//! acknowledged is lost and nothing unknown is taken for a failure.
//!
//! A test queues faults on its own [`Db`](super::Db); a test that wants a real process to die sets
//! `JETON_FAILPOINT` to `before-commit:N` or `after-commit:N`, and the process aborts at its N-th
//! commit. Release builds read no such variable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;

/// A fault that one write meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The transaction loses a race before it can commit.
    LosesRace,
    /// The connection breaks before the commit reaches the server.
    CutBeforeCommit,
    /// The commit happens, and its answer is lost.
    CutAfterCommit,
}

#[derive(Debug, Clone)]
pub(super) struct Failpoints(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Fault>,
    abort: Option<(Moment, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl Failpoints {
    pub(super) fn new() -> Self {
        let abort = if cfg!(debug_assertions) { abort_from_environment() } else { None };
        Self(Arc::new(Mutex::new(State { abort, ..State::default() })))
    }

    pub(super) fn queue(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state(|state| state.queue.extend(faults));
    }

    pub(super) fn before_commit(&self) -> Result<(), StoreError> {
        self.die_at(Moment::Before);
        let met = |fault: &mut Fault| *fault != Fault::CutAfterCommit;
        match self.state(|state| state.queue.pop_front_if(met)) {
            Some(Fault::LosesRace) => Err(StoreError::Contended),
            Some(_) => Err(StoreError::Unknown),
            None => Ok(()),
        }
    }

    pub(super) fn after_commit(&self) -> Result<(), StoreError> {
        self.die_at(Moment::After);
        let met = |fault: &mut Fault| *fault == Fault::CutAfterCommit;
        self.state(|state| state.queue.pop_front_if(met))
            .map_or(Ok(()), |_| Err(StoreError::Unknown))
    }

    fn die_at(&self, moment: Moment) {
        let dies = self.state(|state| match &mut state.abort {
            Some((at, left)) if *at == moment => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        });
        if dies {
            std::process::abort();
        }
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn abort_from_environment() -> Option<(Moment, u64)> {
    let text = std::env::var("JETON_FAILPOINT").ok()?;
    let (moment, count) = text.split_once(':')?;
    let moment = match moment {
        "before-commit" => Moment::Before,
        "after-commit" => Moment::After,
        _ => return None,
    };
    Some((moment, count.parse().ok()?))
}
