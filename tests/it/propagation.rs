//! A token that is revoked through one replica is refused by another within two seconds, whatever
//! happens to either; and one that cannot know says 503.
//!
//! What happens is drawn from a seed that is printed; `JETON_TEST_SEED` draws the same again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::http::{send, try_send};
use crate::support::proxy::{Link, Proxy};
use crate::support::refused::FORM;
use crate::support::replica::{self, Replica};
use crate::support::{SECRET, TestDatabase, basic};

/// Within this time every replica obeys.
const BOUND: Duration = Duration::from_secs(2);

/// So many tokens are revoked.
const TRIES: usize = 10_000;

/// So many are on their way at once, at most.
const AT_ONCE: usize = 1000;

/// A question that is sent later than this behind its instant says less than it should: whoever falls
/// behind begins fewer tries.
const LATE: Duration = Duration::from_millis(100);

/// All tries are begun within this time, or the test has failed.
const ENOUGH: Duration = Duration::from_secs(400);

/// So long after a fault has ended a replica may still be finding its way back.
const SETTLES: Duration = Duration::from_secs(2);

async fn form(address: &str, path: &str, client: &str, body: &str) -> Result<(u16, Vec<u8>), ()> {
    let credential = basic(client, SECRET);
    let headers = [FORM, ("authorization", credential.as_str())];
    let answer = try_send(address, "POST", path, &headers, body.as_bytes()).await;
    answer.map(|answer| (answer.status, answer.body)).map_err(drop)
}

/// A replica that things happen to, with a link of its own to the database.
struct Victim {
    name: &'static str,
    directory: PathBuf,
    url: String,
    /// SQLite has none.
    link: Option<Proxy>,
    process: RefCell<Option<Replica>>,
    /// Where it is, or was last.
    address: RefCell<String>,
    /// Since when nothing ails it; not set while something does.
    sound_since: Cell<Option<Instant>>,
}

/// What can happen to a replica.
#[derive(Debug, Clone, Copy)]
enum Ill {
    /// Its link to the database does this.
    Link(Link),
    /// It is killed and started again.
    Restarted,
    /// It stands still, and does not know it.
    Stopped,
}

impl Victim {
    async fn start(database: &TestDatabase, name: &'static str) -> Self {
        let (link, url) = if database.is_postgres() {
            let (link, url) = Proxy::before(&database.url).await;
            (Some(link), url)
        } else {
            (None, database.url.clone())
        };
        let victim = Self {
            name,
            directory: database.directory.path().to_owned(),
            url,
            link,
            process: RefCell::default(),
            address: RefCell::default(),
            sound_since: Cell::new(None),
        };
        victim.begin().await;
        victim.sound_since.set(Some(Instant::now()));
        victim
    }

    async fn begin(&self) {
        let process = replica::spawn_on(&self.url, &self.directory, self.name, &[]);
        let replica = Replica::of(process).await;
        self.address.replace(replica.public.clone());
        self.process.replace(Some(replica));
    }

    fn signal(&self, name: &str) {
        if let Some(replica) = &*self.process.borrow() {
            replica.process.signal(name);
        }
    }

    fn set(&self, link: Link) {
        if let Some(proxy) = &self.link {
            proxy.set(link);
        }
    }

    /// Something happens to it, and is over after so long.
    async fn suffer(&self, ill: Ill, pause: Duration) {
        self.sound_since.set(None);
        match ill {
            Ill::Link(link) => self.set(link),
            Ill::Restarted => {
                self.process.replace(None);
                self.begin().await;
            }
            Ill::Stopped => self.signal("STOP"),
        }
        if !matches!(ill, Ill::Restarted) {
            tokio::time::sleep(pause).await;
        }
        self.signal("CONT");
        self.set(Link::Up);
        self.sound_since.set(Some(Instant::now()));
    }

    /// Whether nothing has ailed it for a while.
    fn is_well(&self) -> bool {
        self.sound_since.get().is_some_and(|since| since.elapsed() > SETTLES)
    }
}

