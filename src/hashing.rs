//! Password hashing with argon2id, in a bounded pool.
//!
//! One hash takes a hundredth of a second and 19 MiB. So at most one runs for each core, and at
//! most a few wait; beyond that a flood of logins is told to come back instead of eating the memory
//! that tokens need. They run on threads of their own, no more than may run at once: malloc keeps the
//! memory of a hash for its thread, and what was kept for all the threads that ever had one would be
//! more than a pod may have. It is for people's passwords: client secrets never come here.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::Instrument;
use zeroize::Zeroizing;

/// So many wait for each that runs.
const QUEUE: usize = 8;

/// What a check of somebody else's hash may cost: KiB, passes and lanes.
const MOST_MEMORY: u32 = 128 * 1024;
const MOST_TURNS: u32 = 8;
const MOST_LANES: u32 = 8;

/// Why nothing was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many wait already.
    #[error("too many passwords are being checked; try again shortly")]
    Overloaded,
    /// The library refuses, the stored hash is no PHC string, or there are no threads to be had.
    #[error("the password hash cannot be computed or read")]
    Broken,
}

/// Why a hash that somebody brings along is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitHash {
    /// It is no PHC string, or it lacks a part.
    #[error("it is no whole PHC string, such as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH")]
    Unreadable,
    /// Another algorithm, or an old version of it.
    #[error("it is not by argon2id, version 19; nothing else is checked here")]
    Algorithm,
    /// It can be guessed at too cheaply.
    #[error("its parameters are too weak: it takes m=19456, t=2 and p=1 at least (OWASP)")]
    Weak,
    /// Each check would take more than a sign-in may.
    #[error(
        "its parameters are too costly: it takes m={MOST_MEMORY}, t={MOST_TURNS} and p={MOST_LANES} at most"
    )]
    Costly,
}

/// Whether a PHC string may be stored as the hash of a password.
pub fn fit(phc: &str) -> Result<(), UnfitHash> {
    let hash = PasswordHash::new(phc).map_err(|_| UnfitHash::Unreadable)?;
    if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) {
        return Err(UnfitHash::Algorithm);
    }
    let params = Params::try_from(&hash).map_err(|_| UnfitHash::Unreadable)?;
    let whole = hash.salt.is_some() && hash.hash.is_some_and(|output| output.len() >= 16);
    // A key or data of its own would never be at hand when it is checked.
    if !whole || !params.keyid().is_empty() || !params.data().is_empty() {
        return Err(UnfitHash::Unreadable);
    }
    if params.m_cost() < 19_456 || params.t_cost() < 2 {
        return Err(UnfitHash::Weak);
    }
    // Each attempt at the account costs this much, and shows by its time that there is one.
    let costs = [params.m_cost(), params.t_cost(), params.p_cost()];
    if costs.iter().zip([MOST_MEMORY, MOST_TURNS, MOST_LANES]).any(|(cost, most)| *cost > most) {
        return Err(UnfitHash::Costly);
    }
    Ok(())
}

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hashing {
    parallel: usize,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    threads: Arc<Threads>,
    dummy: Arc<str>,
}

/// Tokio's pool for work that blocks, but not the one that a server's threads share.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn new(most: usize) -> Result<Self, HashError> {
        let mut builder = Builder::new_current_thread();
        let pool = builder.thread_name("hash").max_blocking_threads(most).build();
        pool.map(|pool| Self(Some(pool))).map_err(|_| HashError::Broken)
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, HashError> {
        Ok(self.0.as_ref().ok_or(HashError::Broken)?.spawn_blocking(work))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Nobody waits here for a hash: it may be an asynchronous place.
        if let Some(pool) = self.0.take() {
            pool.shutdown_background();
        }
    }
}

impl Hashing {
    /// A pool that runs `parallel` hashes at once.
    pub fn new(parallel: usize) -> Result<Self, HashError> {
        Ok(Self {
            parallel,
            running: Arc::new(Semaphore::new(parallel)),
            admitted: Arc::new(Semaphore::new(parallel * (1 + QUEUE))),
            threads: Arc::new(Threads::new(parallel)?),
            dummy: dummy()?.into(),
        })
    }

    /// How many run at once at most.
    pub const fn parallel(&self) -> usize {
        self.parallel
    }

    /// How many run, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        let most = self.parallel * (1 + QUEUE);
        let present = most.saturating_sub(self.admitted.available_permits());
        let running = self.parallel.saturating_sub(self.running.available_permits());
        (running, present.saturating_sub(running))
    }

    /// Hashes a password with a fresh salt, as a PHC string.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashError> {
        self.run(move || hash(password.as_bytes())).await
    }

    /// Whether a password fits a stored PHC string. Without one (there is no such user) the same
    /// work is done in vain, so that the time does not tell who exists.
    pub async fn verify(
        &self,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<bool, HashError> {
        let (known, phc) = match stored {
            Some(phc) => (true, phc),
            None => (false, self.dummy.to_string()),
        };
        let fits = self.run(move || {
            let parsed = PasswordHash::new(&phc).map_err(|_| HashError::Broken)?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(fits.await? && known)
    }

    /// Whether a stored PHC string was made with less work than a new one would be, or in another
    /// way: the moment at which its password is at hand is the only one at which that can be mended.
    pub fn is_outdated(stored: &str) -> bool {
        let Ok(parsed) = PasswordHash::new(stored) else { return false };
        let today = Params::default();
        let less = |params: Params| {
            params.m_cost() < today.m_cost()
                || params.t_cost() < today.t_cost()
                || params.p_cost() < today.p_cost()
        };
        parsed.algorithm.as_str() != "argon2id" || Params::try_from(&parsed).is_ok_and(less)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let _place = self.admitted.try_acquire().map_err(|_| HashError::Overloaded)?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_| HashError::Broken)?;
        // The permit goes with the work: a caller that leaves does not free the core it still uses.
        let done = self.threads.run(move || {
            let _permit = permit;
            work()
        })?;
        done.instrument(tracing::trace_span!("hash")).await.map_err(|_| HashError::Broken)?
    }
}

fn hash(password: &[u8]) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password).map_err(|_| HashError::Broken)?;
    Ok(hash.to_string())
}

