//! How often callers may call: four budgets, each a setting, each kept for every caller by itself.
//!
//! `governor` decides (GCRA: a bucket that refills steadily, in one number), on our clock and in a
//! memory of our own: it can be looked at without spending, and it is bounded.
//!
//! What fails is counted for the network that it came from, and never for the client whose name was
//! used: anybody can use a name. So a stranger can spend the patience that we have for the stranger's
//! network, and nothing else.

mod store;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use crate::clock::{Clock, Tick};
use crate::config::{self, Rate};
use crate::domain::{Budget, ClientId, Endpoint, Network, Spent, Username};
use store::{Key, Look, Store};

/// The budgets of this replica.
#[derive(Debug)]
pub struct Limits {
    failures: Option<Limiter>,
    failures_per_client: Option<Limiter>,
    network: Option<Limiter>,
    client: Option<Limiter>,
    /// Turns names of clients into keys.
    names: RandomState,
}

impl Limits {
    /// Full budgets.
    pub fn new(settings: &config::Limits, clock: &Clock) -> Self {
        let limiter = |budget, rate: Option<Rate>| Limiter::new(budget, rate?, clock);
        Self {
            failures: limiter(Budget::Failures, settings.failures),
            failures_per_client: limiter(Budget::FailuresPerClient, settings.failures_per_client),
            network: limiter(Budget::Network, settings.network),
            client: limiter(Budget::Client, settings.client),
            names: RandomState::new(),
        }
    }

    /// A network makes a request.
    pub fn request(&self, network: Network, endpoint: Endpoint) -> Result<(), Spent> {
        let Some(limiter) = &self.network else { return Ok(()) };
        let key = Key { network: Some(network), client: None, endpoint: Some(endpoint) };
        limiter.spend(key, endpoint)
    }

    /// Whether a network may try to authenticate, in the name of a client if it gave one. The name
    /// counts as it was given, registered or not: else the answer would tell which it is.
    pub fn may_try(
        &self,
        network: Network,
        client: Option<&ClientId>,
        endpoint: Endpoint,
    ) -> Result<(), Spent> {
        if let Some(limiter) = &self.failures {
            limiter.look(|| by_network(network), endpoint)?;
        }
        if let (Some(limiter), Some(client)) = (&self.failures_per_client, client) {
            limiter.look(|| self.by_both(network, client), endpoint)?;
        }
        Ok(())
    }

    /// A network tried, and failed. What is spent already stays so: the attempt was made before
    /// another thread spent the last of it.
    pub fn failed(&self, network: Network, client: Option<&ClientId>, endpoint: Endpoint) {
        if let Some(limiter) = &self.failures {
            let _ = limiter.spend(by_network(network), endpoint);
        }
        if let (Some(limiter), Some(client)) = (&self.failures_per_client, client) {
            let _ = limiter.spend(self.by_both(network, client), endpoint);
        }
    }

    /// Whether a network may try a password, for a person if it can be anybody's name. A stranger who
    /// guesses is stopped where the stranger is; the person signs in from elsewhere as ever.
    pub fn may_sign_in(
        &self,
        network: Network,
        name: Option<&Username>,
        endpoint: Endpoint,
    ) -> Result<(), Spent> {
        self.may_try(network, None, endpoint)?;
        if let (Some(limiter), Some(name)) = (&self.failures_per_client, name) {
            limiter.look(|| self.by_person(network, name), endpoint)?;
        }
        Ok(())
    }

    /// A network tried a password, and it was wrong.
    pub fn sign_in_failed(&self, network: Network, name: Option<&Username>, endpoint: Endpoint) {
        self.failed(network, None, endpoint);
        if let (Some(limiter), Some(name)) = (&self.failures_per_client, name) {
            let _ = limiter.spend(self.by_person(network, name), endpoint);
        }
    }

    /// A client that has proved who it is makes a request.
    pub fn client(&self, client: &ClientId, endpoint: Endpoint) -> Result<(), Spent> {
        let Some(limiter) = &self.client else { return Ok(()) };
        let key = Key { network: None, client: Some(self.name(client)), endpoint: Some(endpoint) };
        limiter.spend(key, endpoint)
    }

    /// Somebody who gave the name of a public client, which proves nothing, makes a request: it is
    /// counted for the network too, or a stranger could spend the budget of everybody else's app.
    pub fn public_client(
        &self,
        network: Network,
        client: &ClientId,
        endpoint: Endpoint,
    ) -> Result<(), Spent> {
        let Some(limiter) = &self.client else { return Ok(()) };
        let key = Key { endpoint: Some(endpoint), ..self.by_both(network, client) };
        limiter.spend(key, endpoint)
    }

