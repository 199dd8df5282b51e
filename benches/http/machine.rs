//! What /proc knows: CPU time and memory of a process, and of the machine as a whole.

use std::fs::read_to_string;
use std::sync::OnceLock;

/// CPU seconds since some beginning.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// What the measured server took.
    pub server: f64,
    /// What the load generator took: this process.
    pub generator: f64,
    /// What the database of this run took.
    pub database: f64,
    /// What everything on this machine took, and what its hypervisor gave to others.
    pub busy: f64,
}

impl Cpu {
    /// Reads the counters now.
    pub fn now(server: u32, postmaster: u32) -> Self {
        Self {
            server: process(server),
            generator: process(std::process::id()),
            database: family(postmaster),
            busy: busy(),
        }
    }

    /// What was taken since an earlier reading.
    pub fn since(self, before: Self) -> Self {
        Self {
            server: self.server - before.server,
            generator: self.generator - before.generator,
            database: self.database - before.database,
            busy: self.busy - before.busy,
        }
    }

    /// The share of the whole machine that went to nobody of ours, over so many seconds.
    pub fn foreign(self, seconds: f64) -> f64 {
        let foreign = self.busy - self.server - self.generator - self.database;
        (foreign / (seconds * cores() as f64)).max(0.0)
    }
}

/// How many CPUs there are for us.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What kind of CPU this is.
pub fn cpu_name() -> String {
    let text = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown CPU").trim().to_owned()
}

/// A process's memory in megabytes by its name in /proc/PID/status: `VmRSS` or `VmHWM`.
pub fn memory(pid: u32, name: &str) -> f64 {
    let text = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    fields(pid)?.get(1)?.parse().ok()
}

/// The fields of /proc/PID/stat from the state on. The name before them may hold spaces.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String], which: &[usize]) -> f64 {
    let number = |field: &usize| fields.get(*field).and_then(|text| text.parse::<f64>().ok());
    which.iter().filter_map(number).sum::<f64>() / ticks_per_second()
}

fn process(pid: u32) -> f64 {
    fields(pid).map_or(0.0, |fields| ticks(&fields, &[11, 12]))
}

/// A process with all that its children took, those that ended and those that still run.
fn family(pid: u32) -> f64 {
    let own = fields(pid).map_or(0.0, |fields| ticks(&fields, &[11, 12, 13, 14]));
    let children = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    own + children.map(process).sum::<f64>()
}

fn busy() -> f64 {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    // user, nice, system, irq, softirq, steal: all but idle and waiting for a disk.
    ticks(&fields, &[1, 2, 3, 6, 7, 8])
}

fn ticks_per_second() -> f64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(rustix::param::clock_ticks_per_second) as f64
}
