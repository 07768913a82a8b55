//! When a route is open: spans of local time on days of the week.
//!
//! Read on the wall of the route's time zone, so a span means what people there mean by it: on the night in
//! which an hour is left out or comes twice, it begins and ends with what their clocks show. Invariant: the
//! present is told, never asked for.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span as Length, Timestamp as Instant};

use crate::clock::Timestamp;

/// The hours at which a route is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    spans: Vec<Span>,
    zone: TimeZone,
}

impl Hours {
    /// Open within each of `spans`, by the clocks of `zone`.
    #[must_use]
    pub const fn new(spans: Vec<Span>, zone: TimeZone) -> Self {
        Self { spans, zone }
    }

    /// Whether it is open at `time`.
    #[must_use]
    pub fn are_open(&self, time: Timestamp) -> bool {
        self.cover(instant(time))
    }

    /// When it opens, seen from a `time` at which it is closed; none if not within two weeks.
    #[must_use]
    pub fn open_after(&self, time: Timestamp) -> Option<Timestamp> {
        let now = instant(time);
        let end = now.checked_add(HORIZON).unwrap_or(Instant::MAX);
        let changes = self.zone.following(now).map(|change| change.timestamp());
        let starts = self.zone.to_datetime(now).date().series(Length::new().days(1)).take(HORIZON_DAYS);
        let starts = starts.flat_map(|date| self.starts_on(date));
        let candidates = changes.take_while(|change| *change <= end).chain(starts);
        let first = candidates.filter(|at| *at > now && self.cover(*at)).min()?;
        Some(Timestamp::from_millis(first.as_millisecond()))
    }

    /// The point that the clocks of the zone show as `local`: the earlier of two, or the end of a gap.
    #[must_use]
    pub fn at(&self, local: DateTime) -> Option<Timestamp> {
        let point = self.zone.to_timestamp(local).ok()?;
        Some(Timestamp::from_millis(point.as_millisecond()))
    }

    /// A point for people, as in `2026-11-23 08:00 (Europe/Berlin)`.
    #[must_use]
    pub fn show(&self, time: Timestamp) -> String {
        let local = self.zone.to_datetime(instant(time));
        format!("{} ({})", local.strftime("%Y-%m-%d %H:%M"), self.zone_name())
    }

    /// The name of the time zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The spans.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    fn cover(&self, point: Instant) -> bool {
        let local = self.zone.to_datetime(point);
        let day = Day::of(local.date());
        let minute = minute(local);
        self.spans.iter().any(|span| span.covers(day, minute))
    }

    /// When the spans begin that do so on `date`. A beginning that the clocks leave out is no point of
    /// its own; one that they show twice is two.
    fn starts_on(&self, date: Date) -> impl Iterator<Item = Instant> {
        let day = Day::of(date);
        let begins = self.spans.iter().filter(move |span| span.days.has(day));
        begins.flat_map(move |span| {
            let local = span.start_on(date);
            let offsets = match local.map(|local| self.zone.to_ambiguous_timestamp(local).offset()) {
                Some(AmbiguousOffset::Unambiguous { offset }) => [Some(offset), None],
                Some(AmbiguousOffset::Fold { before, after }) => [Some(before), Some(after)],
                Some(AmbiguousOffset::Gap { .. }) | None => [None, None],
            };
            offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(local?).ok())
        })
    }
}

/// As in a configuration, with the zone behind it.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, span) in self.spans.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{span}")?;
        }
        write!(f, " ({})", self.zone_name())
    }
}

/// A span of time that begins on each of some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    days: Days,
    /// Minutes of the day.
    from: u16,
    /// Minutes of the day, or of the next one if not after `from`.
    until: u16,
}

impl Span {
    /// From the minute `from` of each of `days` to the minute `until` of the same or, if that is not
    /// later, of the next day. `from` is less than [`MINUTES`], `until` at most that.
    #[must_use]
    pub const fn new(days: Days, from: u16, until: u16) -> Self {
        Self { days, from, until }
    }

    fn covers(self, day: Day, minute: u16) -> bool {
        if self.from < self.until {
            return self.days.has(day) && (self.from..self.until).contains(&minute);
        }
        (self.days.has(day) && minute >= self.from) || (self.days.has(day.before()) && minute < self.until)
    }

