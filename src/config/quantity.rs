//! Durations, sizes and rates as people write them: `30m`, `64KiB`, `10 in 10m`.
//!
//! Invariant: what [`show_duration`] and [`show_size`] print is read back as the same value.
//! Months and years are left out on purpose: beside `m` for minutes, an `M` would be a trap.

use std::time::Duration;

use crate::login::Rate;

use super::problem::Wrong;

/// Reads a duration, as in `500ms`, `30m` or `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0_u64;
    let mut rest = text.trim();
    loop {
        let (number, unit, tail) = piece(rest).ok_or_else(|| no_duration(text))?;
        let factor = factor(&DURATION_UNITS, unit).ok_or_else(|| no_duration(text))?;
        total = number
            .checked_mul(factor)
            .and_then(|more| total.checked_add(more))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| Wrong::new(format!("`{}` is longer than ten years", text.trim())))?;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Ok(Duration::from_millis(total));
        }
    }
}

/// Prints a duration to the millisecond so that [`duration`] reads it back, as in `1h 30m`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut pieces = Vec::new();
    for (unit, factor) in DURATION_UNITS.iter().rev().filter(|(unit, _)| *unit != "w") {
        let number = rest.div_euclid(*factor);
        rest = rest.rem_euclid(*factor);
        if number > 0 {
            pieces.push(format!("{number}{unit}"));
        }
    }
    if pieces.is_empty() { "0s".to_owned() } else { pieces.join(" ") }
}

/// Reads a size in bytes, as in `64KiB`, `10MB` or `0`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let (number, unit, tail) = piece(text).ok_or_else(|| no_size(text))?;
    let factor = factor(&SIZE_UNITS, unit).filter(|_| tail.is_empty()).ok_or_else(|| no_size(text))?;
    number.checked_mul(factor).ok_or_else(|| Wrong::not(text, "a size: it is too large"))
}

/// Prints a size so that [`size`] reads it back, in the largest unit that leaves no remainder.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    let fits = |(unit, factor): &&(&str, u64)| {
        (unit.ends_with("iB") || *unit == "B") && bytes.rem_euclid(*factor) == 0
    };
    match SIZE_UNITS.iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes.div_euclid(*factor)),
        None => format!("{bytes}B"),
    }
}

/// Reads a rate, as in `10 in 10m`.
pub(super) fn rate(text: &str) -> Result<Rate, Wrong> {
    let wrong = || Wrong::not(text, "a rate").help("write how many in how long, as in `10 in 10m`");
    let (count, period) = text.split_once(" in ").ok_or_else(wrong)?;
    let count = count.trim().parse().map_err(|_| wrong())?;
    let period = duration(period)?;
    if count == 0 || period.is_zero() {
        return Err(Wrong::new(format!("`{text}` would let nobody in"))
            .help("both numbers must be greater than zero, as in `10 in 10m`"));
    }
    Ok(Rate { count, period })
}

/// The number, the unit and the rest of `text`.
fn piece(text: &str) -> Option<(u64, &str, &str)> {
    let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(after_number)?.parse().ok()?;
    let after_number = after_number.trim_start();
    let tail = after_number.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    Some((number, after_number.strip_suffix(tail)?, tail))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn no_duration(text: &str) -> Wrong {
    let wrong = Wrong::not(text, "a duration");
    if is_number(text) {
        return wrong.help(format!("it has no unit: did you mean `{}s`?", text.trim()));
    }
    wrong.help("write numbers with the units d, h, m, s or ms, as in `30m` or `1h 30m`")
}

fn no_size(text: &str) -> Wrong {
    let wrong = Wrong::not(text, "a size");
    if is_number(text) {
        return wrong.help(format!("it has no unit: did you mean `{text}B`?"));
    }
    wrong.help("write a number with the unit B, KiB, MiB or GiB (or KB, MB, GB), as in `64KiB`")
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// In milliseconds, from small to large.
const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Ten years in milliseconds: far above every sensible setting, far below every overflow.
const LONGEST: u64 = 3_653 * 86_400_000;

/// In bytes, from small to large.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("30m", 1_800_000),
            ("500ms", 500),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            (" 2 d ", 172_800_000),
            ("1w", 604_800_000),
            ("0s", 0),
            ("0", 0),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_duration_that_could_mean_two_things_is_refused() {
        for text in
            ["", " ", "30", "m", "30M", "1.5h", "-1s", "30m!", "1y", "s30", "99999w", "9".repeat(30).as_str()]
        {
            assert!(duration(text).is_err(), "{text:?}");
        }
        let help = duration("1800").unwrap_err().help;
        assert_eq!(help.as_deref(), Some("it has no unit: did you mean `1800s`?"));
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        let cases = [("64KiB", 65_536), ("10MB", 10_000_000), ("1 GiB", 1 << 30), ("0", 0), ("17B", 17)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "64",
            "64K",
            "64kib",
            "64KiBx",
            "KiB",
            "1KiB 2B",
            "99999999999999999999B",
            "18446744073709551615TiB",
        ] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_says_how_many_in_how_long() {
        assert_eq!(rate("10 in 10m"), Ok(Rate { count: 10, period: Duration::from_mins(10) }));
        for text in ["10", "10/10m", "0 in 10m", "10 in 0s", "ten in 1m", "10 in"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back_as_itself(milliseconds in 0..=LONGEST) {
            let value = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&show_duration(value)), Ok(value));
        }

        #[test]
        fn a_shown_size_reads_back_as_itself(bytes: u64, shift in 0_u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in "\\PC{0,24}|[0-9]{1,24}[a-zA-Z ]{0,4}") {
            let _ = (duration(&text), size(&text), rate(&text));
        }
    }
}
