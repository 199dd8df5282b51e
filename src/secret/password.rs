//! People's passwords, in the clear only while a request or a command is being served. What is
//! stored is made by `hashing`.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::domain::Invalid;

/// Digits and letters that nobody takes for one another: 32 of them, so each has five bits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A person's password.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Fewest characters of a password that somebody chose.
    pub const MIN: usize = 12;
    /// Most bytes of any password.
    pub const MAX: usize = 256;
    /// So many groups of five characters has a generated one: 125 bits.
    const GROUPS: usize = 5;

    /// A new password with 125 random bits, in groups that can be read out.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0u8; Self::GROUPS * 5]);
        rand::fill(&mut bytes[..]);
        // Its final length, so that it never moves and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(Self::GROUPS * 6));
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && at % 5 == 0 {
                text.push('-');
            }
            let letter = ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'0');
            text.push(char::from(letter));
        }
        Self(text)
    }

    /// Accepts a chosen password: any characters but controls, byte for byte as they were typed.
    pub fn choose(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() < Self::MIN {
            return Err(Invalid("a password has at least 12 characters"));
        }
        if text.len() > Self::MAX {
            return Err(Invalid("a password has at most 256 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid("a password is one line without control characters"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Accepts the one line of a file or of standard input, with or without its end.
    pub fn choose_line(text: &str) -> Result<Self, Invalid> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        Self::choose(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The password itself, to be hashed, or shown once to the person who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A password, or the hash of one, as somebody wrote it down, not looked at yet.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct WrittenPassword(Zeroizing<String>);

impl WrittenPassword {
    /// Takes the text of a file in: one line, with or without its end.
    pub fn line(text: &str) -> Self {
        let line = text.strip_suffix('\n').unwrap_or(text);
        Self(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }

    /// The password, if it may be chosen.
    pub fn choose(&self) -> Result<Password, Invalid> {
        Password::choose(&self.0)
    }

    /// The text, for what it may be besides a password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for WrittenPassword {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for WrittenPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrittenPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_may_be_chosen_and_none_is_like_another() {
        let [one, two] = [Password::generate(), Password::generate()];
        assert!(Password::choose(one.expose()).is_ok());
        assert_eq!(one.expose().len(), 29);
        assert_ne!(one.expose(), two.expose());
        assert_eq!(
            format!("{one:?} {:?}", WrittenPassword::line("x")),
            "Password(…) WrittenPassword(…)"
        );
    }

    #[test]
    fn a_password_is_one_line_of_twelve_characters_and_nothing_is_done_to_it() {
        for fine in [
            "twelve chars",
            " spaces count ",
            "пароль-пароль",
            "\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}\u{1f40e}",
        ] {
            assert_eq!(Password::choose(fine).unwrap().expose(), fine);
            assert_eq!(Password::choose_line(&format!("{fine}\r\n")).unwrap().expose(), fine);
        }
        let long = "x".repeat(257);
        for wrong in ["", "eleven char", "two lines of\ntext", "nul\0in the middle", &long] {
            assert!(Password::choose(wrong).is_err(), "{wrong:?}");
        }
        assert!(Password::choose_line("two lines of text\n\n").is_err());
    }
}