    fn start_on(self, date: Date) -> Option<DateTime> {
        let (hour, minute) = (i8::try_from(self.from / 60).ok()?, i8::try_from(self.from % 60).ok()?);
        Some(date.at(hour, minute, 0, 0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        if self.days != Days::ALL {
            write!(f, "{} ", self.days)?;
        }
        write!(f, "{}-{}", time(self.from), time(self.until))
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(u8);

impl Day {
    /// All of them by the names that they have in a configuration, Monday first.
    pub const NAMES: [(&str, Self); 7] = [
        ("mon", Self(0)),
        ("tue", Self(1)),
        ("wed", Self(2)),
        ("thu", Self(3)),
        ("fri", Self(4)),
        ("sat", Self(5)),
        ("sun", Self(6)),
    ];

    fn of(date: Date) -> Self {
        Self(date.weekday().to_monday_zero_offset().unsigned_abs())
    }

    const fn before(self) -> Self {
        Self((self.0 + 6) % 7)
    }

    /// The next day.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) % 7)
    }
}

/// Some days of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// These and `day`.
    #[must_use]
    pub const fn with(self, day: Day) -> Self {
        Self(self.0 | 1 << day.0)
    }

    /// Whether `day` is one of them.
    #[must_use]
    pub const fn has(self, day: Day) -> bool {
        self.0 & (1 << day.0) != 0
    }
}

/// `mon-fri`, or `mon,wed`.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(&str, &str, usize)> = Vec::new();
        let mut is_going_on = false;
        for (name, day) in Day::NAMES {
            match runs.last_mut() {
                Some((_, last, length)) if self.has(day) && is_going_on => {
                    (*last, *length) = (name, *length + 1);
                }
                _ if self.has(day) => runs.push((name, name, 1)),
                _ => {}
            }
            is_going_on = self.has(day);
        }
        let texts = runs.iter().map(|(first, last, length)| match length {
            1 => (*first).to_owned(),
            2 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
        f.write_str(&texts.collect::<Vec<_>>().join(","))
    }
}

fn minute(local: DateTime) -> u16 {
    u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
}

/// The ends of what a calendar holds stand for what is beyond them.
fn instant(time: Timestamp) -> Instant {
    let beyond = if time.as_millis() < 0 { Instant::MIN } else { Instant::MAX };
    Instant::from_millisecond(time.as_millis()).unwrap_or(beyond)
}

/// The minutes of a day.
pub const MINUTES: u16 = 24 * 60;

/// How far ahead a beginning is looked for: a span may be left out by the clocks in one week.
const HORIZON: Duration = Duration::from_hours(15 * 24);

/// The days of [`HORIZON`], today among them.
const HORIZON_DAYS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORK: Days = Days(0b001_1111);
    const MONDAY: Days = Days(1);
    const SUNDAY: Days = Days(0b100_0000);

    fn hours(spans: &[(Days, u16, u16)], zone: &str) -> Hours {
        let spans = spans.iter().map(|&(days, from, until)| Span::new(days, from, until)).collect();
        Hours::new(spans, TimeZone::get(zone).unwrap())
    }

    /// A point by what it is called in RFC 3339.
    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<Instant>().unwrap().as_millisecond())
    }

    #[test]
    fn a_span_is_open_from_its_first_minute_to_before_its_last_on_its_days() {
        let hours = hours(&[(WORK, 480, 1080)], "UTC");
        for (time, is_open) in [
            ("2026-11-20T07:59:59.999Z", false), // a Friday
            ("2026-11-20T08:00:00Z", true),
            ("2026-11-20T17:59:59.999Z", true),
            ("2026-11-20T18:00:00Z", false),
            ("2026-11-21T12:00:00Z", false),
            ("2026-11-23T12:00:00Z", true),
        ] {
            assert_eq!(hours.are_open(at(time)), is_open, "{time}");
        }
    }

    #[test]
    fn a_span_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let hours = hours(&[(SUNDAY, 22 * 60, 6 * 60)], "UTC");
        for (time, is_open) in [
            ("2026-11-22T05:00:00Z", false), // Sunday morning
            ("2026-11-22T22:00:00Z", true),
            ("2026-11-23T05:59:00Z", true),
            ("2026-11-23T06:00:00Z", false),
            ("2026-11-23T23:00:00Z", false),
        ] {
            assert_eq!(hours.are_open(at(time)), is_open, "{time}");
        }
    }

    #[test]
    fn a_whole_day_has_its_last_minute_too() {
        let hours = hours(&[(MONDAY, 0, MINUTES)], "UTC");
        assert!(hours.are_open(at("2026-11-23T00:00:00Z")) && hours.are_open(at("2026-11-23T23:59:59Z")));
        assert!(!hours.are_open(at("2026-11-24T00:00:00Z")));
    }

    #[test]
    fn the_clocks_of_the_zone_decide_in_summer_and_in_winter() {
        let hours = hours(&[(Days::ALL, 480, 1080)], "Europe/Berlin");
        for (time, is_open) in [
            ("2026-01-15T07:00:00Z", true),
            ("2026-01-15T06:59:00Z", false),
            ("2026-07-15T06:00:00Z", true),
            ("2026-07-15T05:59:00Z", false),
        ] {
            assert_eq!(hours.are_open(at(time)), is_open, "{time}");
        }
    }

    #[test]
    fn an_hour_that_is_left_out_or_comes_twice_is_read_from_the_clocks() {
        let night = hours(&[(Days::ALL, 150, 240)], "Europe/Berlin");
        // On 2026-03-29 the clocks go from 02:00 to 03:00 at 01:00 UTC: the span begins there.
        assert_eq!(night.open_after(at("2026-03-29T00:30:00Z")), Some(at("2026-03-29T01:00:00Z")));
        assert!(night.are_open(at("2026-03-29T01:59:00Z")) && !night.are_open(at("2026-03-29T02:00:00Z")));
        // On 2026-10-25 they go from 03:00 back to 02:00 at 01:00 UTC: half past two comes twice.
        let open = |time| night.are_open(at(time));
        assert!(open("2026-10-25T00:30:00Z") && open("2026-10-25T00:59:00Z"));
        assert!(!open("2026-10-25T01:00:00Z"));
        assert_eq!(night.open_after(at("2026-10-25T01:00:00Z")), Some(at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn hours_say_when_they_begin_again() {
        let hours = hours(&[(WORK, 480, 1080), (Days(0b010_0000), 540, 720)], "Europe/Berlin");
        for (closed, opens) in [
            ("2026-11-20T18:00:00Z", "2026-11-21T08:00:00Z"), // Friday evening: Saturday at nine
            ("2026-11-21T12:00:00Z", "2026-11-23T07:00:00Z"), // Saturday at one: Monday at eight
            ("2026-11-24T00:00:00Z", "2026-11-24T07:00:00Z"),
        ] {
            assert_eq!(hours.open_after(at(closed)), Some(at(opens)), "{closed}");
        }
        assert_eq!(hours.show(at("2026-11-23T07:00:00Z")), "2026-11-23 08:00 (Europe/Berlin)");
    }

    #[test]
    fn a_span_that_the_clocks_leave_out_opens_a_week_later() {
        let hours = hours(&[(SUNDAY, 120, 180)], "Europe/Berlin");
        assert_eq!(hours.open_after(at("2026-03-28T12:00:00Z")), Some(at("2026-04-05T00:00:00Z")));
    }

    #[test]
    fn the_ends_of_time_are_harmless() {
        let hours = hours(&[(MONDAY, 480, 1080)], "Asia/Kathmandu");
        for time in [i64::MIN, -1, 0, i64::MAX] {
            let time = Timestamp::from_millis(time);
            let _any = (hours.are_open(time), hours.open_after(time), hours.show(time));
        }
    }

    #[test]
    fn hours_read_as_they_are_written() {
        let days =
            [(WORK, "mon-fri "), (Days(0b101), "mon,wed "), (Days(0b110_0000), "sat,sun "), (Days::ALL, "")];
        for (days, text) in days {
            assert_eq!(Span::new(days, 480, MINUTES).to_string(), format!("{text}08:00-24:00"));
        }
        let hours = hours(&[(WORK, 480, 1080), (MONDAY, 1320, 360)], "UTC");
        assert_eq!(hours.to_string(), "mon-fri 08:00-18:00, mon 22:00-06:00 (UTC)");
    }

    proptest! {
        /// Every minute is looked at, on days on which clocks change, in zones that differ in how.
        #[test]
        fn they_begin_at_the_first_open_minute(
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            (days, from, until) in (1..128_u8, 0..MINUTES, 0..=MINUTES),
            start in prop::sample::select(vec![
                "2026-03-07T20:00:00Z", "2026-03-28T00:00:00Z", "2026-04-04T00:00:00Z",
                "2026-10-03T12:00:00Z", "2026-10-24T21:30:00Z", "2026-10-31T23:00:00Z",
            ]),
        ) {
            prop_assume!(from != until);
            let hours = hours(&[(Days(days), from, until)], zone);
            let start = at(start);
            prop_assume!(!hours.are_open(start));
            let minutes = (1..=15 * 24 * 60).map(|minutes| start + Duration::from_mins(minutes));
            let first = minutes.into_iter().find(|time| hours.are_open(*time));
            prop_assert_eq!(hours.open_after(start), first);
        }
    }
}
