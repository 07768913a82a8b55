//! That the languages say the same, and that everybody gets the one that they read.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::placeholders::{Piece, pieces};
use super::*;

/// Every text of a language's file by its dotted key; what is counted has one text for each number.
fn texts(language: Language) -> BTreeMap<String, String> {
    fn collect(key: &str, value: Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::String(text) => drop(into.insert(key.to_owned(), text)),
            Value::Table(table) => {
                for (name, value) in table {
                    collect(&format!("{key}.{name}"), value, into);
                }
            }
            other => panic!("{key}: {other}"),
        }
    }
    let mut all = BTreeMap::new();
    collect("", Value::Table(language.source().parse().unwrap()), &mut all);
    all
}

/// The key of the whole sentence.
fn key_of(text: &str) -> &str {
    text.strip_suffix(".one").or(text.strip_suffix(".other")).unwrap_or(text)
}

fn keys(language: Language) -> BTreeSet<String> {
    texts(language).keys().map(|key| key_of(key).to_owned()).collect()
}

fn places(text: &str) -> BTreeSet<&str> {
    let named = |piece| if let Piece::Place(name) = piece { Some(name) } else { None };
    pieces(text).filter_map(named).collect()
}

fn wanted(header: &str) -> Language {
    Language::wanted(Some(&HeaderValue::from_str(header).unwrap()), Language::English)
}

/// Whoever adds a word adds it to all the files in `languages/`; this says which lack it.
#[test]
fn every_language_has_every_word_and_no_other() {
    let english = keys(Language::English);
    let mut faults = Vec::new();
    for language in Language::ALL {
        let own = keys(language);
        faults.extend(english.difference(&own).map(|key| format!("{} lacks `{key}`", language.tag())));
        faults.extend(own.difference(&english).map(|key| format!("{} alone has `{key}`", language.tag())));
        let empty = texts(language).into_iter().filter(|(_, text)| text.trim() != text || text.is_empty());
        faults.extend(
            empty.map(|(key, _)| format!("{}: `{key}` is empty or begins with a blank", language.tag())),
        );
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    for language in Language::ALL {
        toml::from_str::<Strings>(language.source())
            .unwrap_or_else(|error| panic!("{}: {error}", language.tag()));
    }
}

#[test]
fn the_places_to_fill_are_the_same_in_every_language() {
    let english = texts(Language::English);
    for language in Language::ALL {
        for (key, text) in texts(language) {
            let plural = english.get(&format!("{}.other", key_of(&key)));
            let Some(original) = plural.or_else(|| english.get(key_of(&key))) else { continue };
            let (found, expected) = (places(&text), places(original));
            // One is often a word of its own: "in a minute".
            let fits = if key.strip_suffix(".one").is_some() {
                found.is_subset(&expected)
            } else {
                found == expected
            };
            assert!(fits, "{}: `{key}` must have the places {expected:?}: {text}", language.tag());
        }
    }
}

#[test]
fn no_word_is_left_over() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = ["portal", "gateway"].iter().flat_map(|room| sources(&source.join(room)));
    let used: BTreeSet<String> = files
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            // What the list of words says of them comes before that.
            let text = text.split_once("impl Counted").map_or(text.as_str(), |(_, uses)| uses);
            text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let words =
        keys(Language::English).into_iter().map(|key| key.split('.').take(3).last().unwrap().to_owned());
    let unused: Vec<String> = words.filter(|word| !used.contains(word)).collect();
    assert!(unused.is_empty(), "no page says {unused:?}");
}

/// The Rust files and templates in which words are used.
fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs" || ending == "html"))
        .collect()
}

#[test]
fn everybody_gets_the_language_that_they_would_most_like_to_read() {
    for (header, language) in [
        ("de-AT,de;q=0.9,en;q=0.8", Language::German),
        ("zh-Hans-CN", Language::Chinese),
        ("zh-TW,zh;q=0.9,en;q=0.5", Language::Chinese),
        ("JA-jp", Language::Japanese),
        ("da, en-gb;q=0.8, fr;q=0.9", Language::French),
        ("es;q=0.5, fr;q=0.5", Language::Spanish),
        ("nl, *;q=0.1", Language::English),
        ("en;q=0, *", Language::German),
        ("en;q=0, de;q=0, fr;q=0.001", Language::French),
        ("nl", Language::English),
        ("de;q=0", Language::English),
        ("", Language::English),
    ] {
        assert_eq!(wanted(header), language, "{header}");
    }
}

#[test]
fn who_wishes_nothing_that_we_have_gets_the_language_of_the_house() {
    let header = |text: &'static str| HeaderValue::from_static(text);
    assert_eq!(Language::wanted(None, Language::French), Language::French);
    assert_eq!(Language::wanted(Some(&header("nl")), Language::French), Language::French);
    assert_eq!(Language::wanted(Some(&header("*")), Language::French), Language::French);
    assert_eq!(Language::wanted(Some(&header("nl, en;q=0.1")), Language::French), Language::English);
}

proptest! {
    #[test]
    fn no_header_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = HeaderValue::from_bytes(&bytes) {
            let language = Language::wanted(Some(&header), Language::Japanese);
            prop_assert!(Language::ALL.contains(&language));
        }
    }
}
