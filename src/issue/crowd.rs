//! Who is signing in at this moment, by network.
//!
//! A password takes a core a hundredth of a second, and only few may wait for one. So nobody may take
//! all the places: were it not for this, one account and a loop would keep everybody else out, and no
//! budget of failures would notice, since it does not fail.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::Network;

/// How many may sign in at once from one network.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    present: Mutex<HashMap<Network, usize>>,
}

/// One who is signing in, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    crowd: &'a Crowd,
    network: Network,
}

impl Crowd {
    /// So many at once from each network.
    pub fn new(most: usize) -> Self {
        Self { most, present: Mutex::default() }
    }

    /// Lets one in, unless its network has enough already.
    pub(super) fn enter(&self, network: Network) -> Option<Place<'_>> {
        let mut present = self.present();
        let count = present.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self, network })
    }

    fn present(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        if let Some(count) = present.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_cannot_take_all_the_places_and_leaves_nothing_behind() {
        let crowd = Crowd::new(2);
        let (one, other) = (Network::V4([192, 0, 2, 1]), Network::V4([192, 0, 2, 2]));
        let first = crowd.enter(one).unwrap();
        let _second = crowd.enter(one).unwrap();
        assert!(crowd.enter(one).is_none());
        let third = crowd.enter(other).unwrap();
        drop(first);
        assert!(crowd.enter(one).is_some());
        drop(third);
        assert_eq!(crowd.present().len(), 1);
    }
}
