//! The load generator: keep-alive connections, one request under way on each, requests that were
//! rendered beforehand. It must cost little, since it shares the machine with what it measures; and
//! it must notice every answer that is not a success, since refusals are cheap.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::answer::Answer;
use crate::histogram::Histogram;
use crate::machine::cores;

/// The longest wait for answers that are still under way at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A generator with many connections looks for answers this often, instead of being woken by each. To wake
/// it costs the server's core 2 to 3 µs, and a slower server, whose answers find it asleep more often, pays
/// that more often; a client elsewhere is woken at nobody's cost but its own.
const GLANCE: Duration = Duration::from_micros(50);

/// So many connections on a thread are many: answers are always about to come.
const MANY: usize = 32;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// Makes the request that a connection sends next, given the connection's number and how many it has
/// sent.
type Make = Box<dyn Fn(usize, u32) -> Vec<u8> + Send + Sync>;

/// The requests of a load.
pub struct Source {
    requests: Arc<Vec<Vec<u8>>>,
    next: AtomicUsize,
    once: bool,
    /// For requests that cannot be rendered beforehand, because there would be too many.
    make: Option<Make>,
}

impl Source {
    /// The same requests over and over.
    pub fn cycle(requests: Vec<Vec<u8>>) -> Self {
        Self::shared(Arc::new(requests))
    }

    /// The same as `cycle`, for requests that several loads use.
    pub fn shared(requests: Arc<Vec<Vec<u8>>>) -> Self {
        Self { requests, next: AtomicUsize::new(0), once: false, make: None }
    }

    /// Each request once, in order.
    pub fn once(requests: Vec<Vec<u8>>) -> Self {
        Self { once: true, ..Self::cycle(requests) }
    }

    /// Each connection its own, one after the other.
    pub fn each(make: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { make: Some(Box::new(make)), ..Self::cycle(Vec::new()) }
    }

    fn next(&self, connection: usize, sent: u32) -> Option<Cow<'_, [u8]>> {
        if let Some(make) = &self.make {
            return Some(make(connection, sent).into());
        }
        let at = self.next.fetch_add(1, Relaxed);
        let at = if self.once { at } else { at % self.requests.len() };
        self.requests.get(at).map(|request| request.as_slice().into())
    }

    fn is_exhausted(&self) -> bool {
        self.once && self.next.load(Relaxed) >= self.requests.len()
    }
}

/// How to load.
pub struct Plan<'a> {
    /// The server.
    pub address: SocketAddr,
    /// The requests.
    pub source: &'a Source,
    /// How many connections.
    pub connections: usize,
    /// How long before anything counts.
    pub warm: Duration,
    /// How long everything counts.
    pub measure: Duration,
    /// Keep the bodies of all answers.
    pub keep: bool,
    /// How many requests a second, whenever the answers come; as many as are answered if not said.
    pub pace: Option<u32>,
}

/// How it went.
#[derive(Default)]
pub struct Outcome {
    /// Latencies of what was answered while it counted; of a load with a pace, since it was due.
    pub latencies: Histogram,
    /// How long it counted.
    pub seconds: f64,
    /// Answers that are no success, and requests that got none.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// The bodies, if they were to be kept.
    pub bodies: Vec<Vec<u8>>,
}

/// Loads, and takes a reading where the counting begins and where it ends.
pub fn run<T>(plan: &Plan, reading: impl Fn() -> T) -> (Outcome, T, T) {
    let phase = AtomicU8::new(WARMING);
    // More threads than half the machine would only take it away from the server.
    let threads = (cores() / 2).clamp(1, 8);
    std::thread::scope(|scope| {
        let share = plan.connections.div_ceil(threads);
        let phase = &phase;
        let threads: Vec<_> = (0..threads)
            .map(|n| scope.spawn(move || Thread::new(plan, phase, threads).run(n * share, share)))
            .collect();
        wait(plan.warm, plan.source);
        let (before, began) = (reading(), Instant::now());
        phase.store(MEASURING, Relaxed);
        wait(plan.measure, plan.source);
        let seconds = began.elapsed().as_secs_f64();
        phase.store(STOPPING, Relaxed);
        let after = reading();
        let mut all = Outcome { seconds, ..Outcome::default() };
        for thread in threads {
            all.take(thread.join().unwrap());
        }
        (all, before, after)
    })
}

/// Sends each request once and returns the bodies of the answers.
pub fn fetch(address: SocketAddr, requests: Vec<Vec<u8>>, connections: usize) -> Vec<Vec<u8>> {
    let source = Source::once(requests);
    let (warm, measure) = (Duration::ZERO, Duration::from_secs(120));
    let plan =
        Plan { address, source: &source, connections, warm, measure, keep: true, pace: None };
    let (outcome, (), ()) = run(&plan, || ());
    assert!(outcome.failures == 0, "{}", outcome.first_failure.unwrap_or_default());
    outcome.bodies
}

/// Waits, but not for a source that has nothing left.
fn wait(time: Duration, source: &Source) {
    let until = Instant::now() + time;
    while Instant::now() < until && !source.is_exhausted() {
        let rest = until.saturating_duration_since(Instant::now());
        std::thread::sleep(rest.min(Duration::from_millis(5)));
    }
}

impl Outcome {
    fn take(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.bodies.extend(other.bodies);
    }

    fn failed(&mut self, why: impl FnOnce() -> String) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(why);
    }
}

/// When the requests of one thread are due.
struct Pace {
    gap: Duration,
    next: Instant,
    /// Connections without a request under way, by their places.
    idle: Vec<usize>,
}

