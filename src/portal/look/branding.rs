//! What of the pages is the deployer's: a name, a picture, colours, words and links.
//!
//! Settings only; whether they are in order is the configuration's matter, and the picture is read by
//! [`super::logo`].

use std::path::PathBuf;

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::color::{Color, Scheme};
use crate::portal::languages::Language;

/// What of the pages is the deployer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branding {
    /// What people call this place; none = the host stands in for it.
    pub name: Option<String>,
    /// The file of a picture in the place of ours.
    pub logo: Option<PathBuf>,
    /// The colour of buttons and links on light pages.
    pub accent: Option<Color>,
    /// The same on dark pages; none = made from `accent`.
    pub accent_dark: Option<Color>,
    /// A few words above the form of the login page.
    pub lead: Option<Phrase>,
    /// Links at the foot of every page.
    pub links: Vec<Link>,
}

/// A link at the foot of every page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub text: Phrase,
    /// Where it leads: `https:`, `mailto:`, or a path of this host.
    pub url: String,
}

/// A text of the deployer's, in one language or in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// What everybody reads for whom there is nothing else.
    pub text: String,
    /// What those read who read that language.
    pub in_languages: Vec<(Language, String)>,
}

impl Phrase {
    /// In a language.
    #[must_use]
    pub fn in_language(&self, language: Language) -> &str {
        let own = self.in_languages.iter().find(|(other, _)| *other == language);
        own.map_or(&self.text, |(_, text)| text)
    }
}

impl Branding {
    /// The style rules that bring the colours; none where they are ours.
    pub(super) fn style(&self) -> Option<String> {
        let light = self.accent.map(|accent| (Scheme::Light, accent));
        let dark = self.accent_dark.or(self.accent.map(|accent| Scheme::Dark.nearest(accent)));
        let rules = |(scheme, accent): (Scheme, Color)| format!(":root{{{}}}", scheme.declarations(accent));
        let light = light.map(rules).unwrap_or_default();
        let dark = dark.map(|accent| rules((Scheme::Dark, accent)));
        let dark =
            dark.map(|rules| format!("@media (prefers-color-scheme:dark){{{rules}}}")).unwrap_or_default();
        (!light.is_empty() || !dark.is_empty()).then(|| format!("{light}{dark}\n"))
    }

    /// What templates know of it, in a language.
    pub(super) fn in_language(&self, language: Language, logo: Option<&str>) -> Value {
        let links =
            self.links.iter().map(|link| ShownLink { text: link.text.in_language(language), url: &link.url });
        Value::from(Serde(Shown {
            name: self.name.as_deref(),
            lead: self.lead.as_ref().map(|lead| lead.in_language(language)),
            logo,
            links: links.collect(),
        }))
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    name: Option<&'a str>,
    lead: Option<&'a str>,
    logo: Option<&'a str>,
    links: Vec<ShownLink<'a>>,
}

#[derive(Serialize)]
struct ShownLink<'a> {
    text: &'a str,
    url: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_read_in_ones_own_language_or_in_the_one_that_is_there() {
        let in_languages = vec![(Language::German, "Hallo".to_owned())];
        let phrase = Phrase { text: "Hello".to_owned(), in_languages };
        assert_eq!(phrase.in_language(Language::German), "Hallo");
        assert_eq!(phrase.in_language(Language::Japanese), "Hello");
    }

    #[test]
    fn one_colour_is_enough_for_both_schemes() {
        let branding = Branding { accent: Color::parse("#803000"), ..Branding::default() };
        let style = branding.style().unwrap();
        assert!(style.starts_with(":root{--accent:#803000;--accent-ink:#ffffff;"), "{style}");
        assert!(style.contains("@media (prefers-color-scheme:dark){:root{--accent:#"), "{style}");
        assert_eq!(Branding::default().style(), None);
        let dark = Branding { accent_dark: Color::parse("#ffcc00"), ..Branding::default() };
        assert!(dark.style().unwrap().starts_with("@media"), "light pages keep our colours");
    }
}
