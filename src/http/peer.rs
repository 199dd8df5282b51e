//! Who calls: the other end of the connection, or who that end says it speaks for, if it is a proxy
//! that the settings list.
//!
//! Everything in these headers was written by somebody. Each proxy adds at the right end the address
//! that it saw, so from the right every entry was written by a proxy of ours, up to the first address
//! that is none of ours: that is the caller, and what stands left of it is the caller's own tale.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};
use actix_web::{HttpMessage, HttpRequest};
use ipnet::IpNet;

use super::Shared;
use super::forwarded::{forwarded, from_the_right, node};
use crate::domain::{Endpoint, Network, Refusal};
use crate::issue::Caller;

/// The proxies whose word counts.
#[derive(Debug, Default)]
pub struct Proxies {
    listed: Vec<IpNet>,
    /// Whether it was said that one seems to be missing.
    said: AtomicBool,
}

/// Lets a caller in at an endpoint that clients authenticate at, or refuses it because its network
/// has called too often. It comes before the body is read, and there is no other way to a [`Caller`].
pub(super) fn admit(
    request: &HttpRequest,
    shared: &Shared,
    endpoint: Endpoint,
) -> Result<Caller, Refusal> {
    let network = shared.proxies.caller(request);
    request.extensions_mut().insert(network);
    // Every request passes `observe`, which names it.
    let request_id = request.extensions().get().copied().unwrap_or_default();
    shared.service.limits.request(network, endpoint)?;
    Ok(Caller { network, endpoint, request_id })
}

impl Proxies {
    /// These proxies.
    pub fn new(listed: Vec<IpNet>) -> Self {
        Self { listed, said: AtomicBool::new(false) }
    }

    /// Whether secrets may come from there in the clear: from this machine, or from a proxy of ours.
    pub(super) fn may_be_plain(&self, peer: Option<SocketAddr>) -> bool {
        let peer = peer.map(|peer| peer.ip().to_canonical());
        peer.is_some_and(|peer| peer.is_loopback() || self.lists(peer))
    }

    /// The network of whoever calls.
    pub(super) fn caller(&self, request: &HttpRequest) -> Network {
        let peer = request.peer_addr();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
        network(self.find(peer.to_canonical(), request.headers()))
    }

    fn find(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let says = |name: HeaderName| headers.contains_key(name);
        if !self.lists(peer) {
            // Whoever it is may write what it likes. But if it is a proxy that the operator forgot,
            // all callers behind it share one budget, and one of them can spend it for all.
            if (says(FORWARDED) || says(X_FORWARDED_FOR))
                && !self.said.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    peer = %network(peer),
                    "a request says that it was forwarded, but server.trusted_proxies does not list \
                     where it came from; if that is a proxy of yours, list it, or all its callers \
                     share one budget of failed authentications"
                );
            }
            return peer;
        }
        match (says(FORWARDED), says(X_FORWARDED_FOR)) {
            (false, false) => peer,
            (true, false) => self.walk(peer, headers, &FORWARDED, forwarded),
            (false, true) => self.walk(peer, headers, &X_FORWARDED_FOR, node),
            // A proxy that writes only one of them hands on the other as its caller wrote it, and we
            // cannot know which. What both say is true; if they differ, one of them was made up.
            (true, true) => {
                let one = self.walk(peer, headers, &FORWARDED, forwarded);
                let other = self.walk(peer, headers, &X_FORWARDED_FOR, node);
                if one == other { one } else { peer }
            }
        }
    }

    /// Walks a header's lines, which are one list, from the right. Whatever cannot be understood ends
    /// the walk at the last proxy that is listed, the empty entry too: some proxy did not know who
    /// called it, and who that was wrote the rest.
    fn walk(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        read: fn(&str) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut hop = peer;
        let lines: Vec<_> = headers.get_all(name).collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else { return hop };
            for entry in from_the_right(line, ',') {
                let Some(address) = read(entry.trim_matches([' ', '\t'])) else { return hop };
                hop = address.to_canonical();
                if !self.lists(hop) {
                    return hop;
                }
            }
        }
        hop
    }

    fn lists(&self, address: IpAddr) -> bool {
        self.listed.iter().any(|network| network.contains(&address))
    }
}

