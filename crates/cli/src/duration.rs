//! Times as people write them: `24h`, `90m`, `7d`, `30s`.

use std::time::Duration;

/// The longest time that is accepted: a hundred years.
const LONGEST: u64 = 100 * 366 * 86_400;

/// Reads a number with its unit; without one it counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, such as 30s, 90m, 24h or 7d".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    total.filter(|total| *total <= LONGEST).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_have_units() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), expect.map(Duration::from_secs), "{text}");
        };
        check("24h", Some(86_400));
        check("90m", Some(5400));
        check("7d", Some(604_800));
        check("0s", Some(0));
        check("5", Some(5));
        for bad in ["", "h", "-1s", "1.5h", "1w", "1 h", "99999999999999999999s", "999999999999d", "36601d"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            parse_duration(&text).ok();
        }
    }
}
