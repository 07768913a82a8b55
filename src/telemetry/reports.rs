//! What the rules of routes would have refused, had they not been told only to report it.
//!
//! Counted by route, rule and user, by the hour, in the memory of one process; how it looks to people is
//! left to the commands. Invariants: a request that no rule would refuse does not come here; at most
//! [`MOST_ROWS`] rows of at most [`MOST_HOURS`] hours are kept, and the row that was silent for the longest
//! makes room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rule::Rule;
use crate::clock::Timestamp;

/// The counts of all workers.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<Table>>);

/// A request that passed although a rule would have refused it.
#[derive(Clone, Copy, Debug)]
pub struct Spared<'a> {
    /// The host of the route, as in the configuration.
    pub host: &'a str,
    /// The path of the route.
    pub path: &'a str,
    /// What would have refused it.
    pub rule: Rule,
    /// Who asked; none for a guest.
    pub user: Option<&'a str>,
    /// When.
    pub time: Timestamp,
}

/// The requests of one user that one rule of one route would have refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The host of the route, as in the configuration.
    pub host: String,
    /// The path of the route.
    pub path: String,
    /// What would have refused them.
    pub rule: Rule,
    /// Who asked; none for guests.
    pub user: Option<String>,
    /// How many there were.
    pub count: u64,
    /// The first of them, or the beginning of its hour.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

impl Reports {
    /// Counts a request.
    pub fn note(&self, spared: Spared<'_>) {
        self.lock().note(spared);
    }

    /// What was counted since `from`, rounded down to its hour: the most frequent first.
    #[must_use]
    pub fn since(&self, from: Timestamp) -> Vec<Row> {
        let table = self.lock();
        let mut rows: Vec<Row> =
            table.rows.iter().filter_map(|(key, counts)| counts.since(key, hour(from))).collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| b.last.cmp(&a.last)));
        rows
    }

    /// How many rows had to make room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Key, Counts>,
    forgotten: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    path: String,
    rule: Rule,
    user: Option<String>,
}

/// The counts of a row, by the hour.
#[derive(Debug, Default)]
struct Counts {
    hours: VecDeque<(i64, u64)>,
    last: Timestamp,
}

impl Table {
    fn note(&mut self, spared: Spared<'_>) {
        let key = Key {
            host: spared.host.to_owned(),
            path: spared.path.to_owned(),
            rule: spared.rule,
            user: spared.user.map(str::to_owned),
        };
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&key) {
            self.forget_one();
        }
        self.rows.entry(key).or_default().note(spared.time);
    }

    fn forget_one(&mut self) {
        let silent = self.rows.iter().min_by_key(|(_, counts)| counts.last).map(|(key, _)| key.clone());
        if let Some(key) = silent {
            self.rows.remove(&key);
            self.forgotten += 1;
        }
    }
}

impl Counts {
    fn note(&mut self, time: Timestamp) {
        self.last = self.last.max(time);
        // Workers may come in another order than their requests.
        let now = hour(time).max(self.hours.back().map_or(i64::MIN, |(hour, _)| *hour));
        match self.hours.back_mut() {
            Some((hour, count)) if *hour == now => *count += 1,
            _ => self.hours.push_back((now, 1)),
        }
        if self.hours.len() > MOST_HOURS {
            self.hours.pop_front();
        }
    }

    fn since(&self, key: &Key, from: i64) -> Option<Row> {
        let mut counted = self.hours.iter().filter(|(hour, _)| *hour >= from).peekable();
        let (first, _) = **counted.peek()?;
        Some(Row {
            host: key.host.clone(),
            path: key.path.clone(),
            rule: key.rule,
            user: key.user.clone(),
            count: counted.map(|(_, count)| count).sum(),
            first: Timestamp::from_millis(first.saturating_mul(HOUR)),
            last: self.last,
        })
    }
}

fn hour(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(HOUR)
}

const HOUR: i64 = 3_600_000;

/// How far back is counted.
pub const REACH: Duration = Duration::from_hours(7 * 24);

/// The hours of [`REACH`].
const MOST_HOURS: usize = 7 * 24;

/// Users, routes and rules together; some hundred kilobytes, or some megabytes after a whole week of each.
const MOST_ROWS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_219_200_000);

    fn spared<'a>(path: &'a str, user: Option<&'a str>, minutes: u64) -> Spared<'a> {
        let time = START + Duration::from_mins(minutes);
        Spared { host: "*", path, rule: Rule::Groups, user, time }
    }

    #[test]
    fn requests_are_counted_by_route_and_user_the_most_frequent_first() {
        let reports = Reports::default();
        for (path, user) in [("/a", Some("ada")), ("/a", None), ("/b", Some("ada")), ("/a", Some("ada"))] {
            reports.note(spared(path, user, 0));
        }
        let rows = reports.since(START);
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].path.as_str(), rows[0].user.as_deref(), rows[0].count), ("/a", Some("ada"), 2));
    }

    #[test]
    fn what_is_older_is_left_out_by_the_hour() {
        let reports = Reports::default();
        for minutes in [0, 59, 60, 125] {
            reports.note(spared("/", None, minutes));
        }
        let count = |minutes| {
            let rows = reports.since(START + Duration::from_mins(minutes));
            rows.first().map_or(0, |row| row.count)
        };
        assert_eq!([0, 59, 60, 119, 120, 180].map(count), [4, 4, 2, 2, 1, 0]);
        let row = &reports.since(START)[0];
        assert_eq!((row.first, row.last), (START, START + Duration::from_mins(125)));
    }

    #[test]
    fn a_flood_of_names_costs_a_bounded_number_of_rows() {
        let reports = Reports::default();
        reports.note(spared("/", Some("first"), 0));
        for number in 0..MOST_ROWS {
            reports.note(spared("/", Some(&number.to_string()), 1));
        }
        let rows = reports.since(START);
        assert_eq!((rows.len(), reports.forgotten()), (MOST_ROWS, 1));
        assert!(rows.iter().all(|row| row.user.as_deref() != Some("first")));
    }

    #[test]
    fn the_hours_of_a_row_are_bounded() {
        let reports = Reports::default();
        for hours in 0..400 {
            reports.note(spared("/", None, hours * 60));
        }
        assert_eq!(reports.since(START)[0].count, MOST_HOURS as u64);
    }
}
