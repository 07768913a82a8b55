//! `[portal]`: where the gateway's own pages are, and what of their look is the deployer's.

use std::path::Path;

use crate::portal::Config;
use crate::portal::languages::Language;
use crate::portal::look::{Branding, Color, ENOUGH, Link, Phrase, Scheme};

use super::path::{file_in, prefix};
use super::problem::{Wrong, quoted};
use super::read::Section;

/// Reads `[portal]`; files are relative to `folder`.
pub(super) fn read(root: &mut Section<'_>, folder: &Path) -> Config {
    root.within("portal", |section| Config {
        path: section.text("path", portal_path).unwrap_or_else(|| "/.vestibule".to_owned()),
        language: section.one_of("language", Language::default(), &LANGUAGES, &[]),
        templates: section.text("templates", |text| file_in(folder, text)),
        branding: section.within("branding", |section| branding(section, folder)),
    })
}

fn portal_path(text: &str) -> Result<String, Wrong> {
    match prefix(text)? {
        root if root == "/" => Err(Wrong::new("the gateway's own pages cannot take every path")
            .help("name at least one segment, as in `/.vestibule`")),
        path => Ok(path),
    }
}

fn branding(section: &mut Section<'_>, folder: &Path) -> Branding {
    Branding {
        name: section.text("name", |text| words(text, NAME)),
        logo: section.text("logo", |text| file_in(folder, text)),
        accent: section.text("accent", |text| accent(text, Scheme::Light)),
        accent_dark: section.text("accent_dark", |text| accent(text, Scheme::Dark)),
        lead: phrase(section, "lead", LEAD),
        links: links(section),
    }
}

fn accent(text: &str, scheme: Scheme) -> Result<Color, Wrong> {
    let color = Color::parse(text)
        .ok_or_else(|| Wrong::not(text, "a colour").help("write it as `#22564f` or `#254`"))?;
    if scheme.fits(color) {
        return Ok(color);
    }
    let pages = match scheme {
        Scheme::Light => "light",
        Scheme::Dark => "dark",
    };
    // Rounded down, so that what is too little never reads as enough.
    let contrast = (scheme.contrast(color) * 10.0).floor() / 10.0;
    let wrong = Wrong::new(format!(
        "{} cannot be read on {pages} pages: its contrast is {contrast:.1}, and text needs {ENOUGH} (WCAG 2.2, 1.4.3)",
        quoted(text)
    ));
    Err(wrong.help(format!("the nearest that can is `{}`", scheme.nearest(color))))
}

fn links(section: &mut Section<'_>) -> Vec<Link> {
    let links = section.each("link", |link| {
        let text = phrase(link, "text", NAME);
        if !link.gives("text") {
            link.refuse("text", Wrong::new("it is missing").help("add `text = \"Imprint\"`"));
        }
        let url = link.required("url", "\"https://example.com/imprint\"", url);
        Some(Link { text: text?, url: url? })
    });
    if links.len() > MOST_LINKS {
        let wrong = Wrong::new(format!("there are {} links, and every page shows them all", links.len()));
        section.refuse("link", wrong.help(format!("leave at most {MOST_LINKS}")));
    }
    links.into_iter().flatten().collect()
}

/// SECURITY: `javascript:` and its like are no links, and `//host` is no path.
fn url(text: &str) -> Result<String, Wrong> {
    let is_clean = text.len() <= 500
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let is_page =
        text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let is_mail = text.strip_prefix("mailto:").is_some_and(|address| address.contains('@'));
    if is_clean && (is_path || is_page || is_mail) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no link", quoted(text)))
        .help("write `https://...`, `mailto:...`, or a path of this host that begins with one `/`"))
}

/// A text, or a table with one for each of several languages.
fn phrase(section: &mut Section<'_>, key: &'static str, longest: usize) -> Option<Phrase> {
    if !section.is_table(key) {
        return section
            .text(key, |text| words(text, longest))
            .map(|text| Phrase { text, in_languages: Vec::new() });
    }
    let in_languages: Vec<(Language, String)> = section.within(key, |table| {
        let texts = LANGUAGES
            .map(|(name, language)| Some((language, table.text(name, |text| words(text, longest))?)));
        texts.into_iter().flatten().collect()
    });
    let Some((_, text)) = in_languages.first() else {
        section.refuse(key, Wrong::new("it says nothing in any language").help("add `en = \"...\"`"));
        return None;
    };
    Some(Phrase { text: text.clone(), in_languages })
}

/// A line of text that people read.
fn words(text: &str, longest: usize) -> Result<String, Wrong> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        return Err(Wrong::new("it is empty").help("leave the key out"));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("it holds a line break or another control character").help("write one line"));
    }
    if length > longest {
        return Err(
            Wrong::new(format!("it has {length} characters")).help(format!("at most {longest} have room"))
        );
    }
    Ok(text.trim().to_owned())
}

const LANGUAGES: [(&str, Language); 6] = [
    ("en", Language::English),
    ("de", Language::German),
    ("fr", Language::French),
    ("es", Language::Spanish),
    ("zh", Language::Chinese),
    ("ja", Language::Japanese),
];

/// Characters.
const NAME: usize = 60;

/// Characters.
const LEAD: usize = 300;

const MOST_LINKS: usize = 8;
