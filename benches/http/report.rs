//! What was found: a table for people, JSON for programs.

use std::path::Path;

use serde_json::{Value, json};

use crate::args::Args;
use crate::machine;
use crate::measure::Measured;

/// The share of a bare handler's rate that a path shall reach.
pub struct Goal {
    /// The bare handler.
    pub of: &'static str,
    /// The share.
    pub share: f64,
}

/// What a single value shall be.
#[derive(Clone, Copy)]
pub enum Bound {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

impl Bound {
    const fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// How the table puts it.
    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most:.0} {unit}"),
            Self::AtLeast(least) => format!("at least {least:.0} {unit}"),
        }
    }
}

/// Collects the rows.
pub struct Report {
    lines: Vec<String>,
    json: Vec<Value>,
    notes: Vec<String>,
    heading: String,
}

impl Report {
    /// An empty report about this machine and this run.
    pub fn new(args: &Args) -> Self {
        let heading = format!(
            "{} with {} cores, {} connections, {} rounds of {:.1} s",
            machine::cpu_name(),
            machine::cores(),
            args.connections,
            args.rounds,
            args.measure.as_secs_f64()
        );
        Self { lines: Vec::new(), json: Vec::new(), notes: Vec::new(), heading }
    }

    /// Adds a case: the measured server first, then the bare handlers.
    pub fn add(&mut self, case: &str, measured: &[Measured], goals: &[Goal]) {
        for (number, one) in measured.iter().enumerate() {
            let figures = one.median();
            let name =
                if number == 0 { case.to_owned() } else { format!("  beside {}", one.label) };
            let share = (number > 0).then(|| measured[0].share_of(one));
            let goal = goals.iter().find(|goal| number > 0 && goal.of == one.label);
            let verdict = share.map_or_else(String::new, |share| verdict(share, goal));
            self.lines.push(format!(
                "{name:<28}{:>10.0}{:>9.2}{:>9.2}{:>9.1}{:>8.1}{:>8.0} %  {verdict}{}",
                figures.rate,
                figures.p50_ms,
                figures.p99_ms,
                figures.cpu_us,
                figures.rss_mb,
                figures.others * 100.0,
                if one.is_disturbed() { "  disturbed" } else { "" },
            ));
            self.json.push(json!({
                "case": case,
                "subject": one.label,
                "figures": figures,
                "rounds": one.rounds,
                "disturbed": one.is_disturbed(),
                "jeton_reaches": share,
                "goal": goal.map(|goal| goal.share),
            }));
        }
    }

    /// Adds a single value: a time, a size, a plain rate; and what it shall be, if that was said.
    pub fn value(&mut self, case: &str, value: f64, unit: &str, goal: Option<Bound>) {
        let verdict = goal.map_or_else(String::new, |goal| {
            let met = if goal.is_met_by(value) { "met" } else { "NOT met" };
            format!("goal: {}, {met}", goal.text(unit))
        });
        let shown = format!("{value:.1} {unit}");
        eprintln!("{case}: {shown}");
        let line = format!("{case:<40}{shown:>16}  {verdict}");
        self.lines.push(line.trim_end().to_owned());
        let (most, least) = match goal {
            Some(Bound::AtMost(most)) => (Some(most), None),
            Some(Bound::AtLeast(least)) => (None, Some(least)),
            None => (None, None),
        };
        self.json.push(json!({
            "case": case, "value": value, "unit": unit, "at_most": most, "at_least": least,
        }));
    }

    /// Says that a case was not run, and why.
    pub fn skip(&mut self, case: &str, why: &str) {
        eprintln!("{case}: skipped, {why}");
        self.notes.push(format!("{case} was skipped: {why}."));
    }

    /// Prints the table and writes the JSON.
    pub fn finish(self) {
        println!("\n{}\n", self.heading);
        println!(
            "{:<28}{:>10}{:>9}{:>9}{:>9}{:>8}{:>10}  jeton's share of its ceiling",
            "", "req/s", "p50 ms", "p99 ms", "CPU us", "RSS MB", "others"
        );
        for line in self.lines.iter().chain(&self.notes) {
            println!("{line}");
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let whole = json!({ "machine": self.heading, "rows": self.json, "notes": self.notes });
        std::fs::write(&file, format!("{whole:#}\n")).unwrap();
        println!("\nThe same as JSON: {}", file.display());
    }
}

fn verdict(share: f64, goal: Option<&Goal>) -> String {
    let percent = format!("{:>4.0} %", share * 100.0);
    goal.map_or(percent.clone(), |goal| {
        let met = if share >= goal.share { "met" } else { "NOT met" };
        format!("{percent} (goal {:.0} %, {met})", goal.share * 100.0)
    })
}
