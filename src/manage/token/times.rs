//! Times in claims: whatever somebody wrote where a `NumericDate` belongs (RFC 7519 §2).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::Time;

/// The last second of the year 9999, the last that RFC 3339 can name.
const LAST: i64 = 253_402_300_799;

/// The claims that are times.
const NAMES: &[&str] = &["iat", "nbf", "exp", "auth_time"];

/// A time as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeView {
    /// The claim.
    pub claim: &'static str,
    /// The instant, if it is one.
    pub at: Option<String>,
    /// How far it is from now, or why it is no instant.
    pub relative: String,
}

/// The instant in a claim, or why there is none. Verifiers that we know refuse fractions.
pub(super) fn instant(value: &Value) -> Result<Time, &'static str> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(seconds @ 0..=LAST) => Ok(Time::from_seconds(seconds)),
            Some(_) => Err("a number that is no time between 1970 and 9999"),
            None if number.is_u64() => Err("a number that is no time between 1970 and 9999"),
            None => Err("not a whole number of seconds"),
        },
        Value::String(_) => Err("a text, not a number of seconds"),
        _ => Err("not a number of seconds"),
    }
}

/// Every time among the claims.
pub(super) fn all(claims: &Map<String, Value>, now: Time) -> Vec<TimeView> {
    let view = |claim: &&'static str| {
        let (at, relative) = match instant(claims.get(*claim)?) {
            Ok(at) => (Some(at.rfc3339()), relative(at, now)),
            Err(why) => (None, why.to_owned()),
        };
        Some(TimeView { claim, at, relative })
    };
    NAMES.iter().filter_map(view).collect()
}

/// "in 4m" or "2m 3s ago": the two largest units are enough.
pub(super) fn relative(at: Time, now: Time) -> String {
    let seconds = at.seconds().saturating_sub(now.seconds());
    let length = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
    let length = length.to_string().split(' ').take(2).collect::<Vec<_>>().join(" ");
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {length}"),
        _ => format!("{length} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_whole_numbers_of_a_reasonable_size_are_times() {
        assert_eq!(instant(&json!(1_767_225_600)).map(Time::seconds), Ok(1_767_225_600));
        for text in [
            "1e300",
            "1.5",
            "1.0",
            "18446744073709551615",
            "-1",
            "253402300800",
            "9223372036854775807",
            "-9223372036854775808",
            "\"1\"",
            "null",
            "[1]",
            "{}",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(instant(&value).is_err(), "{text}");
        }
    }

    #[test]
    fn a_distance_is_told_in_its_two_largest_units() {
        let now = Time::from_seconds(1_000_000);
        let at = |seconds: i64| relative(Time::from_seconds(1_000_000 + seconds), now);
        assert_eq!((at(240), at(-123), at(0)), ("in 4m".into(), "2m 3s ago".into(), "now".into()));
        assert_eq!(at(86_400 * 3 + 3601), "in 3days 1h");
    }
}
