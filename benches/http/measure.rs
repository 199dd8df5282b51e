//! Takes turns between the subjects of a case: A, B, B, A, …, so that whatever else the machine does
//! in these minutes falls on all of them, and a machine that becomes faster or slower on none.

use std::net::SocketAddr;

use crate::args::Args;
use crate::load::{self, Plan, Source};
use crate::machine::{self, Cpu};

/// Above this share of the machine for others, a measurement is not to be believed.
const DISTURBED: f64 = 0.10;

/// So often a disturbed measurement is repeated.
const REPEATS: usize = 3;

/// Something that answers the requests of a case.
pub struct Subject<'a> {
    /// What it is called in the table.
    pub label: &'static str,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Makes the requests for a measurement that takes so many seconds at most.
    pub requests: Box<dyn Fn(usize) -> Source + 'a>,
}

/// The figures of one measurement, or the medians of several.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Figures {
    /// Requests answered in a second.
    pub rate: f64,
    /// Half of them took less, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took less.
    pub p99_ms: f64,
    /// Microseconds of CPU time that the server took for each.
    pub cpu_us: f64,
    /// The server's memory afterwards, in megabytes.
    pub rss_mb: f64,
    /// The share of the machine that others took meanwhile.
    pub others: f64,
}

impl Figures {
    fn is_calm(&self) -> bool {
        self.others <= DISTURBED
    }
}

/// What was measured of one subject, round by round.
pub struct Measured {
    /// Whose figures these are.
    pub label: &'static str,
    /// One for each round.
    pub rounds: Vec<Figures>,
}

impl Measured {
    /// The median of each figure over the calm rounds, or over all if there were none.
    pub fn median(&self) -> Figures {
        let calm = |round: &&Figures| self.is_disturbed() || round.is_calm();
        let rounds: Vec<_> = self.rounds.iter().filter(calm).collect();
        let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(|round| figure(round)));
        Figures {
            rate: of(|f| f.rate),
            p50_ms: of(|f| f.p50_ms),
            p99_ms: of(|f| f.p99_ms),
            cpu_us: of(|f| f.cpu_us),
            rss_mb: of(|f| f.rss_mb),
            others: of(|f| f.others),
        }
    }

    /// Whether somebody else took too much of the machine in every round.
    pub fn is_disturbed(&self) -> bool {
        !self.rounds.iter().any(Figures::is_calm)
    }

    /// The share of another's rate that was reached: the median of the rounds' own shares, since a
    /// minute later the machine may be another.
    pub fn share_of(&self, other: &Measured) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        let calm = rounds.clone().filter(|(one, other)| one.is_calm() && other.is_calm());
        let share = |(one, other): (&Figures, &Figures)| one.rate / other.rate;
        if calm.clone().next().is_some() {
            return median(calm.map(share));
        }
        median(rounds.map(share))
    }
}

/// The median of some numbers.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) }
}

/// Measures each subject once in each round.
pub fn measure(case: &str, subjects: &[Subject], args: &Args, postmaster: u32) -> Vec<Measured> {
    let new = |subject: &Subject| Measured { label: subject.label, rounds: Vec::new() };
    let mut all: Vec<_> = subjects.iter().map(new).collect();
    for round in 1..=args.rounds {
        let mut turns: Vec<_> = subjects.iter().zip(&mut all).collect();
        if round % 2 == 0 {
            turns.reverse();
        }
        for (subject, measured) in turns {
            eprint!("{case}, {}, round {round} of {}: ", subject.label, args.rounds);
            measured.rounds.push(turn(subject, args, postmaster));
        }
    }
    all
}

/// One subject's turn: the least disturbed of a few measurements, if the first was disturbed.
fn turn(subject: &Subject, args: &Args, postmaster: u32) -> Figures {
    let mut best: Option<Figures> = None;
    for _ in 0..=REPEATS {
        let figures = once(subject, args, postmaster);
        eprint!("{:.0}/s, others {:.0} %; ", figures.rate, figures.others * 100.0);
        if best.is_none_or(|best| figures.others < best.others) {
            best = Some(figures);
        }
        if figures.is_calm() {
            break;
        }
    }
    eprintln!();
    best.unwrap()
}

fn once(subject: &Subject, args: &Args, postmaster: u32) -> Figures {
    let Args { connections, warm, measure, .. } = *args;
    let seconds = (warm + measure).as_secs_f64();
    let source = (subject.requests)(seconds.ceil() as usize);
    let plan = Plan {
        address: subject.address,
        source: &source,
        connections,
        warm,
        measure,
        keep: false,
        pace: None,
    };
    let (outcome, before, after) = load::run(&plan, || Cpu::now(subject.pid, postmaster));
    if let Some(why) = outcome.first_failure {
        panic!("{}: {} requests failed, the first so:\n{why}", subject.label, outcome.failures);
    }
    let cpu = after.since(before);
    let count = outcome.latencies.count() as f64;
    Figures {
        rate: count / outcome.seconds,
        p50_ms: outcome.latencies.quantile(0.5),
        p99_ms: outcome.latencies.quantile(0.99),
        cpu_us: cpu.server * 1e6 / count,
        rss_mb: machine::memory(subject.pid, "VmRSS"),
        others: cpu.foreign(outcome.seconds),
    }
}
