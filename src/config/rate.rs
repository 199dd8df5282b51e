//! How often something may happen, as a setting says it.

use std::num::NonZeroU32;
use std::time::Duration;

/// The shortest time between two: the clock counts in microseconds.
const SHORTEST: Duration = Duration::from_micros(1);

/// The longest time that a spent budget takes to be whole again. Whoever asks for more has confused
/// two numbers, and would lock somebody out for longer than anybody remembers why.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const FORM: &str = "write how often, and if you like how many at once, such as \"100/s\", \
                    \"600/m\", \"100/s burst 500\"; or \"off\"";

/// A budget that refills steadily.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time in which one more is added.
    pub every: Duration,
    /// The most that it holds, which may be spent at once.
    pub burst: NonZeroU32,
}

/// Reads "off" or a rate: a number for each second, minute or hour, and the burst, which is the same
/// number unless it is given.
pub(super) fn parse(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let (rate, burst) = match words.as_slice() {
        [rate] => (rate, None),
        [rate, "burst", burst] => (rate, Some(burst)),
        _ => return Err(FORM.to_owned()),
    };
    let (number, unit) = rate.split_once('/').ok_or(FORM)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("the unit is s, m or h; {FORM}")),
    };
    let count = |text: &str| {
        let read = text.parse::<NonZeroU32>();
        read.map_err(|_| format!("both numbers are whole and above 0; {FORM}"))
    };
    let number = count(number)?;
    let burst = burst.map_or(Ok(number), |burst| count(burst))?;
    let every = Duration::from_secs(unit) / number.get();
    if every < SHORTEST {
        return Err("it is at most 1000000/s".to_owned());
    }
    let whole = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
    if Duration::from_micros(whole.saturating_mul(burst.get().into())) > LONGEST {
        return Err(format!(
            "a burst of {burst} takes more than {} to fill at this rate",
            humantime::format_duration(LONGEST)
        ));
    }
    Ok(Some(Rate { every, burst }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> (Duration, u32) {
        let rate = parse(text).unwrap().unwrap();
        (rate.every, rate.burst.get())
    }

    #[test]
    fn a_rate_is_a_number_a_unit_and_perhaps_a_burst() {
        assert_eq!(parse("off"), Ok(None));
        assert_eq!(rate("100/s"), (Duration::from_millis(10), 100));
        assert_eq!(rate("600/m"), (Duration::from_millis(100), 600));
        assert_eq!(rate("36/h burst 5"), (Duration::from_secs(100), 5));
        assert_eq!(rate(" 1/s   burst  60 "), (Duration::from_secs(1), 60));
        assert_eq!(rate("1000000/s burst 1"), (Duration::from_micros(1), 1));
    }

    #[test]
    fn every_mistake_gets_a_message_that_says_what_to_write() {
        for text in [
            "",
            "on",
            "0",
            "100",
            "100/",
            "/s",
            "0/s",
            "-1/s",
            "1.5/s",
            "100 /s",
            "100/s burst",
            "100/s burst 0",
            "100/s burst many",
            "100/s 500",
            "100/s max 5",
            "99999999999/s",
            "5/day",
            "5/S",
            "100/s burst 5 6",
            "Off",
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains("\"100/s burst 500\""), "{text:?}: {said}");
        }
        assert!(parse("2000000/s").unwrap_err().contains("1000000/s"));
        assert!(parse("1/h burst 25").unwrap_err().contains("1day"));
        assert!(parse("1/h burst 24").is_ok());
    }
}
