//! What proxies write about their callers: `Forwarded` (RFC 7239) and `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr};

/// The parts of a text from the right, split where no quotes are open. Reading from the right, a quote
/// that a caller opened and never closed cannot swallow what our proxy added.
pub(super) fn from_the_right(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.rsplit(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

/// The address in an entry of `Forwarded` (RFC 7239 §4): of its parameters, the one `for`.
pub(super) fn forwarded(entry: &str) -> Option<IpAddr> {
    // With an escaped quote in it, the quotes that we counted were not the quotes that were meant.
    if entry.contains('\\') || entry.matches('"').count() % 2 == 1 {
        return None;
    }
    let mut found = None;
    for parameter in from_the_right(entry, ';') {
        let (name, value) = parameter.trim_matches([' ', '\t']).split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(quoted) => node(quoted.strip_suffix('"')?),
        // Brackets and colons ought to be quoted; there is only one thing that they can mean.
        None => node(value),
    }
}

/// An address, with or without a port (RFC 7239 §6): `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`. `None` for `unknown`, `_hidden` and everything else.
pub(super) fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let sound = port.is_empty() || is_port(port.strip_prefix(':')?);
        return address.parse::<Ipv6Addr>().ok().filter(|_| sound).map(IpAddr::V6);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    let address = address.parse().ok().map(IpAddr::V4);
    address.filter(|_| is_port(port))
}

/// A number, or a name that hides one.
fn is_port(text: &str) -> bool {
    let hidden = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let number = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    number || text.strip_prefix('_').is_some_and(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_read_back_in_every_way_of_writing_it(bits: u128, four: u32, port: u16) {
            let v6 = Ipv6Addr::from(bits);
            let v4 = std::net::Ipv4Addr::from(four);
            for text in [format!("{v6}"), format!("[{v6}]"), format!("[{v6}]:{port}")] {
                prop_assert_eq!(node(&text), Some(IpAddr::V6(v6)));
                prop_assert_eq!(forwarded(&format!("For=\"{text}\"")), Some(IpAddr::V6(v6)));
            }
            for text in [format!("{v4}"), format!("{v4}:{port}"), format!("{v4}:_a-{port}")] {
                prop_assert_eq!(node(&text), Some(IpAddr::V4(v4)));
            }
        }
    }
}
