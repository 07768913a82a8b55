//! Reads TOML tables key by key and collects everything that is wrong with them.
//!
//! A [`Section`] is a table with its dotted key. Each of its methods reads one key, remembers that
//! the key exists, reports a wrong value and then goes on with the default, so that one look at a
//! file finds all problems. What values mean is left to the sections' files.
//!
//! Invariants: a key is known exactly because some code reads it, so no list of keys can drift; a
//! configuration with a reported problem is never used, so the values that stand in for wrong ones
//! matter to nobody.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::{DURATION, FLAG, INTEGER, Kind, LIST, SIZE, TABLE, TEXT, article, choose};
use super::problem::{Place, Wrong, nearest};
use super::quantity;
use super::reader::{Errand, Reader};

/// A table and its dotted key.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: Option<&'a DeTable<'a>>,
    /// As people see it: `route[2]`.
    path: String,
    /// As the code sees it: `route[]`.
    pattern: String,
    place: Option<Place>,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
}

/// Whether zero is a value or a mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// Whether an empty list is a value or a mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    Allowed,
    Refused,
}

/// One value of the file.
#[derive(Clone, Copy)]
struct Entry<'a> {
    value: &'a DeValue<'a>,
    place: Place,
}

impl<'a> Section<'a> {
    pub(super) const fn new(
        reader: &'a Reader<'a>,
        table: Option<&'a DeTable<'a>>,
        path: String,
        pattern: String,
        place: Option<Place>,
    ) -> Self {
        Self { reader, table, path, pattern, place, known: Vec::new(), refused: Vec::new() }
    }