impl Pace {
    fn new(a_second: u32, threads: usize) -> Self {
        let gap = Duration::from_secs(1) * threads as u32 / a_second;
        Self { gap, next: Instant::now(), idle: Vec::new() }
    }

    /// When the next request was due, if it was.
    fn take(&mut self) -> Option<Instant> {
        let due = self.next;
        (due <= Instant::now()).then(|| {
            self.next += self.gap;
            due
        })
    }
}

/// One connection.
struct Connection {
    stream: TcpStream,
    /// Its number among those of all threads.
    number: usize,
    /// Its place among those of its thread.
    place: usize,
    /// How many requests it has sent.
    count: u32,
    /// When the request under way was sent, or was to be.
    sent: Option<Instant>,
    /// What has come of its answer, if that came in pieces.
    read: Vec<u8>,
}

/// One thread of the generator with its connections.
struct Thread<'a> {
    plan: &'a Plan<'a>,
    phase: &'a AtomicU8,
    outcome: Outcome,
    under_way: usize,
    ended: AtomicBool,
    pace: Option<Pace>,
}

impl<'a> Thread<'a> {
    fn new(plan: &'a Plan<'a>, phase: &'a AtomicU8, threads: usize) -> Self {
        let ended = AtomicBool::new(false);
        let pace = plan.pace.map(|pace| Pace::new(pace, threads));
        Self { plan, phase, outcome: Outcome::default(), under_way: 0, ended, pace }
    }

    fn run(mut self, first: usize, connections: usize) -> Outcome {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut open = Vec::new();
        for place in 0..connections {
            let stream = TcpStream::connect(self.plan.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).unwrap();
            let number = first + place;
            open.push(Connection { stream, number, place, count: 0, sent: None, read: Vec::new() });
        }
        for connection in &mut open {
            self.send(connection);
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut events = Vec::with_capacity(connections);
        let mut deadline = None;
        while self.under_way > 0 || (self.pace.is_some() && !self.is_ending()) {
            if connections >= MANY && self.pace.is_none() {
                std::thread::sleep(GLANCE);
            }
            let rest = self.rest();
            let waited = epoll::wait(&epoll, spare_capacity(&mut events), Some(&rest));
            assert!(waited.is_ok() || waited == Err(rustix::io::Errno::INTR), "{waited:?}");
            for event in events.drain(..) {
                let event: epoll::Event = event;
                self.receive(&mut open[event.data.u64() as usize], &mut buffer);
            }
            for place in
                self.pace.as_mut().map(|pace| mem::take(&mut pace.idle)).unwrap_or_default()
            {
                self.send(&mut open[place]);
            }
            if self.is_ending() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                if Instant::now() > deadline {
                    self.outcome.failed(|| "no answer within 10 s".to_owned());
                    break;
                }
            }
        }
        self.outcome
    }

    /// How long to wait for answers before looking at the time again.
    fn rest(&self) -> Timespec {
        let tick = Duration::from_millis(50);
        let due = self.pace.as_ref().filter(|pace| !pace.idle.is_empty());
        let rest = due.map_or(tick, |pace| pace.next.saturating_duration_since(Instant::now()));
        Timespec { tv_sec: 0, tv_nsec: rest.min(tick).subsec_nanos().into() }
    }

    fn is_ending(&self) -> bool {
        self.phase.load(Relaxed) == STOPPING || self.ended.load(Relaxed)
    }

    fn send(&mut self, connection: &mut Connection) {
        connection.sent = None;
        if self.phase.load(Relaxed) == STOPPING {
            return;
        }
        let due = match &mut self.pace {
            None => Instant::now(),
            Some(pace) => match pace.take() {
                Some(due) => due,
                None => return pace.idle.push(connection.place),
            },
        };
        let Some(request) = self.plan.source.next(connection.number, connection.count) else {
            self.ended.store(true, Relaxed);
            return;
        };
        connection.count += 1;
        connection.sent = Some(due);
        // Nothing else is under way on this connection, so a request always fits its buffer.
        match connection.stream.write(&request) {
            Ok(written) if written == request.len() => self.under_way += 1,
            other => self.outcome.failed(|| format!("a request could not be sent: {other:?}")),
        }
    }

    fn receive(&mut self, connection: &mut Connection, buffer: &mut [u8]) {
        let length = match connection.stream.read(buffer) {
            Ok(0) => return self.lost(connection, "the server closed the connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return self.lost(connection, &error.to_string()),
        };
        if connection.read.is_empty()
            && let Some(answer) = Answer::parse(&buffer[..length])
        {
            self.answered(connection, &answer);
            return self.send(connection);
        }
        connection.read.extend_from_slice(&buffer[..length]);
        let read = mem::take(&mut connection.read);
        match Answer::parse(&read) {
            Some(answer) => {
                self.answered(connection, &answer);
                self.send(connection);
            }
            None => connection.read = read,
        }
    }

    fn answered(&mut self, connection: &Connection, answer: &Answer) {
        self.under_way -= 1;
        let latency = connection.sent.map_or(Duration::ZERO, |sent| sent.elapsed());
        if self.phase.load(Relaxed) == MEASURING {
            self.outcome.latencies.add(latency);
        }
        if !answer.success {
            self.outcome.failed(|| String::from_utf8_lossy(answer.whole).into_owned());
        } else if self.plan.keep {
            self.outcome.bodies.push(answer.body.to_vec());
        }
    }

    fn lost(&mut self, connection: &mut Connection, why: &str) {
        if connection.sent.take().is_some() {
            self.under_way -= 1;
            self.outcome.failed(|| why.to_owned());
        }
        let _ = connection.stream.shutdown(std::net::Shutdown::Both);
    }
}