    /// Forgets whoever has a full budget again, and gives the memory back.
    pub fn forget_old(&self) {
        for limiter in self.all() {
            if !limiter.inner.is_empty() {
                limiter.inner.retain_recent();
            }
            limiter.inner.shrink_to_fit();
        }
    }

    /// How many callers are remembered, in all budgets together.
    pub fn held(&self) -> usize {
        self.all().map(|limiter| limiter.inner.len()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Limiter> {
        let all = [&self.failures, &self.failures_per_client, &self.network, &self.client];
        all.into_iter().flatten()
    }

    fn by_both(&self, network: Network, client: &ClientId) -> Key {
        Key { client: Some(self.name(client)), ..by_network(network) }
    }

    /// A person and a client of the same name are two.
    fn by_person(&self, network: Network, name: &Username) -> Key {
        let name = self.names.hash_one(("person", name.as_str()));
        Key { client: Some(name), ..by_network(network) }
    }

    fn name(&self, client: &ClientId) -> u64 {
        self.names.hash_one(client.as_str())
    }
}

const fn by_network(network: Network) -> Key {
    Key { network: Some(network), client: None, endpoint: None }
}

/// One budget.
#[derive(Debug)]
struct Limiter {
    budget: Budget,
    inner: RateLimiter<Look, Store, Beat, NoOpMiddleware<Nanos>>,
    clock: Beat,
}

impl Limiter {
    fn new(budget: Budget, rate: Rate, clock: &Clock) -> Option<Self> {
        let quota = Quota::with_period(rate.every)?.allow_burst(rate.burst);
        let clock = Beat { clock: clock.clone(), start: clock.tick() };
        Some(Self { budget, inner: RateLimiter::new(quota, Store::new(), clock.clone()), clock })
    }

    /// Whether there is something left. As long as nobody is remembered, as on every good day, it
    /// reads one number.
    fn look(&self, key: impl FnOnce() -> Key, endpoint: Endpoint) -> Result<(), Spent> {
        if self.inner.is_empty() {
            return Ok(());
        }
        self.ask(&Look { key: key(), spend: false }, endpoint)
    }

    fn spend(&self, key: Key, endpoint: Endpoint) -> Result<(), Spent> {
        self.ask(&Look { key, spend: true }, endpoint)
    }

    fn ask(&self, look: &Look, endpoint: Endpoint) -> Result<(), Spent> {
        use governor::clock::Clock as _;
        self.inner.check_key(look).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            // Rounded up: who waits exactly so long must find something there.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Spent { budget: self.budget, endpoint, seconds: seconds.max(1) }
        })
    }
}

/// Our clock, as `governor` reads one.
#[derive(Debug, Clone)]
struct Beat {
    clock: Clock,
    start: Tick,
}

impl governor::clock::Clock for Beat {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        /// A century, which `Nanos` can hold with room for what is added.
        const END: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.clock.elapsed(self.start).min(END).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;
    use std::num::NonZeroU32;

    fn rate(every: Duration, burst: u32) -> Rate {
        Rate { every, burst: NonZeroU32::new(burst).unwrap() }
    }

    fn failures(burst: u32) -> (Limits, Clock) {
        let clock = Clock::manual(Time::from_seconds(1_000_000));
        let failures = Some(rate(Duration::from_secs(10), burst));
        let settings = config::Limits { failures, ..config::Limits::default() };
        (Limits::new(&settings, &clock), clock)
    }

