//! Collects what one reading of a configuration finds: its problems and the keys that were asked for.

use std::cell::RefCell;
use std::path::Path;

use toml::de::DeTable;

use super::problem::{Lines, Place, Problem, Problems, Wrong};
use super::read::Section;
use super::syntax;

/// Collects the problems and the keys of one reading.
pub(super) struct Reader<'a> {
    file: &'a Path,
    pub(super) lines: Lines<'a>,
    pub(super) errand: Errand,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<Vec<String>>,
}

/// What a reading is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// To use the configuration.
    Load,
    /// To list the keys that the code knows; one element of each array is pretended.
    ListKeys,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(file: &'a Path, text: &'a str, errand: Errand) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            errand,
            problems: RefCell::new(Vec::new()),
            known: RefCell::new(Vec::new()),
        }
    }

    /// Reads the whole document.
    pub(super) fn root<T>(&'a self, table: &'a DeTable<'a>, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        Section::new(self, Some(table), String::new(), String::new(), None).read(read)
    }

    /// Reports what the TOML parser did not understand.
    pub(super) fn syntax_errors(&self, text: &str, errors: &[toml::de::Error]) {
        for (offset, wrong) in syntax::explain(text, errors) {
            self.push(String::new(), Some(self.lines.place(offset)), wrong);
        }
    }

    /// `value`, if nothing is wrong.
    pub(super) fn outcome<T>(self, value: Option<T>) -> Result<T, Problems> {
        match (value, self.problems.into_inner()) {
            (Some(value), problems) if problems.is_empty() => Ok(value),
            (_, problems) => Err(Problems::new(problems)),
        }
    }

    /// Every key that was read, as in `route[].path`, in the order of reading.
    pub(super) fn into_known(self) -> Vec<String> {
        self.known.into_inner()
    }

    /// Reports `wrong`.
    pub(super) fn push(&self, key: String, place: Option<Place>, wrong: Wrong) {
        let (file, message, help) = (self.file.to_owned(), wrong.message, wrong.help);
        self.problems.borrow_mut().push(Problem { file, place, key, message, help });
    }

    /// Notes that the code reads `key`.
    pub(super) fn note_key(&self, key: String) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_once_however_often_it_is_read() {
        let reader = Reader::new(Path::new(""), "", Errand::ListKeys);
        for key in ["route[].path", "route[].host", "route[].path"] {
            reader.note_key(key.to_owned());
        }
        assert_eq!(reader.into_known(), ["route[].path", "route[].host"]);
    }

    #[test]
    fn a_value_with_a_problem_is_not_given_out() {
        let reader = Reader::new(Path::new("v.toml"), "", Errand::Load);
        reader.push("a".to_owned(), None, Wrong::new("it is wrong"));
        assert_eq!(reader.outcome(Some(1)).unwrap_err().to_string(), "v.toml: a: it is wrong");
    }
}
