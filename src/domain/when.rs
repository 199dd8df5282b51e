//! Points in time as people write them: an instant, or how long ago.

use std::str::FromStr;
use std::time::Duration;

use super::{Invalid, Time};

/// An instant by itself or relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// An instant.
    At(Time),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// The instant that is meant at `now`.
    pub fn resolve(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now - duration,
        }
    }
}

impl FromStr for When {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(time) = Time::parse_rfc3339(text) {
            return Ok(Self::At(time));
        }
        let duration = text.strip_suffix("ago").unwrap_or(text).trim();
        humantime::parse_duration(duration).map(Self::Ago).map_err(|_| {
            Invalid("write an instant such as 2026-01-31T12:00:00Z, or how long ago, such as 2h")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago() {
        let now = Time::from_seconds(1_000_000);
        let at = |text: &str| text.parse::<When>().map(|when| when.resolve(now).seconds());
        assert_eq!(at("2h"), Ok(992_800));
        assert_eq!(at("1h 30m ago"), Ok(994_600));
        assert_eq!(at("1970-01-02T00:00:00Z"), Ok(86_400));
        assert_eq!(at("1970-01-02T01:00:00+01:00"), Ok(86_400));
        for text in ["", "yesterday", "2026-01-31", "5", "-2h", "99999999999999999999y"] {
            assert!(at(text).is_err(), "{text}");
        }
        assert!(at("500y").is_ok());
    }
}
