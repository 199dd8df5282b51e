//! Tests that are called by their names elsewhere are there: a proof that nobody runs proves nothing, and
//! neither does a filter that finds nothing.

use std::path::Path;

/// The names among these words, each of which must be the beginning of a test's; returns how many.
fn all_exist<'a>(words: impl Iterator<Item = &'a str>) -> usize {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut seen = 0;
    for name in words {
        let Some((module, rest)) = name.split_once("::") else { continue };
        if module == "failures" {
            let file = tests.join(format!("failures/{rest}.rs"));
            assert!(rest.is_empty() || file.exists(), "{name}");
        } else {
            let text = std::fs::read_to_string(tests.join(format!("{module}.rs")));
            let text = text.unwrap_or_else(|_| panic!("there is no file for {name}"));
            assert!(rest.is_empty() || text.contains(&format!("fn {rest}")), "{name}");
        }
        seen += 1;
    }
    seen
}

#[test]
fn every_test_that_the_document_of_testing_names_exists() {
    let text = include_str!("../../docs/testing.md");
    assert!(all_exist(text.split('`').skip(1).step_by(2)) > 50);
}

#[test]
fn every_test_that_is_to_run_in_other_surroundings_exists() {
    let makefile = include_str!("../../Makefile");
    let (_, rest) = makefile.split_once("\nSURROUNDED =").unwrap();
    let list = rest.split("\n\n").next().unwrap();
    assert!(all_exist(list.split_whitespace()) > 10);
}
