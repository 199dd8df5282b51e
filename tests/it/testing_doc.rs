//! `docs/testing.md` tells the truth: every test that it calls a proof is there.

use std::path::Path;

const TEXT: &str = include_str!("../../docs/testing.md");

#[test]
fn every_test_that_the_document_names_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut seen = 0;
    for name in TEXT.split('`').skip(1).step_by(2) {
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
    assert!(seen > 50, "{seen}");
}
