//! What a look at something found: one line for each check.

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and somebody should know.
    Warning,
    /// It could not be checked.
    Unknown,
    /// It is wrong.
    Bad,
}

impl Verdict {
    /// Its sign at the beginning of the line.
    pub const fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Warning => '!',
            Self::Unknown => '?',
            Self::Bad => '✗',
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, what: impl Into<String>) -> Self {
        Self { check, verdict, what: what.into(), remedy: None }
    }

    /// All is well.
    pub fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, what)
    }

    /// It works, and somebody should know.
    pub fn warning(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, what)
    }

    /// It could not be checked, and why.
    pub fn unknown(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, why)
    }

    /// It is wrong.
    pub fn bad(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Bad, what)
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// How many checks found something wrong.
pub fn failed(findings: &[Finding]) -> usize {
    findings.iter().filter(|one| one.verdict == Verdict::Bad).count()
}
