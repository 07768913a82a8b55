//! The languages of our pages, and the words of each.
//!
//! Which words there are is left to [`super::strings`]. Invariant: every language can be read and has every
//! word; a test reads them all.

use std::sync::LazyLock;

use super::strings::Strings;

/// A language of our pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, which everything else of the gateway speaks.
    #[default]
    English,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::English];

    /// Its tag (RFC 5646), for `lang` and `Content-Language`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
        }
    }

    /// Its words.
    #[must_use]
    pub fn words(self) -> &'static Strings {
        match self {
            Self::English => &ENGLISH,
        }
    }
}

static ENGLISH: LazyLock<Strings> = LazyLock::new(|| read(include_str!("en.toml")));

#[expect(clippy::expect_used, reason = "the files are parts of the program, and a test reads each")]
fn read(text: &str) -> Strings {
    toml::from_str(text).expect("the words of a language can be read")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::placeholders::{Piece, pieces};
    use super::*;

    /// Every text of a language by its dotted key; what is counted has one text for each number.
    fn texts(language: Language) -> BTreeMap<String, String> {
        fn collect(key: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
            match value {
                serde_json::Value::String(text) => drop(into.insert(key.to_owned(), text.clone())),
                serde_json::Value::Object(table) => {
                    for (name, value) in table {
                        collect(&format!("{key}.{name}"), value, into);
                    }
                }
                other => panic!("{key}: {other}"),
            }
        }
        let mut all = BTreeMap::new();
        collect("", &serde_json::to_value(language.words()).unwrap(), &mut all);
        all
    }

    fn key_of(counted: &str) -> &str {
        counted.strip_suffix(".one").or(counted.strip_suffix(".other")).unwrap_or(counted)
    }

    fn places(text: &str) -> BTreeSet<&str> {
        pieces(text)
            .filter_map(|piece| if let Piece::Place(name) = piece { Some(name) } else { None })
            .collect()
    }

    #[test]
    fn every_language_has_every_word_and_no_other() {
        for language in Language::ALL {
            let empty: Vec<_> =
                texts(language).into_iter().filter(|(_, text)| text.trim().is_empty()).collect();
            assert!(empty.is_empty(), "{language:?}: {empty:?}");
        }
    }

    #[test]
    fn the_places_to_fill_are_the_same_in_every_language() {
        let english = texts(Language::English);
        let wanted = |key: &str| {
            let of_many = english.get(&format!("{}.other", key_of(key))).or_else(|| english.get(key_of(key)));
            places(of_many.unwrap_or_else(|| panic!("{key} is not in English")))
        };
        for language in Language::ALL {
            for (key, text) in texts(language) {
                let (found, wanted) = (places(&text), wanted(&key));
                // One is often a word of its own: "in a minute".
                let fits = if key.ends_with(".one") { found.is_subset(&wanted) } else { found == wanted };
                assert!(fits, "{}{key}: {text}", language.tag());
            }
        }
    }
}
