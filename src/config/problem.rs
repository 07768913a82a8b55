//! What is wrong with a configuration, where, and what would be right.
//!
//! A [`Problem`] is one line for the person who has to fix it. Finding problems is left to the
//! sections; this file gives them their places and their one form. Invariant: a problem shows only
//! printable characters, however odd the text it quotes.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file, as it was named.
    pub file: PathBuf,
    /// Where in the file; none when the problem is something that is not there.
    pub place: Option<Place>,
    /// The dotted key, as in `session.idle` or `route[2].path`; elements of an array count from 1.
    /// Empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// As in ``vestibule.toml:12: session.idel: unknown key; did you mean `idle`?``.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(place) = self.place {
            write!(f, "{}:", place.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// A place in a file; lines and columns count from 1, columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// All problems of a configuration, in the order of the file; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts `problems` by place; those of the whole file come last.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a value is refused; a [`Problem`] that does not know its place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    /// Says what is wrong.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Says that `text` is no `noun`, as in ``"`x` is not a duration"``.
    pub(super) fn not(text: &str, noun: &str) -> Self {
        Self::new(format!("{} is not {noun}", quoted(text)))
    }

    /// Adds what would be right.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds the value that was probably meant.
    pub(super) fn did_you_mean(self, value: &str) -> Self {
        self.help(format!("did you mean {}?", quoted(value)))
    }
}

/// `text` between backticks, shortened, with control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "the empty text".to_owned();
    }
    let mut shown = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == QUOTED_LIMIT {
            shown.push_str("...");
            break;
        }
        // SECURITY: an escape sequence in a file must not reach the terminal of who checks it.
        if is_printable(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown.push('`');
    shown
}

/// The name in `names` that is nearest to `text`, if one is near enough to be meant.
pub(super) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A number is not misspelt: `1.1` does not mean `1.2`.
    if !text.chars().any(char::is_alphabetic) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&text, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Finds the place of a byte in a text.
pub(super) struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The place of the byte at `offset`; the end of the text if it is shorter.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rsplit('\n').next().unwrap_or(before);
        Place { line, column: start.chars().count() + 1 }
    }
}

fn is_printable(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}

const QUOTED_LIMIT: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(place: Option<(usize, usize)>, key: &str) -> Problem {
        Problem {
            file: "v.toml".into(),
            place: place.map(|(line, column)| Place { line, column }),
            key: key.to_owned(),
            message: "it is wrong".to_owned(),
            help: None,
        }
    }

    #[test]
    fn a_problem_reads_as_one_line_that_editors_can_follow() {
        let problem =
            Problem { help: Some("leave it out".to_owned()), ..problem(Some((12, 1)), "session.idle") };
        assert_eq!(problem.to_string(), "v.toml:12: session.idle: it is wrong; leave it out");
    }

    #[test]
    fn problems_stand_in_the_order_of_the_file_and_those_without_a_place_last() {
        let problems = Problems::new(vec![
            problem(None, "c"),
            problem(Some((3, 1)), "b"),
            problem(Some((2, 9)), "a2"),
            problem(Some((2, 1)), "a1"),
        ]);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["a1", "a2", "b", "c"]);
    }

    #[test]
    fn a_quoted_text_cannot_write_to_the_terminal() {
        assert_eq!(quoted("a\x1b[31m\nb\u{202e}"), "`a\\u{1b}[31m\\nb\\u{202e}`");
        assert_eq!(quoted(&"x".repeat(200)).len(), QUOTED_LIMIT + 5);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["idle", "absolute", "remember"];
        assert_eq!(nearest("idel", names), Some("idle"));
        assert_eq!(nearest("Absolut", names), Some("absolute"));
        assert_eq!(nearest("timeout", names), None);
        assert_eq!(nearest("1.1", ["1.2", "1.3"]), None);
    }

    #[test]
    fn places_count_from_one_and_columns_are_characters() {
        let lines = Lines::new("ä = 1\nß = é x");
        assert_eq!(lines.place(0), Place { line: 1, column: 1 });
        assert_eq!(lines.place("ä = 1\nß = ".len()), Place { line: 2, column: 5 });
        assert_eq!(lines.place(usize::MAX), Place { line: 2, column: 8 });
    }
}
