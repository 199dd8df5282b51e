//! What the token path has seen and wants written down, without waiting for a database: when a
//! secret was used, and runs of failed authentication. A job writes the notes shortly after.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::domain::{ClientId, Network, Time};
use crate::secret::{SecretDigest, SecretId};

/// The window in which failures count towards a run.
const RUN_WINDOW: Duration = Duration::from_secs(60);

/// That a secret was used.
#[derive(Debug, Clone)]
pub struct SecretUse {
    /// The secret's row.
    pub secret: Uuid,
    /// When.
    pub at: Time,
    /// Its digest under the present pepper, if it is stored under an older one: the moment of its
    /// use is the only one at which the secret itself is at hand.
    pub rekeyed: Option<(SecretId, SecretId, SecretDigest)>,
}

/// Who was claimed to be there when authentication failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// A client; `None` stands for all names that are no client's.
    Client(Option<ClientId>),
    /// A person; `None` stands for all names that are nobody's.
    Person(Option<Uuid>),
    /// A client, which proved that it is, and presented another one's token to have it revoked.
    NotItsClient(ClientId),
}

impl Name {
    /// So many within [`RUN_WINDOW`] are written down. Who mistypes is not worth a row; who has another
    /// client's token is.
    const fn run_length(&self) -> u32 {
        match self {
            Self::Client(_) | Self::Person(_) => 5,
            Self::NotItsClient(_) => 1,
        }
    }
}

/// A run of failed authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRun {
    /// Whose name was used.
    pub name: Name,
    /// Where the failure came from that made it one.
    pub network: Network,
    /// When the run became one.
    pub at: Time,
    /// The request that made it one.
    pub request: String,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    since: Option<Time>,
}

#[derive(Debug, Default)]
struct Inner {
    uses: Vec<SecretUse>,
    failures: HashMap<Name, Failures>,
    runs: Vec<FailedRun>,
}

/// The notes not yet written. Bounded: one use for each secret and minute, one run for each
/// registered client, each person and minute, and one each for all names that are nobody's.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Inner>);

impl Notes {
    /// Notes that a secret was used.
    pub fn used(&self, one: SecretUse) {
        self.inner().uses.push(one);
    }

    /// Notes a failed authentication; `client` is `None` unless the name is registered.
    pub fn failed(&self, client: Option<&ClientId>, network: Network, at: Time, request: &str) {
        self.failed_as(Name::Client(client.cloned()), network, at, request);
    }

    /// Notes a wrong password; `person` is `None` unless there is such an account.
    pub fn sign_in_failed(&self, person: Option<Uuid>, network: Network, at: Time, request: &str) {
        self.failed_as(Name::Person(person), network, at, request);
    }

    /// Notes that a client would have revoked another one's token (RFC 7009 §2.1).
    pub fn not_its_client(&self, client: &ClientId, network: Network, at: Time, request: &str) {
        self.failed_as(Name::NotItsClient(client.clone()), network, at, request);
    }

    fn failed_as(&self, name: Name, network: Network, at: Time, request: &str) {
        let mut inner = self.inner();
        let failures = inner.failures.entry(name.clone()).or_default();
        if failures.since.is_none_or(|since| at.since(since) > RUN_WINDOW) {
            *failures = Failures { count: 0, since: Some(at) };
        }
        failures.count = failures.count.saturating_add(1);
        if failures.count == name.run_length() {
            inner.runs.push(FailedRun { name, network, at, request: request.to_owned() });
        }
    }

    /// Takes notes out, to write them: so many that it takes a moment and no more, and in the order
    /// of their rows, so that replicas which write at once do not wait for each other in a circle.
    pub fn take(&self) -> (Vec<SecretUse>, Vec<FailedRun>) {
        const MOST: usize = 500;
        let mut inner = self.inner();
        let Inner { uses, runs, .. } = &mut *inner;
        let mut uses: Vec<_> = uses.drain(..uses.len().min(MOST)).collect();
        uses.sort_by_key(|one| one.secret);
        (uses, runs.drain(..runs.len().min(MOST)).collect())
    }

    /// Puts notes back that could not be written; the next attempt takes them again. Returns how many
    /// had to be given up.
    pub fn put_back(&self, uses: Vec<SecretUse>, runs: Vec<FailedRun>) -> usize {
        /// Beyond this many, a long outage of the database is no reason to grow.
        const MOST: usize = 100_000;
        let mut inner = self.inner();
        inner.uses.extend(uses);
        inner.runs.extend(runs);
        let excess = |length: usize| length.saturating_sub(MOST);
        let dropped = excess(inner.uses.len()) + excess(inner.runs.len());
        inner.uses.truncate(MOST);
        inner.runs.truncate(MOST);
        dropped
    }

    /// How many are not written yet.
    pub fn waiting(&self) -> usize {
        let inner = self.inner();
        inner.uses.len() + inner.runs.len()
    }

    /// Forgets failures that no longer count.
    pub fn forget_old(&self, now: Time) {
        self.inner().failures.retain(|_, failures| {
            failures.since.is_some_and(|since| now.since(since) <= RUN_WINDOW)
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_given_up_and_counted() {
        let notes = Notes::default();
        let one = SecretUse { secret: Uuid::nil(), at: Time::from_seconds(1), rekeyed: None };
        assert_eq!(notes.put_back(vec![one.clone(); 99_999], vec![]), 0);
        assert_eq!(notes.put_back(vec![one; 4], vec![]), 3);
        assert_eq!(notes.waiting(), 100_000);
    }

    #[test]
    fn five_failures_within_a_minute_are_one_run() {
        let notes = Notes::default();
        let client = ClientId::parse("app").unwrap();
        let start = Time::from_seconds(1000);
        let network = Network::V4([192, 0, 2, 1]);
        for second in 0..20 {
            let failed = |client, after| {
                notes.failed(client, network, start + Duration::from_secs(after), "r");
            };
            failed(Some(&client), second);
            failed(None, second * 20);
        }
        let (_, runs) = notes.take();
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(runs[0].name, Name::Client(Some(client)));
        assert_eq!(runs[0].at, start + Duration::from_secs(4));
    }
}
