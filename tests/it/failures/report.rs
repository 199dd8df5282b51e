//! What a fault did, counted, and printed as a table.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The count of one fault. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Report(Rc<Counted>);

struct Counted {
    fault: String,
    started: Instant,
    rounds: Cell<usize>,
    outcomes: RefCell<BTreeMap<String, usize>>,
    violations: RefCell<Vec<String>>,
    recoveries: RefCell<Vec<Duration>>,
    /// Since when a fault is over that nobody has got through since.
    over: Cell<Option<Instant>>,
    ended: Cell<bool>,
}

impl Report {
    /// Nothing has happened yet.
    pub fn of(fault: &str) -> Self {
        Self(Rc::new(Counted {
            fault: fault.to_owned(),
            started: Instant::now(),
            rounds: Cell::new(0),
            outcomes: RefCell::default(),
            violations: RefCell::default(),
            recoveries: RefCell::default(),
            over: Cell::new(None),
            ended: Cell::new(false),
        }))
    }

    /// One round more.
    pub fn round(&self) {
        self.0.rounds.set(self.0.rounds.get() + 1);
    }

    /// Something came out.
    pub fn outcome(&self, what: &str) {
        *self.0.outcomes.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    /// Something came out that must never.
    pub fn violation(&self, what: String) {
        self.0.violations.borrow_mut().push(what);
    }

    /// The fault is over: from now on it is counted how long it takes until somebody gets through.
    pub fn fault_is_over(&self) {
        self.0.over.set(Some(Instant::now()));
    }

    /// The fault begins: who gets through now has not recovered from it.
    pub fn fault_begins(&self) {
        self.0.over.set(None);
    }

    /// Somebody who asked at `asked` has got through.
    pub fn got_through(&self, asked: Instant) {
        if let Some(over) = self.0.over.get().filter(|over| asked >= *over) {
            self.0.over.set(None);
            self.0.recoveries.borrow_mut().push(over.elapsed());
        }
    }

    /// How often something came out.
    pub fn count(&self, what: &str) -> usize {
        self.0.outcomes.borrow().get(what).copied().unwrap_or_default()
    }

    /// Prints the table; nothing may have happened that must never.
    #[track_caller]
    pub fn end(self) {
        self.0.ended.set(true);
        self.0.print();
        let violations = self.0.violations.borrow();
        assert!(violations.is_empty(), "{}: {violations:#?}", self.0.fault);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // A test that ends at something else has a table all the same.
        if !self.ended.get() {
            self.violations.borrow_mut().push("the test did not reach its end".to_owned());
            self.print();
        }
    }
}

impl Counted {
    fn table(&self) -> String {
        let mut text = format!("\n{}\n", self.fault);
        let took = self.started.elapsed().as_secs_f64();
        let _ = writeln!(text, "  rounds      {} in {took:.1} s", self.rounds.get());
        for (n, (what, count)) in self.outcomes.borrow().iter().enumerate() {
            let head = if n == 0 { "outcomes" } else { "" };
            let _ = writeln!(text, "  {head:<10}  {count:>7}  {what}");
        }
        let mut times = self.recoveries.borrow().clone();
        times.sort();
        if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
            let (count, median, longest) =
                (times.len(), median.as_secs_f64(), longest.as_secs_f64());
            let _ = writeln!(
                text,
                "  recovered   {count} times: after {median:.2} s (median), {longest:.2} s (longest)"
            );
        }
        let violations = self.violations.borrow();
        let _ = writeln!(text, "  violations  {}", violations.len());
        for violation in violations.iter().take(10) {
            let _ = writeln!(text, "    {violation}");
        }
        text
    }

    /// On the terminal, and for `make faults` in a file, so that all tables stand together at the end.
    fn print(&self) {
        let table = self.table();
        println!("{table}");
        if let Ok(directory) = std::env::var("JETON_FAULT_REPORTS") {
            let name: String =
                self.fault.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
            let _ = std::fs::write(std::path::Path::new(&directory).join(name), table);
        }
    }
}