fn network(address: IpAddr) -> Network {
    match address {
        IpAddr::V4(address) => Network::V4(address.octets()),
        IpAddr::V6(address) => Network::v6(address.segments()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    const PROXY: &str = "10.0.0.1";

    /// Who calls, behind the listed proxies 10.0.0.0/8 and 2001:db8:ff::/48.
    fn caller(peer: &str, lines: &[(&str, &str)]) -> String {
        let listed = ["10.0.0.0/8", "2001:db8:ff::/48"].map(|network| network.parse().unwrap());
        let proxies = Proxies::new(listed.to_vec());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = peer.parse::<IpAddr>().unwrap();
        proxies.find(peer.to_canonical(), &headers).to_string()
    }

    #[test]
    fn plain_http_may_come_from_this_machine_and_from_listed_proxies_alone() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let may =
            |peer: &str| proxies.may_be_plain(Some(SocketAddr::new(peer.parse().unwrap(), 1)));
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            assert!(may(peer), "{peer}");
        }
        assert!(may("::ffff:10.1.2.3"), "a listener on both families sees it so");
        for peer in ["11.0.0.1", "192.168.0.1", "0.0.0.0", "::", "fe80::1", "::ffff:8.8.8.8"] {
            assert!(!may(peer), "{peer}");
        }
        assert!(!proxies.may_be_plain(None));
    }

    fn xff(value: &str) -> String {
        caller(PROXY, &[("x-forwarded-for", value)])
    }

    fn rfc(value: &str) -> String {
        caller(PROXY, &[("forwarded", value)])
    }

    #[test]
    fn a_stranger_says_what_it_likes_and_changes_nothing() {
        let lines = [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(caller("203.0.113.9", &lines), "203.0.113.9");
        assert_eq!(caller("2001:db8:aa::1", &lines), "2001:db8:aa::1");
    }

    #[test]
    fn the_first_address_from_the_right_that_is_no_proxy_of_ours_is_the_caller() {
        assert_eq!(xff("192.0.2.1"), "192.0.2.1");
        assert_eq!(xff("198.51.100.1, 192.0.2.1"), "192.0.2.1");
        assert_eq!(xff("198.51.100.1,192.0.2.1 , 10.1.1.1,\t10.2.2.2"), "192.0.2.1");
        assert_eq!(xff("10.3.3.3, 10.2.2.2"), "10.3.3.3", "who calls is one of ours");
        assert_eq!(rfc("for=198.51.100.1, for=192.0.2.1;by=10.0.0.1;proto=https"), "192.0.2.1");
        let hop = "By=_x;FOR=\"[2001:db8:ff::1]:_p1\"";
        assert_eq!(rfc(&format!("for=unknown, for=192.0.2.1:4711,{hop}")), "192.0.2.1");
        // A listener on both families sees an IPv4 proxy so.
        let mapped = caller("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:192.0.2.1")]);
        assert_eq!(mapped, "192.0.2.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines =
            [("x-forwarded-for", "192.0.2.1, 198.51.100.1"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(caller(PROXY, &lines), "198.51.100.1");
        let lines = [("forwarded", "for=\"198.51.100.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(caller(PROXY, &lines), "192.0.2.1");
    }

    #[test]
    fn what_cannot_be_understood_ends_the_walk_at_the_last_listed_proxy() {
        for bad in [
            "",
            " ",
            "unknown",
            "_hidden",
            "localhost",
            "192.0.2",
            "192.0.2.1.1",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:123456",
            "192.0.2.1/24",
            "192.0.2.1 x",
            "::1%lo",
            "[::1",
            "[::1]x",
            "[192.0.2.1]",
            "0x7f.1",
            "2130706433",
            "\"192.0.2.1\"",
        ] {
            assert_eq!(xff(bad), PROXY, "{bad:?}");
            assert_eq!(xff(&format!("192.0.2.7, {bad}, 10.2.2.2")), "10.2.2.2", "{bad:?}");
        }
        for bad in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_x",
            "by=192.0.2.1",
            "for=192.0.2.1;for=10.1.1.1",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=192.0.2.1;",
            "for=192.0.2.1;x",
            "for=\"192.0.2.1\\\"\"",
            "192.0.2.1",
            "for = 192.0.2.1",
            "for=192.0.2.1;x=\"",
            "host=\"x;for=192.0.2.1;y\"",
            "host=\"x;for=192.0.2.1;y\"",
        ] {
            assert_eq!(rfc(bad), PROXY, "{bad:?}");
            let walked = rfc(&format!("for=192.0.2.7, {bad}, for=10.2.2.2"));
            assert!(walked == "10.2.2.2", "{bad:?}: {walked}");
        }
        assert_eq!(caller(PROXY, &[("x-forwarded-for", "192.0.2.1, \u{e9}")]), PROXY);
    }

    #[test]
    fn two_headers_that_differ_are_not_believed() {
        let both = |one, other| caller(PROXY, &[("forwarded", one), ("x-forwarded-for", other)]);
        assert_eq!(both("for=192.0.2.1", "198.51.100.7, 192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=192.0.2.1", "192.0.2.2"), PROXY);
        assert_eq!(both("garbage", "192.0.2.2"), PROXY);
    }

    proptest! {
        #[test]
        fn whatever_a_caller_writes_what_our_proxy_adds_decides(
            tale in "[ -~\t]{0,60}",
            kind in 0..4usize,
        ) {
            let (name, added, found) = [
                ("x-forwarded-for", "192.0.2.1", "192.0.2.1"),
                ("x-forwarded-for", "2001:db8::1", "2001:db8::1"),
                ("forwarded", "for=192.0.2.1;proto=https", "192.0.2.1"),
                ("forwarded", "by=_gw;for=\"[2001:db8::1]:99\"", "2001:db8::1"),
            ][kind];
            let appended = format!("{tale}, {added}");
            prop_assert_eq!(caller(PROXY, &[(name, appended.as_str())]), found);
            prop_assert_eq!(caller(PROXY, &[(name, tale.as_str()), (name, added)]), found);
        }
    }
}
