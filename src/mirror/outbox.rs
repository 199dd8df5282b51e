//! This replica's place in the outbox of revocations, and what to do when the outbox turns out to
//! have lost something.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use uuid::Uuid;

use crate::clock::Tick;
use crate::domain::{Facts, Inactive, Revocation, Revoked, Switched, Target, Time};
use crate::store::poll::Poll;
use crate::store::revocations::{Cursor, Placed};

/// The acts that still count, shared with every request.
#[derive(Debug, Default)]
pub struct Acts {
    known: RwLock<Revoked>,
    /// Acts that were written from here and not read back yet, and when they were durable. Should
    /// the database lose one before it was read, its place in the outbox cannot tell.
    own: Mutex<HashMap<Target, (Revocation, Tick)>>,
}

impl Acts {
    /// Why a token was taken back, if it was.
    pub fn verdict(&self, token: &Facts) -> Option<Inactive> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).verdict(token)
    }

    /// Whether an act says that a key is stolen.
    pub fn names_key(&self, kid: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).names_key(kid)
    }

    /// Whether an act takes an authorization back.
    pub fn names_family(&self, family: Uuid) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).names_family(family)
    }

    /// When somebody's account was last switched off and on, as far as acts say.
    pub fn switched(&self, subject: &str) -> Switched {
        self.known.read().unwrap_or_else(PoisonError::into_inner).switched(subject)
    }

    /// Obeys acts from now on.
    fn learn(&self, acts: &[Revocation]) {
        self.change(|revoked| acts.iter().for_each(|act| revoked.add(act)));
    }

    /// Obeys acts that this replica has made durable, before it reads them back. What it obeys already
    /// is none of its own: a poll may have brought it in the moment since it was durable, and would not
    /// bring it again.
    pub fn wrote(&self, acts: &[Revocation], durable: Tick) {
        if acts.is_empty() {
            return;
        }
        let mut own = self.own();
        self.change(|revoked| {
            for act in acts {
                if !revoked.covers(act) {
                    own.insert(act.target.clone(), (act.clone(), durable));
                }
                revoked.add(act);
            }
        });
    }

    /// Acts were read, and those of ours among them have their place in the outbox. `counting` are
    /// those that are obeyed from now on.
    fn read_back<'a>(&self, acts: impl Iterator<Item = &'a Revocation>, counting: &[Revocation]) {
        // Held meanwhile, or one of ours could become our own between the two.
        let mut own = self.own();
        if !counting.is_empty() {
            self.learn(counting);
        }
        if !own.is_empty() {
            for act in acts {
                own.remove(&act.target);
            }
        }
    }

    /// Acts of ours that a poll which was sent at `sent` should have brought, and did not.
    fn missed(&self, sent: Tick) -> Vec<Revocation> {
        let mut own = self.own();
        let missed = own.extract_if(|_, (_, durable)| *durable < sent);
        missed.map(|(_, (act, _))| act).collect()
    }

    fn own(&self) -> MutexGuard<'_, HashMap<Target, (Revocation, Tick)>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what no longer counts.
    pub fn forget(&self, now: Time) {
        self.change(|revoked| revoked.forget(now));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Revoked) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a page of the outbox meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything is read.
    Done,
    /// There is more to read.
    More,
    /// Everything is read from its beginning, and these acts, which we had read before, are not in
    /// it any more: the database lost commits.
    Lost(Vec<Revocation>),
}

/// Reads the outbox page by page.
#[derive(Debug, Default)]
pub(super) struct Reader {
    cursor: Option<Cursor>,
    /// What was read since it turned out that the outbox must be read from its beginning.
    again: Option<Revoked>,
}

impl Reader {
    /// From where to read on.
    pub(super) const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Takes a page in. If the act at which we stood is not where it was, the database is not the
    /// one that we knew: it was restored, or a standby that had not seen everything took over. Then
    /// everything is read again, and meanwhile everything that was known goes on to be obeyed.
    pub(super) fn take(&mut self, poll: &Poll, acts: &Acts, now: Time) -> Turn {
        let stands = |at: Cursor| poll.acts.first().is_some_and(|first| first.at == at);
        if self.cursor.is_some_and(|at| !stands(at)) {
            self.cursor = None;
            self.again = Some(Revoked::default());
            return Turn::More;
        }
        let known = |placed: &Placed| placed.act.clone().filter(|act| act.expires_at > now);
        let page: Vec<_> = poll.acts.iter().filter_map(known).collect();
        // While everything is read again what was known goes on to be obeyed as it is.
        let counting: &[Revocation] = match &mut self.again {
            Some(again) => {
                for act in &page {
                    again.add(act);
                }
                &[]
            }
            None => &page,
        };
        acts.read_back(poll.acts.iter().filter_map(|placed| placed.act.as_ref()), counting);
        self.cursor = poll.acts.last().map_or(self.cursor, |last| Some(last.at));
        if poll.more {
            return Turn::More;
        }
        let missed = acts.missed(poll.sample.sent);
        match self.again.take() {
            Some(again) => Self::compare(again, acts, now),
            None if missed.is_empty() => Turn::Done,
            None => Turn::Lost(missed),
        }
    }

    fn compare(mut again: Revoked, acts: &Acts, now: Time) -> Turn {
        acts.change(|known| {
            let lost: Vec<_> = known.acts(now).filter(|act| !again.covers(act)).collect();
            for act in &lost {
                again.add(act);
            }
            *known = again;
            // An act that was merely swept has expired, and is not among these.
            if lost.is_empty() { Turn::Done } else { Turn::Lost(lost) }
        })
    }
}
