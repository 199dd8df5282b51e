//! The certificate of the public listener.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::Subject;
use crate::domain::{Issuer, Time};
use crate::manage::finding::Finding;
use crate::tls;

const CHECK: &str = "certificate";

/// Less than this to the end is a reason to say so: whoever renews certificates by machine has done it
/// by then.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// A listener that speaks plain HTTP has none, and nothing to say.
pub(super) fn check(subject: &Subject<'_>, now: Time) -> Option<Finding> {
    let (certificate, key) = subject.tls?;
    Some(found(certificate, key, subject.issuer.as_ref(), now))
}

fn found(certificate: &Path, key: &Path, issuer: Option<&Issuer>, now: Time) -> Finding {
    let pair = match tls::inspect(certificate, key) {
        Ok(pair) => pair,
        Err(error) => {
            return Finding::bad(CHECK, error.to_string())
                .remedy("see server.tls in config/default.toml");
        }
    };
    let shown = certificate.display();
    let what = format!("{shown} ends {} and is for {}", pair.ends.rfc3339(), pair.names.join(", "));
    if pair.ends <= now {
        return Finding::bad(CHECK, what)
            .remedy("put a new one in its place; no restart is needed");
    }
    let host = issuer.and_then(|issuer| host(issuer.as_str()));
    if let Some(host) = host.filter(|host| !pair.names.iter().any(|name| is_for(name, host))) {
        return Finding::bad(CHECK, format!("{what}, and the issuer is on {host}"))
            .remedy("get one for the issuer's host");
    }
    if pair.ends.since(now) < SOON {
        return Finding::warning(CHECK, what).remedy("renew it soon; no restart is needed");
    }
    Finding::good(CHECK, what)
}

fn host(issuer: &str) -> Option<String> {
    let url = Url::parse(issuer).ok()?;
    Some(url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase())
}

/// Whether a name of a certificate is for a host; a star stands for one label (RFC 6125 §6.4.3).
fn is_for(name: &str, host: &str) -> bool {
    let behind_star = || {
        let (domain, rest) = (name.strip_prefix("*.")?, host.split_once('.')?.1);
        Some(domain.eq_ignore_ascii_case(rest))
    };
    name.eq_ignore_ascii_case(host) || behind_star().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label_and_an_address_for_itself() {
        let issuer = |text| host(text).unwrap();
        assert!(is_for("ID.example.com", &issuer("https://id.example.com/x")));
        assert!(is_for("*.example.com", &issuer("https://id.example.com")));
        assert!(!is_for("*.example.com", &issuer("https://a.id.example.com")));
        assert!(!is_for("*.example.com", &issuer("https://example.com")));
        assert!(!is_for("*", &issuer("https://localhost")));
        assert!(is_for("::1", &issuer("https://[::1]:8443")));
    }
}