/// Lets one thing after the other happen to one of the two until told to stop. What, to whom and for how
/// long comes from the seed.
async fn torment(
    victims: Rc<[Victim; 2]>,
    seed: u64,
    stop: Rc<Cell<bool>>,
) -> BTreeMap<String, usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut happened: BTreeMap<String, usize> = BTreeMap::new();
    while !stop.get() {
        let victim = victims.choose(&mut random).unwrap();
        let pause = Duration::from_millis(random.random_range(200..3_500));
        let links = [Link::Slow(pause / 2), Link::Cut, Link::Hanging, Link::Mute].map(Ill::Link);
        let others = [Ill::Restarted, Ill::Stopped];
        let all =
            if victim.link.is_some() { [&links[..], &others].concat() } else { others.to_vec() };
        let ill = *all.choose(&mut random).unwrap();
        *happened.entry(format!("{ill:?}").split(['(', ')']).take(2).collect()).or_default() += 1;
        victim.suffer(ill, pause).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(500..4_000))).await;
    }
    happened
}

/// A request that must come through, at a replica that may be away: until it does nothing was promised.
async fn until_done(at: &Victim, path: &str, body: &str) -> Vec<u8> {
    loop {
        let address = at.address.borrow().clone();
        match form(&address, path, "app", body).await {
            Ok((200, body)) => return body,
            Ok((503, _)) | Err(()) => tokio::time::sleep(Duration::from_millis(250)).await,
            Ok((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// What came of the tries.
#[derive(Default)]
struct Tally {
    /// By whether the replica that was asked had been well from before the question until after the answer.
    well: BTreeMap<&'static str, usize>,
    ill: BTreeMap<&'static str, usize>,
    /// How long after its instant each question was sent.
    lags: Vec<Duration>,
    /// Whether the last one was late.
    is_late: bool,
}

impl Tally {
    fn sent(&mut self, lag: Duration) {
        self.lags.push(lag);
        self.is_late = lag > LATE;
    }
}

/// One try: a token is issued and revoked at one replica; two seconds after the answer, the other one is
/// asked.
async fn attempt(from: &Victim, to: &Victim, tally: &RefCell<Tally>) {
    let body = until_done(from, "/oauth2/token", "grant_type=client_credentials").await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let token = format!("token={}", body["access_token"].as_str().unwrap());
    // Asked before, so that it is known there and its signature is not looked at again.
    let address = to.address.borrow().clone();
    let _ = form(&address, "/oauth2/introspect", "rs", &token).await;

    until_done(from, "/oauth2/revoke", &token).await;
    let acknowledged = Instant::now();
    tokio::time::sleep(BOUND.saturating_sub(acknowledged.elapsed())).await;
    let lag = acknowledged.elapsed().saturating_sub(BOUND);
    tally.borrow_mut().sent(lag);
    let (address, was_well) = (to.address.borrow().clone(), to.is_well());
    let outcome = match form(&address, "/oauth2/introspect", "rs", &token).await {
        Ok((200, body)) if body == br#"{"active":false}"# => "inactive",
        Ok((200, body)) => panic!("active, {lag:?} late: {}", String::from_utf8_lossy(&body)),
        Ok((503, _)) => "503",
        Ok((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
        Err(()) => "away",
    };
    let mut tally = tally.borrow_mut();
    let counted = if was_well && to.is_well() { &mut tally.well } else { &mut tally.ill };
    *counted.entry(outcome).or_default() += 1;
}

/// Begins all tries, as many at a time as can be asked about when they should be.
async fn attempts(victims: &Rc<[Victim; 2]>, random: &mut StdRng) -> Tally {
    let tally: Rc<RefCell<Tally>> = Rc::default();
    let (under_way, started) = (Rc::new(Cell::new(0)), Instant::now());
    let mut all = Vec::with_capacity(TRIES);
    while all.len() < TRIES {
        assert!(started.elapsed() < ENOUGH, "{} tries in {ENOUGH:?}", all.len());
        // Whether the next one is late again shows soon.
        let is_late = std::mem::take(&mut tally.borrow_mut().is_late);
        if is_late || under_way.get() >= AT_ONCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let (from, victims) = (random.random_range(0..2), Rc::clone(victims));
        let (tally, under_way) = (Rc::clone(&tally), Rc::clone(&under_way));
        under_way.set(under_way.get() + 1);
        all.push(actix_web::rt::spawn(async move {
            attempt(&victims[from], &victims[1 - from], &tally).await;
            under_way.set(under_way.get() - 1);
        }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for one in all {
        one.await.unwrap();
    }
    Rc::into_inner(tally).unwrap().into_inner()
}

#[actix_web::test]
async fn in_ten_thousand_tries_no_revoked_token_is_active_elsewhere_after_two_seconds() {
    let seed =
        std::env::var("JETON_TEST_SEED").map_or_else(|_| rand::random(), |it| it.parse().unwrap());
    println!("JETON_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let database = TestDatabase::new();
    let victims =
        Rc::new([Victim::start(&database, "one").await, Victim::start(&database, "other").await]);
    let stop = Rc::new(Cell::new(false));
    let torment = torment(Rc::clone(&victims), random.random(), Rc::clone(&stop));
    let torment = actix_web::rt::spawn(torment);
    let Tally { well, ill, mut lags, .. } = attempts(&victims, &mut random).await;
    stop.set(true);
    let happened = torment.await.unwrap();
    lags.sort();
    let late = |share: usize| lags[(lags.len() - 1) * share / 100];
    println!(
        "{TRIES} tries; replicas well: {well:?}, ill: {ill:?}; {happened:?}; asked late by {:?} (median), \
         {:?} (99 of 100), {:?}",
        late(50),
        late(99),
        late(100)
    );
    let sum = |counts: &BTreeMap<_, usize>| counts.values().sum::<usize>();
    assert_eq!(sum(&well) + sum(&ill), TRIES);
    // Whatever is asked much later than promised shows nothing.
    assert!(late(50) < LATE, "half of all questions were late");
    let definite = well.get("inactive").copied().unwrap_or_default();
    assert!(definite * 10 >= sum(&well) * 9, "{well:?} of replicas that nothing ailed");
    assert!(sum(&well) > TRIES / 4, "{well:?}: the faults left too little");
    assert!(sum(&ill) > TRIES / 10, "{ill:?}: the faults hit too little");
    if database.is_postgres() {
        assert!(ill.get("503").is_some_and(|count| *count > 0), "{ill:?}");
    }
}

/// The library that gives a process another wall clock; `tests/setup test` installs it.
fn faketime() -> String {
    let found = std::process::Command::new("find")
        .args(["/usr/lib", "/usr/local/lib", "-name", "libfaketime.so.1"])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let library = found.lines().next().map(str::to_owned);
    library.unwrap_or_else(|| panic!("libfaketime is missing: run tests/setup test"))
}

#[actix_web::test]
async fn a_replica_whose_clock_is_set_an_hour_off_obeys_all_the_same() {
    let database = TestDatabase::new();
    let sound = replica::start(&database, "sound", &[]).await;
    let offset = database.directory.path().join("offset");
    std::fs::write(&offset, "+0s").unwrap();
    let fake = [
        ("LD_PRELOAD", faketime()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let fake: Vec<_> = fake.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let victim = replica::start(&database, "victim", &fake).await;
    for step in ["+3600s", "-3600s", "+10s", "-10s", "+0s"] {
        std::fs::write(&offset, step).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        if step.ends_with("3600s") {
            let metrics = send(&victim.operations, "GET", "/metrics", &[], b"").await.body;
            let metrics = String::from_utf8(metrics).unwrap();
            let skew = metrics.lines().find_map(|l| l.strip_prefix("jeton_clock_skew_seconds "));
            let skew: f64 = skew.unwrap().parse().unwrap();
            assert!(skew > 3000.0, "its clock was set: {skew}");
        }
        let active = async |at: &Replica, token: &str| {
            let form = format!("token={token}");
            let (status, body) =
                self::form(&at.public, "/oauth2/introspect", "rs", &form).await.unwrap();
            assert_eq!(status, 200, "{step}: {}", at.process.said());
            body != br#"{"active":false}"#
        };
        for (issuer, other) in [(&sound, &victim), (&victim, &sound)] {
            let token = issuer.token().await;
            assert!(active(other, &token).await, "{step}: not over, and not from the future");
            let form = format!("token={token}");
            let (status, _) =
                self::form(&issuer.public, "/oauth2/revoke", "app", &form).await.unwrap();
            assert_eq!(status, 200, "{step}");
            tokio::time::sleep(BOUND).await;
            assert!(!active(other, &token).await, "{step}: revoked");
        }
    }
}
