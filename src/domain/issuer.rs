//! The issuer identifier (RFC 8414 §2): the one name under which tokens are signed.

use std::fmt;

use url::{Host, Url};

use super::Invalid;

/// An issuer identifier exactly as configured. Tokens, metadata and every advertised URL are built
/// from it and never from what a request says (`Host`, `Forwarded`), so no caller can bend them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    path: String,
    https: bool,
    loopback: bool,
}

impl Issuer {
    /// Accepts an absolute URL without query, fragment or credentials: `https`, or `http` on a
    /// loopback host (for development and tests).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let url = Url::parse(text).map_err(|_| Invalid("an issuer is an absolute URL"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid("an issuer has neither a query nor a fragment (RFC 8414 §2)"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid("an issuer carries no user name or password"));
        }
        if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') {
            return Err(Invalid(
                "write the issuer in its plain form: lower-case scheme and host, no default port, \
                 nothing escaped",
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !url.path().chars().all(plain) {
            return Err(Invalid("an issuer's path is made of letters, digits and - . _ ~ /"));
        }
        let loopback = is_loopback(&url);
        let https = url.scheme() == "https";
        let plain_loopback = url.scheme() == "http" && loopback;
        if !https && !plain_loopback {
            return Err(Invalid("an issuer is https; http is for loopback hosts only"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { text: text.to_owned(), path, https, loopback })
    }

    /// The identifier, byte for byte: the `iss` of every token.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path without a trailing slash; empty for an issuer at the root of its host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is reached over TLS.
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// Whether its host is this machine only.
    pub const fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Its scheme, host and port: what comes before its path.
    pub fn origin(&self) -> &str {
        let text = self.text.trim_end_matches('/');
        text.strip_suffix(&self.path).unwrap_or(text)
    }

    /// The absolute URL of one of our paths. `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.text.trim_end_matches('/'))
    }
}

/// Whether a URL leads to this machine only: there, and nowhere else, plain http will do.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_kept_byte_for_byte() {
        for text in ["https://id.example", "https://id.example/", "https://id.example/t/1"] {
            assert_eq!(Issuer::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Issuer::parse("https://id.example/t/").unwrap().path(), "/t");
        assert_eq!(Issuer::parse("https://id.example/t/1").unwrap().origin(), "https://id.example");
        assert_eq!(Issuer::parse("https://id.example/").unwrap().origin(), "https://id.example");
        let url = Issuer::parse("https://id.example/").unwrap().url("/oauth2/token");
        assert_eq!(url, "https://id.example/oauth2/token");
    }

    #[test]
    fn what_is_no_issuer_is_refused() {
        for text in [
            "id.example",
            "http://id.example",
            "https://id.example/?a=b",
            "https://id.example/#f",
            "https://u:p@id.example",
            "https://ID.example",
            "https://id.example:443",
            "https://id.example/a b",
            "ftp://localhost",
        ] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
        assert!(Issuer::parse("http://127.0.0.1:8080").unwrap().is_loopback());
        assert!(Issuer::parse("http://[::1]:8080").unwrap().is_loopback());
    }
}
