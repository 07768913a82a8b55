//! Says in words what the TOML parser did not understand.
//!
//! Invariant: no value of the file is repeated, only keys, since a line that cannot be read may hold
//! a secret.

use toml::de::Error;

use super::problem::{Wrong, quoted};

/// What to tell about `errors`, and the bytes of `text` it is about.
///
/// After a first mistake the parser loses its way, so what it says of later places is left out. Keys
/// that are given twice do not confuse it; all those before the mistake are named.
pub(super) fn explain(text: &str, errors: &[Error]) -> Vec<(usize, Wrong)> {
    let first = errors.iter().filter(|error| !is_duplicate(error)).min_by_key(|error| start(error));
    let end = first.map_or(usize::MAX, start);
    let duplicates = errors.iter().filter(|error| is_duplicate(error) && start(error) < end);
    duplicates.chain(first).map(|error| (start(error), wrong(text, error))).collect()
}

fn wrong(text: &str, error: &Error) -> Wrong {
    let place = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let message = error.message();
    if is_duplicate(error) {
        return Wrong::new(format!("{} is given twice", quoted(place))).help("leave one of them out");
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return Wrong::new("a text does not end on its line").help("close it with the quote it began with");
    }
    if message.starts_with("string values must be quoted") && place.is_empty() {
        return Wrong::new("a value is missing after `=`");
    }
    if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean") {
        return Wrong::new("a text must stand in quotes").help("write it as in `key = \"value\"`");
    }
    Wrong::new(format!("this is not TOML: {message}"))
}

fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn explained(text: &str) -> Vec<String> {
        let (_, errors) = DeTable::parse_recoverable(text);
        explain(text, &errors).into_iter().map(|(_, wrong)| wrong.message).collect()
    }

    #[test]
    fn only_the_first_mistake_is_named_with_the_keys_given_twice_before_it() {
        let text = "a = 1\na = 2\nb = 1\nb = 2\nc =\nd = \"x\nd = 1\n";
        let expected = ["`a` is given twice", "`b` is given twice", "a value is missing after `=`"];
        assert_eq!(explained(text), expected);
    }

    #[test]
    fn what_the_parser_says_is_put_into_plain_words() {
        assert_eq!(explained("a = \"x"), ["a text does not end on its line"]);
        assert_eq!(explained("a = [\"x]\nb = \"y\"\n"), ["a text does not end on its line"]);
        assert_eq!(explained("a = 30m"), ["a text must stand in quotes"]);
        assert_eq!(explained("a = foo"), ["a text must stand in quotes"]);
        assert_eq!(explained("a"), ["this is not TOML: key with no value, expected `=`"]);
    }

    #[test]
    fn a_value_that_cannot_be_read_is_not_repeated() {
        for text in ["a = hunter2", "a = \"hunter2", "hunter2 x", "a = {hunter2", "a = [hunter2"] {
            assert!(!format!("{:?}", explained(text)).contains("hunter2"), "{text}");
        }
    }
}
