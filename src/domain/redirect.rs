//! Redirect URIs: which may be registered, and which request means which registration (RFC 6749
//! §3.1.2, RFC 8252 §7, RFC 9700 §2.1).
//!
//! A code goes wherever the redirect URI says, so this comparison is what stands between a code and
//! a thief. It is one of texts: two programs that each normalise a URI in their own way will one day
//! disagree about where it leads.

use url::Url;

use super::Invalid;

/// Longest redirect URI, in bytes.
const MAX: usize = 2048;

/// What an answer adds to the query (RFC 6749 §4.1.2, RFC 9207 §2).
const ANSWERS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// The hosts on which plain http never leaves the machine, as a URI spells them. `localhost` is a
/// name, and names can be made to lead elsewhere; but half of all development happens there.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Whether a redirect URI may be registered: https anywhere, http on this machine only, and schemes
/// that an app keeps for itself if there is a dot in them, as in a domain name that it owns.
pub fn check(text: &str) -> Result<(), Invalid> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&b);
    if text.len() > MAX || !text.bytes().all(plain) {
        return Err(Invalid("a redirect URI is at most 2048 plain characters without spaces"));
    }
    if text.contains('*') {
        return Err(Invalid("a redirect URI has no wildcard: it is compared byte for byte"));
    }
    let url = Url::parse(text).map_err(|_| Invalid("a redirect URI is an absolute URI"))?;
    if url.fragment().is_some() {
        return Err(Invalid("a redirect URI has no fragment (RFC 6749 §3.1.2)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid("a redirect URI holds no user name and no password"));
    }
    // Which of two a client would read nobody knows; of two `iss`, the one that we did not write.
    if url.query_pairs().any(|(name, _)| ANSWERS.contains(&&*name)) {
        return Err(Invalid(
            "the query of a redirect URI has none of the names that the answer adds: code, state, iss, \
             error, error_description, error_uri (RFC 6749 §3.1)",
        ));
    }
    // Of the text and not of what the parser made of it: the parser mends what browsers mend, and
    // then `https:/a` and `HTTPS://a` would be taken for something that they do not say.
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    match scheme {
        "https" if rest.starts_with("//") && !rest.starts_with("///") => Ok(()),
        "http" if loopback(text).is_some() => Ok(()),
        "http" => Err(Invalid(
            "http is for http://127.0.0.1, http://[::1] and http://localhost only; use https",
        )),
        own if own.contains('.') && own == own.to_ascii_lowercase() => Ok(()),
        _ => Err(Invalid(
            "use https, or a scheme that is a domain name of yours turned round, as in \
             com.example.app:/callback (RFC 8252 §7.1)",
        )),
    }
}

/// Whether a request's redirect URI is a registered one: byte for byte, except that on this machine
/// the port does not count, because a native app listens on whatever port it gets (RFC 8252 §7.3).
pub fn matches(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    let here = loopback(registered);
    here.is_some() && here == loopback(asked)
}

/// The origin of the page that a redirect URI leads to, as [`registered_origin`] spells it; `None` where
/// it leads to an app.
pub fn origin(registered: &str) -> Option<String> {
    let url = Url::parse(registered).ok()?;
    let is_page = matches!(url.scheme(), "http" | "https");
    is_page.then(|| registered_origin(&url.origin().ascii_serialization()).to_owned())
}

/// An origin as a browser sends it, without what does not count in a redirect URI either: the port on
/// this machine.
pub fn registered_origin(origin: &str) -> &str {
    match loopback(origin) {
        Some((host, "")) => origin.get(.."http://".len() + host.len()).unwrap_or(origin),
        _ => origin,
    }
}

/// The host of a URI on this machine, and everything that comes after its port.
fn loopback(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    LOOPBACK.into_iter().find_map(|host| {
        let port = authority.strip_prefix(host)?;
        let sound = match port.strip_prefix(':') {
            Some(digits) => {
                digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse::<u16>().is_ok()
            }
            None => port.is_empty(),
        };
        sound.then_some((host, path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn https_loopback_and_schemes_with_a_dot_may_be_registered() {
        for text in [
            "https://app.example/cb",
            "https://app.example/cb?tenant=1&x=%20",
            "https://app.example:8443",
            "http://127.0.0.1:8765/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:1/",
            "http://localhost:3000/auth/callback",
            "com.example.app:/oauth2redirect",
            "com.example.app://callback",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_may_not_be_registered() {
        for text in [
            "",
            "/cb",
            "cb",
            "https://",
            "https:/app.example/cb",
            "https:///app.example/cb",
            "https:app.example",
            "HTTPS://app.example/cb",
            "https://app.example/cb#",
            "https://app.example/#x",
            "https://app.example/cb?x=1&iss=https://other.example",
            "https://app.example/cb?%73tate=1",
            "com.example.app:/cb?code",
            "https://user@app.example/",
            "https://user:password@app.example/",
            "https://*.app.example/cb",
            "https://app.example/*",
            "https://app.example/a b",
            "https://app.example\\@evil.example/",
            "https://app.example/\u{e9}",
            "https://app.example/\0",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:+1/cb",
            "http://127.1/cb",
            "http://0x7f.1/cb",
            "http://192.168.0.1/cb",
            "http://localhost.evil.example/cb",
            "http://LOCALHOST/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/cb",
            "Com.Example.App:/cb",
            "urn:ietf:wg:oauth:2.0:oob",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
        assert!(check(&format!("https://app.example/{}", "a".repeat(MAX))).is_err());
    }

    #[test]
    fn a_request_means_a_registration_only_if_it_says_the_same() {
        let registered = "https://app.example/cb?a=b";
        assert!(matches(registered, registered));
        for asked in [
            "https://app.example/cb",
            "https://app.example/cb?a=b&c=d",
            "https://app.example/cb?a=b#",
            "https://app.example:443/cb?a=b",
            "https://APP.example/cb?a=b",
            "https://app.example/cb/?a=b",
            "https://app.example/x/../cb?a=b",
            "https://app.example/%63b?a=b",
            "https://user@app.example/cb?a=b",
            "http://app.example/cb?a=b",
        ] {
            assert!(!matches(registered, asked), "{asked}");
        }
    }

    #[test]
    fn on_this_machine_the_port_does_not_count_and_everything_else_does() {
        for host in LOOPBACK {
            let registered = format!("http://{host}:8765/cb");
            for port in ["", ":1", ":8765", ":65535"] {
                assert!(matches(&registered, &format!("http://{host}{port}/cb")), "{host}{port}");
                assert!(matches(&format!("http://{host}{port}/cb"), &registered), "{host}{port}");
            }
            for rest in [":x/cb", ":/cb", ":65536/cb", ":1@evil.example/cb", ".evil.example/cb"] {
                assert!(!matches(&registered, &format!("http://{host}{rest}")), "{host}{rest}");
            }
            for rest in ["/cb/", "/cb?", "/cb#", "/CB", "", "//cb", "/cb?x=y"] {
                assert!(!matches(&registered, &format!("http://{host}:8765{rest}")), "{rest}");
            }
            assert!(!matches(&registered, &format!("https://{host}:8765/cb")));
        }
        assert!(!matches("http://127.0.0.1/cb", "http://[::1]/cb"));
        assert!(!matches("http://127.0.0.1/cb", "http://localhost/cb"));
        assert!(!matches("https://app.example:1/cb", "https://app.example:2/cb"));
    }

    #[test]
    fn the_origin_of_a_redirect_uri_is_the_one_that_its_page_s_browser_sends() {
        for (registered, sent) in [
            ("https://app.example/cb?tenant=1", Some("https://app.example")),
            ("https://app.example:443/cb", Some("https://app.example")),
            ("https://APP.example:8443", Some("https://app.example:8443")),
            ("http://127.0.0.1:8765/cb", Some("http://127.0.0.1")),
            ("http://[::1]/cb", Some("http://[::1]")),
            ("http://localhost:3000/cb", Some("http://localhost")),
            ("com.example.app:/cb", None),
            ("com.example.app://callback", None),
        ] {
            assert_eq!(origin(registered).as_deref(), sent, "{registered}");
        }
        for (sent, registered) in [
            ("http://localhost:5173", "http://localhost"),
            ("http://[::1]:5173", "http://[::1]"),
            ("http://localhost:5173/", "http://localhost:5173/"),
            ("http://localhost:99999", "http://localhost:99999"),
            ("http://localhost.evil.example", "http://localhost.evil.example"),
            ("https://localhost:5173", "https://localhost:5173"),
            ("https://app.example:8443", "https://app.example:8443"),
            ("null", "null"),
            ("", ""),
        ] {
            assert_eq!(registered_origin(sent), registered);
        }
    }

    proptest! {
        #[test]
        fn away_from_this_machine_only_the_same_text_matches(
            path in "[a-z0-9/._~-]{0,20}",
            asked in "https://[ -~]{0,40}",
        ) {
            let registered = format!("https://app.example/{path}");
            prop_assert_eq!(matches(&registered, &asked), registered == asked);
        }

        #[test]
        fn one_character_more_or_other_never_matches(at in 0usize..24, other in "[ -~]") {
            let registered = "http://127.0.0.1:8765/cb";
            let mut asked = registered.to_owned();
            asked.replace_range(at..=at, &other);
            let is_port = (17..21).contains(&at) && other.as_bytes()[0].is_ascii_digit();
            let same = asked == registered;
            prop_assert_eq!(matches(registered, &asked), same || is_port);
        }

        #[test]
        fn whatever_is_asked_nothing_panics(registered in ".{0,60}", asked in ".{0,60}") {
            let _ = (check(&registered), matches(&registered, &asked));
            let _ = (origin(&registered), registered_origin(&asked));
        }
    }
}