    fn provider(provider: u16, number: u32) -> Network {
        let [a, b, c, d] = number.to_be_bytes();
        Network::V6([0x2001, provider, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
    }

    const AT: Endpoint = Endpoint::Token;

    #[test]
    fn to_look_spends_nothing_and_leaves_no_trace() {
        let (limits, _) = failures(1);
        let (one, other) = (provider(1, 1), provider(1, 2));
        limits.failed(one, None, AT);
        for _ in 0..10 {
            assert!(limits.may_try(other, None, AT).is_ok());
            assert!(limits.may_try(one, None, AT).is_err());
        }
        assert_eq!(limits.held(), 1);
    }

    #[test]
    fn each_endpoint_has_budgets_of_its_own_and_failures_count_for_all_of_them() {
        let one = Some(rate(Duration::from_secs(10), 1));
        let clock = Clock::manual(Time::from_seconds(1_000_000));
        let settings =
            config::Limits { failures: one, failures_per_client: None, network: one, client: one };
        let limits = Limits::new(&settings, &clock);
        let (network, app) = (provider(1, 1), ClientId::parse("app").unwrap());
        let all = [Endpoint::Token, Endpoint::Introspect, Endpoint::Revoke];
        for endpoint in all {
            assert!(limits.request(network, endpoint).is_ok());
            assert!(limits.client(&app, endpoint).is_ok());
            let spent = limits.request(network, endpoint).unwrap_err();
            assert_eq!((spent.budget, spent.endpoint), (Budget::Network, endpoint));
            assert_eq!(limits.client(&app, endpoint).unwrap_err().budget, Budget::Client);
        }
        limits.failed(network, Some(&app), Endpoint::Revoke);
        assert!(all.iter().all(|at| limits.may_try(network, Some(&app), *at).is_err()));
    }

    #[test]
    fn after_the_seconds_that_it_names_there_is_something_left_and_not_before() {
        let (limits, clock) = failures(3);
        let network = provider(1, 1);
        for _ in 0..3 {
            assert!(limits.may_try(network, None, AT).is_ok());
            limits.failed(network, None, AT);
        }
        clock.advance(Duration::from_millis(1500));
        let spent = limits.may_try(network, None, AT).unwrap_err();
        assert_eq!((spent.budget, spent.seconds), (Budget::Failures, 9));
        clock.advance(Duration::from_millis(8_499));
        assert_eq!(limits.may_try(network, None, AT).unwrap_err().seconds, 1);
        clock.advance(Duration::from_millis(1));
        assert!(limits.may_try(network, None, AT).is_ok());
        limits.failed(network, None, AT);
        assert!(limits.may_try(network, None, AT).is_err());
    }

    #[test]
    fn a_million_networks_are_remembered_in_bounded_memory_and_the_gate_stays_closed() {
        let (limits, clock) = failures(2);
        for number in 0..1_000_000 {
            limits.failed(provider(1, number), None, AT);
        }
        assert_eq!(limits.held(), store::MOST);
        // The attacker's next fresh network gets nothing, and who is somewhere else is not hurt.
        assert!(limits.may_try(provider(1, 2_000_000), None, AT).is_err());
        assert!(limits.may_try(provider(2, 1), None, AT).is_ok());
        assert!(limits.may_try(Network::V4([192, 0, 2, 1]), None, AT).is_ok());
        // Nor does an attacker who goes on elsewhere.
        (0..2).for_each(|number| limits.failed(provider(3, number), None, AT));
        assert!(limits.may_try(provider(3, 9), None, AT).is_err());

        clock.advance(Duration::from_secs(30));
        limits.forget_old();
        assert_eq!(limits.held(), 0);
        assert!(limits.may_try(provider(1, 2_000_000), None, AT).is_ok());
    }

    #[test]
    fn a_stranger_who_guesses_a_persons_password_keeps_nobody_else_out() {
        let clock = Clock::manual(Time::from_seconds(1_000_000));
        let failures_per_client = Some(rate(Duration::from_secs(10), 2));
        let settings = config::Limits { failures_per_client, ..config::Limits::default() };
        let limits = Limits::new(&settings, &clock);
        let (stranger, home) = (provider(1, 1), provider(1, 2));
        let (alice, bob) = (Username::parse("alice").unwrap(), Username::parse("bob").unwrap());
        let client = ClientId::parse("alice").unwrap();
        for _ in 0..2 {
            assert!(limits.may_sign_in(stranger, Some(&alice), AT).is_ok());
            limits.sign_in_failed(stranger, Some(&alice), AT);
        }
        assert!(limits.may_sign_in(stranger, Some(&alice), AT).is_err());
        assert!(limits.may_sign_in(stranger, Some(&bob), AT).is_ok());
        assert!(limits.may_sign_in(stranger, None, AT).is_ok());
        assert!(limits.may_try(stranger, Some(&client), AT).is_ok());
        assert!(limits.may_sign_in(home, Some(&alice), AT).is_ok());
    }

    #[test]
    fn who_still_owes_something_is_not_forgotten() {
        let (limits, clock) = failures(2);
        let network = provider(1, 1);
        (0..2).for_each(|_| limits.failed(network, None, AT));
        clock.advance(Duration::from_secs(9));
        limits.forget_old();
        assert_eq!(limits.held(), 1);
        assert!(limits.may_try(network, None, AT).is_err());
    }
}
