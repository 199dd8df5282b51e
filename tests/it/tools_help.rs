//! The command line explains itself: every command says what it does and shows how.

use clap::error::ErrorKind;
use clap::{ArgAction, Command};

use crate::support::process::{JETON, jeton};

/// Every command, with the words that call it.
fn every(command: &Command, path: &str, visit: &mut impl FnMut(&Command, &str)) {
    visit(command, path);
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        every(inner, &format!("{path} {}", inner.get_name()), visit);
    }
}

/// The words of a shell's line, up to what is for the shell itself.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ';' | '|' | '<' | '>' | '#') => break,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn built() -> Command {
    let mut command = jeton::cli::command();
    command.build();
    command
}

#[test]
fn every_command_says_what_it_does_and_every_argument_what_it_is() {
    let mut commands = 0;
    every(&built(), "jeton", &mut |command, path| {
        commands += 1;
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() > 10, "{path}: {about:?}");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 5, "{path}: {}: {help:?}", arg.get_id());
        }
    });
    assert!(commands > 25, "{commands}");
}

#[test]
fn every_command_shows_an_example_that_the_parser_accepts() {
    every(&built(), "jeton", &mut |command, path| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> =
            help.lines().filter_map(|line| line.trim().split_once("jeton ")).collect();
        let is_leaf = command.get_subcommands().next().is_none();
        let own = |(_, rest): &&(&str, &str)| format!("jeton {rest}").starts_with(path);
        assert!(!examples.is_empty(), "{path} has no example: {help:?}");
        assert!(!is_leaf || examples.iter().any(|one| own(&one)), "{path}: {help:?}");
        for (_, rest) in examples {
            let words = words(rest);
            let words = words.iter().map(String::as_str);
            let parsed = built().try_get_matches_from(std::iter::once("jeton").chain(words));
            let fine = parsed
                .as_ref()
                .map_or_else(|error| error.kind() == ErrorKind::DisplayHelp, |_| true);
            assert!(fine, "{path}: jeton {rest}: {parsed:?}");
        }
    });
}

#[test]
fn no_secret_and_no_token_is_an_argument() {
    every(&built(), "jeton", &mut |command, path| {
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            let is_secret = ["secret", "password", "token"].iter().any(|one| name.contains(one));
            let is_file =
                name.ends_with("_file") || name.ends_with("_out") || name.ends_with("ttl");
            assert!(!takes || !is_secret || is_file, "{path}: {name}");
        }
    });
}

#[test]
fn completions_know_every_command_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = jeton(&["completions", shell], &[]);
        assert!(done.status.success(), "{shell}: {done:?}");
        let script = String::from_utf8(done.stdout).unwrap();
        for word in ["rotate-secret", "completions", "ready-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(jeton(&["completions", "cmd"], &[]).status.code(), Some(2));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    use std::process::{Command, Stdio};
    for args in [&["completions", "bash"][..], &["config", "show"], &["config", "show", "--json"]] {
        let mut child = Command::new(JETON)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// One kid in 64 begins with a hyphen, as any base64url does; in an emergency that must not matter.
#[test]
fn a_name_that_begins_with_a_hyphen_is_a_name() {
    for line in [
        "keys compromise -5Bab --why leaked",
        "keys compromise --why leaked -5Bab",
        "keys hold -5Bab",
        "keys release --json -5Bab",
        "client show -app",
        "audit list --request -abc",
    ] {
        let words: Vec<_> = ["jeton"].into_iter().chain(line.split(' ')).collect();
        let parsed = built().try_get_matches_from(words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
    assert!(built().try_get_matches_from(["jeton", "keys", "hold", "--nosuch", "x"]).is_err());
}
