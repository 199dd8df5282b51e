//! What must hold between settings. Each message names both numbers that collide.

use std::collections::HashSet;
use std::time::Duration;

use humantime::format_duration;

use super::Settings;
use crate::domain::Issuer;
use crate::domain::family;
use crate::domain::schedule::LEAD_FLOOR;

/// Longest access token that makes sense for a token that cannot be taken back everywhere at once.
const TTL_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Longest time in which a predecessor may be used by whoever holds it.
const WINDOW_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn whole(settings: &Settings, problems: &mut Vec<String>) {
    lengths(settings, problems);
    timing(settings, problems);
    refresh(settings, problems);
    rest(settings, problems);
}

fn show(duration: Duration) -> String {
    format_duration(duration).to_string()
}

fn lengths(settings: &Settings, problems: &mut Vec<String>) {
    let keys = &settings.keys;
    let lengths = [
        ("keys.period", keys.period),
        ("keys.lead", keys.lead),
        ("keys.max_age", keys.max_age),
        ("tokens.access_token_ttl", settings.access_token_ttl),
        ("tokens.access_token_ttl_max", keys.longest_token),
    ];
    for (key, _) in lengths.iter().filter(|(_, length)| *length < Duration::from_secs(1)) {
        problems.push(format!("{key}: it is at least 1s"));
    }
    if settings.access_token_ttl > keys.longest_token {
        problems.push(format!(
            "tokens.access_token_ttl ({}) is longer than tokens.access_token_ttl_max ({})",
            show(settings.access_token_ttl),
            show(keys.longest_token)
        ));
    }
    if keys.longest_token > TTL_LIMIT {
        problems.push(format!(
            "tokens.access_token_ttl_max ({}) is longer than {}: an access token cannot be taken \
             back from verifiers that never ask",
            show(keys.longest_token),
            show(TTL_LIMIT)
        ));
    }
}

/// The inequalities that keep a rotation from breaking a verifier.
fn timing(settings: &Settings, problems: &mut Vec<String>) {
    let keys = &settings.keys;
    if keys.period < keys.lead {
        problems.push(format!(
            "keys.period ({}) is shorter than keys.lead ({}): the next key could not be published \
             long enough before it signs",
            show(keys.period),
            show(keys.lead)
        ));
    }
    if settings.unsafe_timing {
        if !settings.issuer.as_ref().is_none_or(Issuer::is_loopback) {
            problems.push(
                "keys.allow_unsafe_timing: it is for issuers on a loopback host; real verifiers \
                 would reject tokens"
                    .to_owned(),
            );
        }
        return;
    }
    if keys.skew < Duration::from_secs(1) {
        problems
            .push("keys.skew: it is at least 1s: no two clocks agree to the instant".to_owned());
    }
    if keys.lead < LEAD_FLOOR {
        problems.push(format!(
            "keys.lead ({}) is below {}: verifiers that cache or poll the JWKS would meet a key \
             they do not hold and reject its tokens",
            show(keys.lead),
            show(LEAD_FLOOR)
        ));
    }
    if keys.max_age > keys.lead / 4 {
        problems.push(format!(
            "keys.max_age ({}) is more than a quarter of keys.lead ({}): a cached JWKS could \
             outlast the lead of a new key",
            show(keys.max_age),
            show(keys.lead)
        ));
    }
}

fn refresh(settings: &Settings, problems: &mut Vec<String>) {
    let refresh = &settings.refresh;
    if refresh.idle < settings.keys.longest_token {
        problems.push(format!(
            "refresh.idle ({}) is shorter than tokens.access_token_ttl_max ({}): an app that waits \
             for its access token to end would find its sign-in over",
            show(refresh.idle),
            show(settings.keys.longest_token)
        ));
    }
    if refresh.absolute < refresh.idle || refresh.absolute > family::LONGEST {
        problems.push(format!(
            "refresh.absolute ({}) is shorter than refresh.idle ({}) or longer than {}",
            show(refresh.absolute),
            show(refresh.idle),
            show(family::LONGEST)
        ));
    }
    if refresh.window > WINDOW_LIMIT {
        problems.push(format!(
            "refresh.window ({}) is longer than {}: for so long a stolen predecessor would work",
            show(refresh.window),
            show(WINDOW_LIMIT)
        ));
    }
}

fn rest(settings: &Settings, problems: &mut Vec<String>) {
    let floor = Duration::from_secs(3);
    if settings.clients_max_staleness < floor {
        problems.push(format!(
            "clients.max_staleness ({}) is below {}: replicas ask for changes once a second, and \
             one slow answer would refuse every client",
            show(settings.clients_max_staleness),
            show(floor)
        ));
    }
    let (least, bound) = (Duration::from_secs(1), settings.revocation_max_staleness);
    if bound < least || bound > settings.clients_max_staleness {
        problems.push(format!(
            "revocation.max_staleness ({}) is below {} or above clients.max_staleness ({}): replicas \
             ask once a second, and a revoked token must not outlive a revoked client",
            show(bound),
            show(least),
            show(settings.clients_max_staleness)
        ));
    }
    let mut seen = HashSet::new();
    for algorithm in settings.keys.algorithms.iter().filter(|one| !seen.insert(**one)) {
        problems.push(format!("keys.algorithms: {algorithm} occurs twice"));
    }
    listener(settings, problems);
    let server = &settings.server;
    let shortest = Duration::from_secs(1);
    for (key, length) in
        [("server.header_timeout", server.header_timeout), ("server.keep_alive", server.keep_alive)]
    {
        // To the HTTP library zero means "for ever", and its clock moves only twice a second.
        if length < shortest {
            problems.push(format!("{key}: it is at least {}", show(shortest)));
        }
    }
    if server.public == server.operations && server.public.port() != 0 {
        problems.push(format!(
            "server.public and server.operations are both {}: give them two ports",
            server.public
        ));
    }
}

/// Secrets come over TLS, or from a machine that is known to have ended it.
fn listener(settings: &Settings, problems: &mut Vec<String>) {
    let server = &settings.server;
    if server.tls.is_some() {
        if settings.issuer.as_ref().is_some_and(|issuer| !issuer.is_https()) {
            problems.push(
                "issuer: it is http, and with server.tls the listener speaks TLS; write https"
                    .to_owned(),
            );
        }
    } else if !server.public.ip().to_canonical().is_loopback() && server.trusted_proxies.is_empty()
    {
        problems.push(format!(
            "server.public ({}) is reached from elsewhere, and without TLS whoever stands in between \
             reads secrets: set server.tls, or list the proxies that end TLS in \
             server.trusted_proxies; only they and this machine are answered then",
            server.public
        ));
    }
}
