//! The languages of our pages, and the words of each.
//!
//! Which words there are is left to [`super::strings`]. Invariant: every language has every word; one that
//! nobody has translated yet is there in English, and a test names it.

mod accept;

use std::cmp::Reverse;
use std::sync::LazyLock;

use http::HeaderValue;
use serde::Deserialize;
use toml::{Table, Value};

use super::strings::Strings;

/// A language of our pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, which everything else of the gateway speaks.
    #[default]
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Chinese in simplified characters.
    Chinese,
    /// Japanese.
    Japanese,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::English, Self::German, Self::French, Self::Spanish, Self::Chinese, Self::Japanese];

    /// The language that its user would most like to read, by the `Accept-Language` of their browser;
    /// `otherwise` where that names none of ours.
    #[must_use]
    pub fn wanted(header: Option<&HeaderValue>, otherwise: Self) -> Self {
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Of several that are wanted alike, the one that stands first; of those that nobody named, `otherwise`.
        let candidates = [otherwise].into_iter().chain(Self::ALL);
        let ranked = candidates.filter_map(|language| Some((language.rank(header)?, language)));
        ranked.min_by_key(|(rank, _)| *rank).map_or(otherwise, |(_, language)| language)
    }

    /// Its tag (RFC 5646), for `lang` and `Content-Language`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Chinese => "zh-Hans",
            Self::Japanese => "ja",
        }
    }

    /// Its words.
    #[must_use]
    pub fn words(self) -> &'static Strings {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
            Self::French => &FRENCH,
            Self::Spanish => &SPANISH,
            Self::Chinese => &CHINESE,
            Self::Japanese => &JAPANESE,
        }
    }

    /// Its file.
    const fn source(self) -> &'static str {
        match self {
            Self::English => include_str!("en.toml"),
            Self::German => include_str!("de.toml"),
            Self::French => include_str!("fr.toml"),
            Self::Spanish => include_str!("es.toml"),
            Self::Chinese => include_str!("zh.toml"),
            Self::Japanese => include_str!("ja.toml"),
        }
    }

    /// Where it stands among what a header wishes for, the least first; none where it is not wanted.
    fn rank(self, header: &str) -> Option<(Reverse<u16>, usize)> {
        let ranks = |is_meant: &dyn Fn(&accept::Wish<'_>) -> bool| {
            let wishes = accept::wishes(header).enumerate().filter(|(_, wish)| is_meant(wish));
            wishes.map(|(place, wish)| (Reverse(wish.weight), place)).min()
        };
        let rank = ranks(&|wish| wish.is_for(self.tag())).or_else(|| ranks(&|wish| wish.is_for_any()))?;
        (rank.0 != Reverse(0)).then_some(rank)
    }
}

static ENGLISH: LazyLock<Strings> = LazyLock::new(|| read(Language::English));
static GERMAN: LazyLock<Strings> = LazyLock::new(|| read(Language::German));
static FRENCH: LazyLock<Strings> = LazyLock::new(|| read(Language::French));
static SPANISH: LazyLock<Strings> = LazyLock::new(|| read(Language::Spanish));
static CHINESE: LazyLock<Strings> = LazyLock::new(|| read(Language::Chinese));
static JAPANESE: LazyLock<Strings> = LazyLock::new(|| read(Language::Japanese));

#[expect(clippy::expect_used, reason = "the files are parts of the program, and a test reads each")]
fn read(language: Language) -> Strings {
    let table = |language: Language| language.source().parse::<Table>().expect("a table of words");
    let mut words = table(Language::English);
    lay_over(&mut words, table(language));
    Strings::deserialize(words).expect("every word, and no other")
}

/// What `upper` says, and what `lower` says where `upper` is silent.
fn lay_over(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(lower.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests;
