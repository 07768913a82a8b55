//! `hours` and `time_zone` of a route: when it is open.
//!
//! Invariant: hours without a time zone are refused, since the one that the machine happens to be set to
//! would decide who gets in.

use jiff::tz::TimeZone;

use crate::gateway::hours::{Day, Days, Hours, MINUTES, Span};

use super::kind::choose;
use super::problem::{Wrong, quoted};
use super::read::{Empty, Section};

/// Reads when a route is open; none if always.
pub(super) fn read(section: &mut Section<'_>) -> Option<Hours> {
    let spans = section.list("hours", Empty::Refused, span);
    let zone = section.text("time_zone", zone);
    match (section.gives("hours"), section.gives("time_zone")) {
        (true, false) => {
            let wrong = Wrong::new("`hours` need to say by whose clocks");
            section.refuse("time_zone", wrong.help("add `time_zone = \"Europe/Berlin\"`, or `\"UTC\"`"));
        }
        (false, true) => {
            section.refuse("time_zone", Wrong::new("it has no effect without `hours`").help("leave it out"));
        }
        _ => {}
    }
    Some(Hours::new(spans?, zone?))
}

fn zone(text: &str) -> Result<TimeZone, Wrong> {
    let found = TimeZone::get(text).ok().filter(|zone| !zone.is_unknown());
    found.ok_or_else(|| {
        Wrong::new(format!("{} is no time zone", quoted(text)))
            .help("write a name of the IANA database, as in `Europe/Berlin`, or `UTC`")
    })
}

/// `mon-fri 08:00-18:00`, `sat,sun 22:00-06:00`, `00:00-24:00`.
fn span(text: &str) -> Result<Span, Wrong> {
    let (days, times) = match text.split_once(' ') {
        Some((names, times)) => (days(names)?, times),
        None => (Days::ALL, text),
    };
    let form = || Wrong::new(format!("{} is no span of hours", quoted(text))).help(EXAMPLE);
    let (from, until) = times.split_once('-').ok_or_else(form)?;
    let (from, until) = (minute(from).ok_or_else(form)?, minute(until).ok_or_else(form)?);
    if from == MINUTES {
        return Err(form());
    }
    if from == until {
        return Err(Wrong::new(format!("{} ends where it begins", quoted(text)))
            .help("write `00:00-24:00` for a whole day"));
    }
    Ok(Span::new(days, from, until))
}

/// `mon`, `mon-fri`, `mon,wed-fri`; `sat-mon` goes over the end of the week.
fn days(text: &str) -> Result<Days, Wrong> {
    let mut days = Days::default();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (choose(first, &Day::NAMES, &[])?, choose(last, &Day::NAMES, &[])?);
        days = days.with(day);
        while day != last {
            day = day.next();
            days = days.with(day);
        }
    }
    Ok(days)
}

/// `08:00`, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= MINUTES).then_some(minute)
}

const EXAMPLE: &str = "write it as in `mon-fri 08:00-18:00`, `sat,sun 22:00-06:00` or `00:00-24:00`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for text in
            ["08:00-18:00", "mon-fri 08:00-18:00", "sat 09:30-12:00", "mon,wed 22:00-06:00", "00:00-24:00"]
        {
            assert_eq!(span(text).map(|span| span.to_string()), Ok(text.to_owned()));
        }
        for (text, canonical) in [
            ("mon-sun 08:00-18:00", "08:00-18:00"),
            ("fri-mon 08:00-18:00", "mon,fri-sun 08:00-18:00"),
            ("tue,mon,wed 08:00-18:00", "mon-wed 08:00-18:00"),
        ] {
            assert_eq!(span(text).map(|span| span.to_string()), Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "mon",
            "mon-fri",
            "8:00-18:00",
            "08:00",
            "08:00-18:60",
            "08:00-24:01",
            "24:00-08:00",
            "08:00-08:00",
            "00:00-00:00",
            "08:00 - 18:00",
            "Mon 08:00-18:00",
            "monday 08:00-18:00",
            "mon- 08:00-18:00",
            "mon, 08:00-18:00",
            "mon  08:00-18:00",
            "+8:00-18:00",
        ] {
            assert!(span(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_time_zone_is_one_of_the_database() {
        assert!(zone("Europe/Berlin").is_ok() && zone("UTC").is_ok() && zone("America/New_York").is_ok());
        for text in ["", "Europe/Berln", "Etc/Unknown", "../etc/passwd", "+01:00", "local"] {
            assert!(zone(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "((mon|tue|sat|sun)[,-]?){0,3} ?[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]|\\PC{0,24}") {
            if let Ok(read) = span(&text) {
                prop_assert_eq!(span(&read.to_string()), Ok(read));
            }
        }
    }
}
