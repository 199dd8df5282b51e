//! What the budgets remember: one number for each key that is not fresh, and never more than so many.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

use crate::domain::{Endpoint, Network};

/// Most keys of one budget: some megabytes.
pub(super) const MOST: usize = 100_000;

/// Parts with a lock of their own, so that threads seldom meet.
const SHARDS: usize = 64;

/// Buckets for all keys that there is no room for.
const LANES: usize = 1024;

/// Whose budget it is. A client stands in it as a keyed hash of its name: that needs no memory of its
/// own, however long the name, and nobody outside can find two names that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) network: Option<Network>,
    pub(super) client: Option<u64>,
    pub(super) endpoint: Option<Endpoint>,
}

/// A key, and whether something is spent or only looked at: what is looked at leaves no trace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Look {
    pub(super) key: Key,
    pub(super) spend: bool,
}

type Shard = RwLock<HashMap<Key, Nanos>>;

/// The memory of one budget.
#[derive(Debug)]
pub(super) struct Store {
    shards: Box<[Shard; SHARDS]>,
    /// Keys in all shards; threads that insert at once may overshoot by one each.
    held: AtomicUsize,
    lanes: Box<[Mutex<Option<Nanos>>; LANES]>,
    hasher: RandomState,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            shards: Box::new(array::from_fn(|_| RwLock::default())),
            held: AtomicUsize::new(0),
            lanes: Box::new(array::from_fn(|_| Mutex::default())),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &Key) -> &Shard {
        let [first, ..] = &*self.shards;
        self.shards.get(self.place(key, SHARDS)).unwrap_or(first)
    }

    /// Where a key is counted that there is no room for. Whoever filled the memory did so from many
    /// networks of one provider, so strangers are counted by provider: neither does the gate open for
    /// the attacker, nor does it close for everybody else.
    fn lane(&self, key: &Key) -> MutexGuard<'_, Option<Nanos>> {
        let [first, ..] = &*self.lanes;
        let wide = Key { network: key.network.map(Network::wide), ..*key };
        let lane = self.lanes.get(self.place(&wide, LANES)).unwrap_or(first);
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &Key, count: usize) -> usize {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 33).unwrap_or(0);
        hash % count
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= MOST
    }

    fn look<T, E>(
        &self,
        key: &Key,
        decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let known =
            self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        let known = if known.is_none() && self.is_full() { *self.lane(key) } else { known };
        decide(known).map(|(outcome, _)| outcome)
    }

    fn spend<T, E>(
        &self,
        key: &Key,
        decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.get_mut(key) {
            let (outcome, next) = decide(Some(*known))?;
            *known = next;
            return Ok(outcome);
        }
        if self.is_full() {
            drop(shard);
            let mut lane = self.lane(key);
            let (outcome, next) = decide(*lane)?;
            *lane = Some(next);
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        shard.insert(*key, next);
        self.held.fetch_add(1, Ordering::Relaxed);
        Ok(outcome)
    }
}

impl StateStore for Store {
    type Key = Look;

    fn measure_and_replace<T, F, E>(&self, look: &Look, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if look.spend { self.spend(&look.key, decide) } else { self.look(&look.key, decide) }
    }
}

impl ShrinkableKeyedStateStore<Look> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in self.shards.iter() {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, at| *at > drop_below);
            self.held.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
    }

    /// Gives memory back after an attack, and not between two requests: a map that is at least a
    /// quarter full stays as it is.
    fn shrink_to_fit(&self) {
        for shard in self.shards.iter() {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if shard.capacity() / 4 > shard.len() {
                shard.shrink_to_fit();
            }
        }
    }

    fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