    /// Lets `read` read this section, then reports every key that it did not ask for.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        self.report_unknown_keys();
        value
    }

    /// Where the section begins.
    pub(super) const fn place(&self) -> Option<Place> {
        self.place
    }

    /// Where `key` stands; where the section begins if it is not given.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.table
            .and_then(|table| table.get_key_value(key))
            .map(|(key, _)| self.reader.lines.place(key.span().start))
            .or(self.place)
    }

    /// Whether the file gives `key`.
    pub(super) fn gives(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the file gives `key` as a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether nothing was wrong with any of `keys` so far.
    pub(super) fn is_sound(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.refused.contains(key))
    }

    /// Reports `wrong` at the place of `key`.
    pub(super) fn refuse(&mut self, key: &'static str, wrong: Wrong) {
        self.report(key, self.place_of(key), wrong);
    }

    /// A text that `parse` understands; none if it is absent or refused.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.scalar(key, &TEXT, parse)
    }

    /// A text that must be given; `example` shows what is meant.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.gives(key) {
            self.refuse(key, Wrong::new("it is missing").help(format!("add `{key} = {example}`")));
        }
        self.text(key, parse)
    }

    /// A duration, as in `30m`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, zero: Zero) -> Duration {
        let parse = |text: &str| match quantity::duration(text)? {
            Duration::ZERO if zero == Zero::Refused => Err(Wrong::new("it must be longer than zero")),
            duration => Ok(duration),
        };
        self.scalar(key, &DURATION, parse).unwrap_or(default)
    }

    /// A size in bytes, as in `64KiB`.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: &RangeInclusive<u64>) -> u64 {
        let parse = |text: &str| {
            let bytes = quantity::size(text)?;
            let show = |bytes| format!("`{}`", quantity::show_size(bytes));
            check_range(bytes, range, show).map(|()| bytes)
        };
        self.scalar(key, &SIZE, parse).unwrap_or(default)
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(&mut self, key: &'static str, default: T, range: &RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let Some(entry) = self.entry(key) else { return default };
        let Some(number) = integer_of(entry.value) else {
            self.report(key, Some(entry.place), INTEGER.refusal(entry.value));
            return default;
        };
        // A number that does not even fit is outside every range; either end says so.
        let number = T::try_from(number).ok().filter(|number| range.contains(number));
        number.unwrap_or_else(|| {
            self.report(key, Some(entry.place), out_of_range(range, |number| number.to_string()));
            default
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else { return default };
        entry.value.as_bool().unwrap_or_else(|| {
            self.report(key, Some(entry.place), FLAG.refusal(entry.value));
            default
        })
    }

    /// `true` or `false`, or a word that `parse` understands; none if it is absent or refused.
    pub(super) fn flag_or<T>(
        &mut self,
        key: &'static str,
        flag: impl FnOnce(bool) -> T,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let result = match (entry.value.as_bool(), entry.value.as_str()) {
            (Some(value), _) => Ok(flag(value)),
            (None, Some(word)) => parse(word),
            (None, None) => Err(FLAG.refusal(entry.value)),
        };
        result.map_err(|wrong| self.report(key, Some(entry.place), wrong)).ok()
    }

    /// One of the named `choices`; those in `later` are names that a later version brings.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
        later: &[&str],
    ) -> T {
        self.text(key, |text| choose(text, choices, later)).unwrap_or(default)
    }

    /// A list of texts that `parse` understands; none if it is absent. Each refused element is
    /// reported at its own place.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        empty: Empty,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let entry = self.entry(key)?;
        let Some(items) = entry.value.as_array() else {
            self.report(key, Some(entry.place), LIST.refusal(entry.value));
            return None;
        };
        if items.is_empty() && empty == Empty::Refused {
            self.refuse(key, Wrong::new("the list is empty").help("name at least one, or leave the key out"));
        }
        Some(items.iter().filter_map(|item| self.item(key, item, &parse)).collect())
    }

    /// The table `key`; an absent one reads as an empty one.
    pub(super) fn within<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.known.push(key);
        let value = self.value(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let header = self.child_pattern(key).replace("[]", "");
            let wrong = TABLE.refusal(value.get_ref()).help(format!("write `[{header}]`"));
            self.refuse(key, wrong);
        }
        let place = value.map(|value| self.reader.lines.place(value.span().start)).or(self.place);
        Section::new(self.reader, table, self.child(key), self.child_pattern(key), place).read(read)
    }

    /// What `key` says if it is given as `true` or `false`, which may be one of its forms.
    pub(super) fn plain_flag(&mut self, key: &'static str) -> Option<bool> {
        self.known.push(key);
        self.value(key).and_then(|value| value.get_ref().as_bool())
    }

    /// The table `key`, if it is given.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let is_table = self.value(key).is_none_or(|value| value.get_ref().is_table());
        match (self.gives(key), self.reader.errand) {
            (false, Errand::Load) => {
                self.known.push(key);
                None
            }
            (true, Errand::Load) if !is_table => {
                self.within(key, |_| ());
                None
            }
            _ => Some(self.within(key, read)),
        }
    }

    /// The table `key`, or `true` in place of one that says nothing; none if it is absent or `false`.
    pub(super) fn switch<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let Some(is_on) = self.plain_flag(key) else { return self.optional(key, read) };
        let place = self.place_of(key);
        let empty = Section::new(self.reader, None, self.child(key), self.child_pattern(key), place);
        is_on.then(|| empty.read(read))
    }

    /// Each table of the array `key`.
    pub(super) fn each<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        self.known.push(key);
        let pattern = format!("{}[]", self.child_pattern(key));
        if self.reader.errand == Errand::ListKeys {
            let pretended = Section::new(self.reader, None, String::new(), pattern, None);
            return vec![pretended.read(read)];
        }
        let tables = self.tables(key);
        tables.into_iter().map(|section| section.read(&mut read)).collect()
    }

    fn scalar<T>(
        &mut self,
        key: &'static str,
        kind: &Kind,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let result = entry.value.as_str().map_or_else(|| Err(kind.refusal(entry.value)), parse);
        result.map_err(|wrong| self.report(key, Some(entry.place), wrong)).ok()
    }

    fn item<T>(
        &mut self,
        key: &'static str,
        item: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let result = item.get_ref().as_str().map_or_else(|| Err(TEXT.refusal(item.get_ref())), parse);
        let place = self.reader.lines.place(item.span().start);
        result.map_err(|wrong| self.report(key, Some(place), wrong)).ok()
    }

    /// The sections of the array of tables `key`.
    fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let items = value.get_ref().as_array().map(|items| &**items);
        if !items.is_some_and(|items| items.iter().all(|item| item.get_ref().is_table())) {
            let wrong = Wrong::new(format!("this is {}, not a list of tables", article(value.get_ref())));
            self.refuse(key, wrong.help(format!("write `[[{}]]` above each", self.child(key))));
            return Vec::new();
        }
        let sections = items.unwrap_or_default().iter().enumerate().map(|(index, item)| {
            let path = format!("{}[{}]", self.child(key), index + 1);
            let place = self.reader.lines.place(item.span().start);
            let pattern = format!("{}[]", self.child_pattern(key));
            Section::new(self.reader, item.get_ref().as_table(), path, pattern, Some(place))
        });
        sections.collect()
    }

    fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        self.reader.note_key(self.child_pattern(key));
        let value = self.value(key)?;
        let place = self.reader.lines.place(value.span().start);
        Some(Entry { value: value.get_ref(), place })
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.and_then(|table| table.get(key))
    }

    fn report(&mut self, key: &'static str, place: Option<Place>, wrong: Wrong) {
        self.refused.push(key);
        if self.reader.errand == Errand::Load {
            self.reader.push(self.child(key), place, wrong);
        }
    }

    fn report_unknown_keys(&self) {
        let given = self.table.into_iter().flat_map(|table| table.keys());
        for key in given.filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let place = self.reader.lines.place(key.span().start);
            let name = key.get_ref();
            self.reader.push(self.child(name), Some(place), self.unknown_key(name));
        }
    }

    fn unknown_key(&self, name: &str) -> Wrong {
        let wrong = Wrong::new("unknown key");
        if let Some(near) = nearest(name, self.known.iter().copied()) {
            return wrong.did_you_mean(near);
        }
        if let Some(elsewhere) = known_elsewhere(name, &self.pattern) {
            return wrong.did_you_mean(&elsewhere);
        }
        wrong.help(format!("known here: {}", self.known.join(", ")))
    }

    fn child(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn child_pattern(&self, key: &str) -> String {
        join(&self.pattern, key)
    }
}

