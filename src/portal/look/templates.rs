//! The templates of our pages: ours, and those of the deployer that take their place.
//!
//! Whether those are in order is found in [`super::trial`]. Invariants: every name ends in `.html`, which is
//! what turns escaping on; nothing turns it off.

use minijinja::value::Serde;
use minijinja::{Environment, Error, Template, UndefinedBehavior, Value};

use crate::portal::languages::Language;
use crate::portal::placeholders::filled;

/// Our templates, by name.
pub(super) const OURS: [(&str, &str); 20] = [
    ("account.html", include_str!("../templates/account.html")),
    ("at_limit.html", include_str!("../templates/at_limit.html")),
    ("base.html", include_str!("../templates/base.html")),
    ("builtin.html", include_str!("../templates/builtin.html")),
    ("codes.html", include_str!("../templates/codes.html")),
    ("confirm.html", include_str!("../templates/confirm.html")),
    ("continue.html", include_str!("../templates/continue.html")),
    ("done.html", include_str!("../templates/done.html")),
    ("error.html", include_str!("../templates/error.html")),
    ("explanation.html", include_str!("../templates/explanation.html")),
    ("factor.html", include_str!("../templates/factor.html")),
    ("factors.html", include_str!("../templates/factors.html")),
    ("login.html", include_str!("../templates/login.html")),
    ("logout.html", include_str!("../templates/logout.html")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("passkey.html", include_str!("../templates/passkey.html")),
    ("password.html", include_str!("../templates/password.html")),
    ("reset.html", include_str!("../templates/reset.html")),
    ("switch.html", include_str!("../templates/switch.html")),
    ("totp.html", include_str!("../templates/totp.html")),
];

/// A template of the deployer's.
#[derive(Debug)]
pub(super) struct Theirs {
    /// The name of the one of ours whose place it takes.
    pub(super) name: &'static str,
    /// What it says.
    pub(super) source: String,
}

/// The templates with what they know of a page's surroundings, for each language: macros see nothing else.
#[derive(Debug)]
pub(super) struct Shelf([Environment<'static>; 6]);

impl Shelf {
    /// Our templates; `globals` are what they know, in a language.
    pub(super) fn ours(globals: impl Fn(Language) -> Vec<(&'static str, Value)>) -> Self {
        let templates = ours();
        Self(Language::ALL.map(|language| {
            let mut templates = templates.clone();
            templates.add_global("strings", Serde(language.words()));
            for (name, value) in globals(language) {
                templates.add_global(name, value);
            }
            templates
        }))
    }

    /// The same with templates of the deployer in the place of ours.
    pub(super) fn overlaid(&self, theirs: &[Theirs]) -> Result<Self, Error> {
        let mut both = Self(self.0.clone());
        for templates in &mut both.0 {
            for Theirs { name, source } in theirs {
                templates.add_template_owned(*name, source.clone())?;
            }
        }
        Ok(both)
    }

    /// A template, in a language.
    pub(super) fn template(&self, language: Language, name: &str) -> Result<Template<'_, '_>, Error> {
        self.of(language).get_template(name)
    }

    pub(super) const fn of(&self, language: Language) -> &Environment<'static> {
        let Self([english, german, french, spanish, chinese, japanese]) = self;
        match language {
            Language::English => english,
            Language::German => german,
            Language::French => french,
            Language::Spanish => spanish,
            Language::Chinese => chinese,
            Language::Japanese => japanese,
        }
    }
}

fn ours() -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("filled", filled);
    // SECURITY: names of users and hosts stand on pages: whoever writes a template cannot let them through raw.
    templates.remove_filter("safe");
    for (name, source) in OURS {
        if let Err(error) = templates.add_template(name, source) {
            tracing::error!(%error, name, "template cannot be read");
        }
    }
    templates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_one_of_our_templates_and_can_be_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/portal/templates");
        let files =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        files.sort();
        assert_eq!(files, OURS.map(|(name, _)| name.to_owned()));
        let templates = ours();
        for (name, _) in OURS {
            assert!(templates.get_template(name).is_ok(), "{name}");
        }
    }
}
