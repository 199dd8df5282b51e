//! Who calls, which endpoint, and which budget of theirs is spent.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a caller stands: an IPv4 address, or the /64 of an IPv6 address. A /64 is what one customer
/// or one machine is given whole, so that whoever counts single addresses counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// One IPv4 address.
    V4([u8; 4]),
    /// The first four groups of an IPv6 address.
    V6([u16; 4]),
}

impl Network {
    /// The network of an IPv6 address; one that stands for an IPv4 address is that address, or a
    /// caller would have two budgets where we listen on both.
    pub const fn v6(groups: [u16; 8]) -> Self {
        match groups {
            [0, 0, 0, 0, 0, 0xFFFF, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Self::V4([a, b, c, d])
            }
            [a, b, c, d, ..] => Self::V6([a, b, c, d]),
        }
    }

    /// The network around it that one provider usually holds: a /16 or a /32. It is what counts when
    /// there is no room to count networks one by one.
    #[must_use]
    pub const fn wide(self) -> Self {
        match self {
            Self::V4([a, b, ..]) => Self::V4([a, b, 0, 0]),
            Self::V6([a, b, ..]) => Self::V6([a, b, 0, 0]),
        }
    }
}

/// For logs and the audit trail: a /24 or a /48. That is enough to see where trouble comes from and
/// to talk to a provider, and it is nobody's address: the whole one would be personal data.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c, _]) => write!(f, "{a}.{b}.{c}.0/24"),
            Self::V6([a, b, c, _]) => write!(f, "{a:x}:{b:x}:{c:x}::/48"),
        }
    }
}

/// The name of a request, under which its log line and its audit rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// A name from chance, which makes it unique.
    pub fn new(chance: [u8; 12]) -> Self {
        let mut name = [0; 16];
        // Twelve bytes are sixteen characters.
        let _ = URL_SAFE_NO_PAD.encode_slice(chance, &mut name);
        Self(name)
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new([0; 12])
    }
}

/// The endpoints that clients, or people, authenticate at. Each has budgets of its own, so that a resource server
/// that introspects much does not keep itself from getting tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/oauth2/token`
    Token,
    /// `/oauth2/introspect`
    Introspect,
    /// `/oauth2/revoke`
    Revoke,
    /// `/oauth2/authorize`, where people authenticate
    Authorize,
}

impl Endpoint {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Token, Self::Introspect, Self::Revoke, Self::Authorize];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Authorize => "authorize",
        }
    }
}

/// The budgets, each named after its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Failed authentications of a network.
    Failures,
    /// Failed authentications of a network in one name, a client's or a person's.
    FailuresPerClient,
    /// Requests of a network.
    Network,
    /// Requests of a client that has proved who it is.
    Client,
}

impl Budget {
    /// Every one of them.
    pub const ALL: [Self; 4] =
        [Self::Failures, Self::FailuresPerClient, Self::Network, Self::Client];

    /// Its name in logs and metrics, which is that of its setting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::FailuresPerClient => "failures_per_client",
            Self::Network => "network",
            Self::Client => "client",
        }
    }
}

/// A budget that is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which one.
    pub budget: Budget,
    /// Where.
    pub endpoint: Endpoint,
    /// After so many seconds there is something in it again, if nobody else takes it first.
    pub seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_a_slash_64_and_a_mapped_ipv4_address_is_itself() {
        let one = Network::v6([0x2001, 0xDB8, 0, 1, 0, 0, 0, 1]);
        assert_eq!(one, Network::v6([0x2001, 0xDB8, 0, 1, 0xFFFF, 2, 3, 4]));
        assert_ne!(one, Network::v6([0x2001, 0xDB8, 0, 2, 0, 0, 0, 1]));
        let mapped = Network::v6([0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0207]);
        assert_eq!(mapped, Network::V4([192, 0, 2, 7]));
    }

    #[test]
    fn what_is_logged_is_nobodys_address() {
        assert_eq!(Network::V4([192, 0, 2, 7]).to_string(), "192.0.2.0/24");
        let v6 = Network::V6([0x2001, 0xDB8, 1, 2]);
        assert_eq!(v6.to_string(), "2001:db8:1::/48");
    }
}
