//! The command line: `cargo bench --bench http -- [--quick] [--other JETON] [WORD…]`. A case that takes
//! minutes, `refresh-growth`, runs only if a word is its whole name.

use std::path::PathBuf;
use std::time::Duration;

use crate::cases;

/// What is to be done.
#[derive(Clone)]
pub struct Args {
    /// Cases whose names contain one of these words; all of them if there are none.
    words: Vec<String>,
    /// Only see that everything works: less of everything.
    pub quick: bool,
    /// How long one measurement takes.
    pub measure: Duration,
    /// How long the same load runs before it.
    pub warm: Duration,
    /// How often each subject has its turn.
    pub rounds: usize,
    /// Connections at once, each with one request under way.
    pub connections: usize,
    /// Another build of Jeton, to be measured beside this one.
    pub other: Option<PathBuf>,
    /// Be the ceiling server, with the documents of this directory.
    pub ceiling: Option<PathBuf>,
}

impl Args {
    /// Reads the command line. `None` without `--bench`, which `cargo bench` gives: then somebody
    /// runs all targets as tests, and this is none.
    pub fn read() -> Option<Self> {
        let mut words = Vec::new();
        let (mut quick, mut is_bench, mut other) = (false, false, None);
        let mut all = std::env::args().skip(1);
        while let Some(word) = all.next() {
            match word.as_str() {
                "--bench" => is_bench = true,
                "--quick" => quick = true,
                "--other" => other = all.next().map(PathBuf::from),
                "--ceiling" => {
                    let ceiling = all.next().map(PathBuf::from);
                    return Some(Self { ceiling, ..Self::measuring(Vec::new(), false) });
                }
                flag if flag.starts_with('-') => panic!("unknown option {flag}"),
                _ => words.push(word),
            }
        }
        is_bench.then(|| Self { other, ..Self::measuring(words, quick) })
    }

    fn measuring(words: Vec<String>, quick: bool) -> Self {
        let (measure, warm, rounds) = if quick { (1000, 300, 1) } else { (600, 200, 14) };
        Self {
            words,
            quick,
            measure: Duration::from_millis(measure),
            warm: Duration::from_millis(warm),
            rounds,
            connections: 64,
            other: None,
            ceiling: None,
        }
    }

    /// Whether a case is asked for: by its name, a part of it, or the name of one of its parts. The
    /// name of another case is no part of this one, though it may begin in the same way.
    pub fn wants(&self, case: &str) -> bool {
        let is_another = |word: &str| cases::ALL.iter().any(|(name, _)| *name == word);
        let asks = |word: &String| {
            case.contains(word.as_str()) || (word.contains(case) && !is_another(word))
        };
        self.words.is_empty() || self.words.iter().any(asks)
    }

    /// Whether a case is asked for by its whole name.
    pub fn names(&self, case: &str) -> bool {
        self.words.iter().any(|word| word == case)
    }
}
