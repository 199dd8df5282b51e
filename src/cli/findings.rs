//! Findings on the screen: one line each.

use super::table::plain;
use super::{Global, print, print_json};
use crate::error::Exit;
use crate::manage::finding::{self, Finding};

/// Shows every finding; fails if something is wrong.
pub(super) fn show(global: &Global, findings: &[Finding]) -> Result<(), Exit> {
    if global.json {
        print_json(&findings)?;
    } else {
        let width = findings.iter().map(|one| one.check.chars().count()).max().unwrap_or(0);
        let line = |one: &Finding| {
            let remedy = one.remedy.iter().map(|remedy| format!(" → {}", plain(remedy)));
            let remedy: String = remedy.collect();
            let (sign, what) = (one.verdict.sign(), plain(&one.what));
            format!("{sign} {:<width$}  {what}{remedy}", one.check)
        };
        print(findings.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    match finding::failed(findings) {
        0 => Ok(()),
        failed => Err(Exit::Failed(format!("{failed} of {} checks failed", findings.len()))),
    }
}