/// The dotted key of another section that is called `name`, if there is just one, or just one below `section`.
fn known_elsewhere(name: &str, section: &str) -> Option<String> {
    let mut found: Vec<String> = super::known_keys()
        .iter()
        .filter_map(|key| {
            let segments: Vec<&str> = key.split('.').collect();
            let end = segments.iter().position(|segment| segment.trim_end_matches("[]") == name)?;
            Some(segments.get(..=end)?.join("."))
        })
        .collect();
    found.dedup();
    let is_below = |key: &&String| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    let below: Vec<&String> = found.iter().filter(is_below).collect();
    match (found.as_slice(), below.as_slice()) {
        ([only], _) => Some(only.clone()),
        (_, [only]) => Some((*only).clone()),
        _ => None,
    }
}

fn check_range<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<(), Wrong> {
    if range.contains(&value) { Ok(()) } else { Err(out_of_range(range, show)) }
}

fn out_of_range<T: Copy>(range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> Wrong {
    Wrong::new(format!("it must lie between {} and {}", show(*range.start()), show(*range.end())))
}

fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Reads `text` and gives the value or the problems as text.
    fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, String> {
        let reader = Reader::new(Path::new("v.toml"), text, Errand::Load);
        let table = DeTable::parse(text).unwrap();
        let value = reader.root(table.get_ref(), read);
        reader.outcome(Some(value)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn reading_goes_on_after_a_wrong_value() {
        let found = read("a = 1\nb = 2\n", |root| {
            root.flag("a", true);
            root.flag("b", true);
        });
        assert_eq!(found.unwrap_err().lines().count(), 2);
    }

    #[test]
    fn a_key_that_nobody_asks_for_is_reported_at_every_depth() {
        let text = "[a.b]\nx = 1\n[[c]]\n[[c]]\ny = 1\n";
        let found = read(text, |root| {
            root.within("a", |a| a.within("b", |_| ()));
            root.each("c", |_| ());
        });
        let found = found.unwrap_err();
        assert!(found.starts_with("v.toml:2: a.b.x: unknown key"), "{found}");
        assert!(found.contains("v.toml:5: c[2].y: unknown key"), "{found}");
    }

    #[test]
    fn a_number_may_be_written_in_every_way_that_toml_knows() {
        for text in ["n = 1000", "n = 1_000", "n = 0x3e8", "n = +1000"] {
            assert_eq!(read(text, |root| root.integer("n", 0_u32, &(0..=1000))), Ok(1000), "{text}");
        }
    }

    #[test]
    fn a_number_that_does_not_fit_its_type_is_out_of_range() {
        for text in ["n = -1", "n = 300", "n = 9223372036854775807"] {
            let found = read(text, |root| root.integer("n", 1_u8, &(1..=200)));
            assert_eq!(found.unwrap_err(), "v.toml:1: n: it must lie between 1 and 200", "{text}");
        }
    }

    #[test]
    fn an_absent_section_reads_as_its_defaults() {
        let text = read("", |root| root.within("a", |a| a.duration("t", Duration::MAX, Zero::Refused)));
        assert_eq!(text, Ok(Duration::MAX));
    }

    #[test]
    fn each_element_of_a_list_is_checked_at_its_own_line() {
        let text = "l = [\n  \"a\",\n  \"x\",\n  1,\n]";
        let no_x = |item: &str| if item == "x" { Err(Wrong::new("no x")) } else { Ok(()) };
        let found = read(text, |root| root.list("l", Empty::Refused, no_x)).unwrap_err();
        assert_eq!(
            found,
            "v.toml:3: l: no x\nv.toml:4: l: this is a number, but a text belongs here; put it in quotes: `\"1\"`"
        );
    }
}