/// What looks like the hash of a password, and is checked like one. Nothing is hashed for it: a start
/// would take half as long again.
fn dummy() -> Result<String, HashError> {
    let params = ParamsString::try_from(Params::default()).map_err(|_| HashError::Broken)?;
    let salt = Salt::new(&rand::random::<[u8; Salt::RECOMMENDED_LENGTH]>());
    let output = Output::new(&rand::random::<[u8; Params::DEFAULT_OUTPUT_LEN]>());
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params,
        salt: Some(salt.map_err(|_| HashError::Broken)?),
        hash: Some(output.map_err(|_| HashError::Broken)?),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[actix_web::test]
    async fn a_password_fits_its_own_hash_and_the_dummy_is_a_hash_like_it_that_nothing_fits() {
        let pool = Hashing::new(2).unwrap();
        let phc = pool.hash(password("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(pool.verify(password("correct horse"), Some(phc.clone())).await.unwrap());
        assert!(!pool.verify(password("wrong horse"), Some(phc.clone())).await.unwrap());
        assert!(!pool.verify(password("correct horse"), None).await.unwrap());
        // As much work: all but what a salt and a hash are.
        let (real, dummy) = (PasswordHash::new(&phc).unwrap(), &*pool.dummy);
        let dummy = PasswordHash::new(dummy).unwrap();
        let work = |hash: &PasswordHash| {
            let lengths = (hash.salt.map(|salt| salt.len()), hash.hash.map(|hash| hash.len()));
            (hash.algorithm, hash.version, hash.params.to_string(), lengths)
        };
        assert_eq!(work(&dummy), work(&real));
        assert!(Hashing::new(1).unwrap().dummy != pool.dummy);
    }

    #[test]
    fn a_hash_is_taken_over_if_it_is_strong_whole_and_checked_here() {
        let rest = "c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        let with = |head: &str| fit(&format!("${head}${rest}"));
        assert_eq!(with("argon2id$v=19$m=19456,t=2,p=1"), Ok(()));
        assert_eq!(with("argon2id$v=19$m=131072,t=3,p=4"), Ok(()));
        assert_eq!(with("argon2id$v=19$m=131073,t=3,p=4"), Err(UnfitHash::Costly));
        for (head, why) in [
            ("argon2i$v=19$m=19456,t=2,p=1", UnfitHash::Algorithm),
            ("argon2d$v=19$m=19456,t=2,p=1", UnfitHash::Algorithm),
            ("argon2id$v=16$m=19456,t=2,p=1", UnfitHash::Algorithm),
            ("argon2id$m=19456,t=2,p=1", UnfitHash::Algorithm),
            ("argon2id$v=19$m=19455,t=2,p=1", UnfitHash::Weak),
            ("argon2id$v=19$m=19456,t=1,p=1", UnfitHash::Weak),
            ("argon2id$v=19$m=4194304,t=2,p=1", UnfitHash::Costly),
            ("argon2id$v=19$m=19456,t=99,p=1", UnfitHash::Costly),
            ("argon2id$v=19$m=19456,t=2,p=0", UnfitHash::Unreadable),
        ] {
            assert_eq!(with(head), Err(why), "{head}");
        }
        let bcrypt = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
        for text in ["", "plain text", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0", bcrypt] {
            assert!(fit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hash_of_less_work_or_another_kind_is_outdated() {
        let phc = |kind: &str, m: u32, t: u32| {
            format!("${kind}$v=19$m={m},t={t},p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA")
        };
        assert!(!Hashing::is_outdated(&hash(b"x").unwrap()));
        assert!(!Hashing::is_outdated(&phc("argon2id", 65_536, 3)));
        assert!(Hashing::is_outdated(&phc("argon2id", 8, 2)));
        assert!(Hashing::is_outdated(&phc("argon2id", 19_456, 1)));
        assert!(Hashing::is_outdated(&phc("argon2i", 19_456, 2)));
        assert!(!Hashing::is_outdated("no hash at all"), "what cannot be read is not replaced");
    }

    #[actix_web::test]
    async fn a_flood_is_turned_away_and_the_rest_is_served() {
        let pool = Hashing::new(1).unwrap();
        let flood = (0..30).map(|_| pool.verify(password("x"), None));
        let answers = futures_util::future::join_all(flood).await;
        let served = answers.iter().filter(|answer| **answer == Ok(false)).count();
        let turned = answers.iter().filter(|one| **one == Err(HashError::Overloaded)).count();
        assert_eq!((served, turned), (9, 21));
    }

    #[actix_web::test]
    async fn it_says_how_many_run_and_how_many_wait() {
        let pool = Hashing::new(2).unwrap();
        assert_eq!(pool.load(), (0, 0));
        let mut three: Vec<_> =
            (0..3).map(|_| Box::pin(pool.verify(password("x"), None))).collect();
        for one in &mut three {
            assert_eq!(one.now_or_never(), None);
        }
        assert_eq!(pool.load(), (2, 1));
        futures_util::future::join_all(three).await;
        assert_eq!(pool.load(), (0, 0));
    }
}
