//! How the pages look: templates, stylesheet, picture, and what of all that is the deployer's.
//!
//! What stands on a page is its handler's matter, its headers are [`super::page`]'s. Made anew at each reload.
//! Invariants: everything that can be wrong with the deployer's files is found when they are read; a template
//! of theirs that fails all the same leaves its place to ours, so nobody meets an empty page.

mod branding;
mod color;
mod logo;
mod templates;
mod trial;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Response;
use minijinja::value::Serde;
use minijinja::{Error, Value};
use serde::Serialize;

pub use self::branding::{Branding, Link, Phrase};
pub use self::color::{Color, ENOUGH, Scheme};

use self::templates::{OURS, Shelf};
use super::Config;
use super::assets::{self, Asset, ICON, ONWARD, SCRIPT, STYLESHEET};
use super::languages::Language;

/// How the pages look.
#[derive(Debug)]
pub struct Look {
    portal: String,
    language: Language,
    ours: Shelf,
    theirs: Option<Shelf>,
    assets: Vec<Asset>,
}

impl Look {
    /// Reads what the configuration names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with those files.
    pub fn load(config: &Config) -> Result<Self, Vec<LookError>> {
        let mut errors = Vec::new();
        let dress = Dress::read(config).map_err(|found| errors.extend(found)).ok();
        let templates = config.templates.as_deref();
        let theirs =
            templates.map(trial::read).transpose().map_err(|found| errors.extend(found)).ok().flatten();
        let dress = match dress {
            Some(dress) if errors.is_empty() => dress,
            _ => return Err(errors),
        };
        let ours = Shelf::ours(|language| dress.globals(config, language));
        let theirs = match (theirs, templates) {
            (Some(theirs), Some(folder)) => Some(trial::overlay(&ours, &theirs, folder)?),
            _ => None,
        };
        let Config { path, language, .. } = config;
        Ok(Self { portal: path.clone(), language: *language, ours, theirs, assets: dress.into_assets() })
    }

    /// The portal's path, without a slash at its end.
    #[must_use]
    pub fn portal(&self) -> &str {
        &self.portal
    }

    /// What those read whose browsers ask for no language of ours.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.language
    }

    /// The page that the template `name` makes of `context`.
    pub(super) fn render<C: Serialize>(
        &self,
        language: Language,
        name: &str,
        context: &C,
    ) -> Result<String, Error> {
        if let Some(theirs) = &self.theirs {
            match theirs.template(language, name).and_then(|template| template.render(Serde(context))) {
                Ok(page) => return Ok(page),
                Err(error) => {
                    tracing::error!(%error, name, "template of `portal.templates` fails; ours takes its place");
                }
            }
        }
        self.ours.template(language, name)?.render(Serde(context))
    }

    /// The file called `name` that pages load.
    pub(super) fn asset(&self, name: &str) -> Option<Response<Bytes>> {
        let own = self.assets.iter().find(|asset| asset.is_called(name));
        own.map(Asset::response).or_else(|| assets::serve(name))
    }
}

/// Our templates and the stylesheet, for a deployer who wants to change them: names and contents.
pub fn originals() -> impl Iterator<Item = (&'static str, &'static str)> {
    OURS.into_iter().chain([(STYLE, assets::STYLE)])
}

/// Why the pages cannot look as the configuration wants.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A file or a folder that cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A picture that makes every page slow.
    #[error(
        "{}: the logo is larger than {} KiB, and every page loads it; draw it with fewer points or colours",
        .0.display(), logo::LARGEST / 1024
    )]
    LogoTooLarge(PathBuf),
    /// A file of another kind.
    #[error("{}: the logo is neither an SVG nor a PNG", .0.display())]
    NoPicture(PathBuf),
    /// A template whose place is nowhere.
    #[error("{}: no template of ours has this name; `vestibule templates FOLDER` writes them all", .0.display())]
    NoSuchTemplate(PathBuf),
    /// A template with a mistake.
    #[error("{}:{line}: {message}", file.display())]
    Template {
        /// Its file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl LookError {
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), error: io::Error::new(error.kind(), error.to_string()) }
    }
}

/// What the deployer's files bring beside templates.
struct Dress {
    logo: Option<Asset>,
    colors: Option<Asset>,
    stylesheet: Option<Asset>,
}

impl Dress {
    fn read(config: &Config) -> Result<Self, Vec<LookError>> {
        let logo = config.branding.logo.as_deref().map(logo::read).transpose();
        let stylesheet = config.templates.as_deref().map(stylesheet).transpose();
        match (logo, stylesheet) {
            (Ok(logo), Ok(stylesheet)) => {
                let css = |rules: String| Asset::new("colors", "css", assets::CSS, Bytes::from(rules));
                Ok(Self { logo, colors: config.branding.style().map(css), stylesheet: stylesheet.flatten() })
            }
            (logo, stylesheet) => Err(logo.err().into_iter().chain(stylesheet.err()).collect()),
        }
    }

    /// What every template knows, in a language.
    fn globals(&self, config: &Config, language: Language) -> Vec<(&'static str, Value)> {
        let path = |asset: &Asset| asset.path(&config.path);
        let logo = self.logo.as_ref().map(path);
        let icon = self.logo.as_ref().unwrap_or(&ICON);
        vec![
            ("brand", config.branding.in_language(language, logo.as_deref())),
            ("portal", Value::from(config.path.as_str())),
            ("language", Value::from(language.tag())),
            ("stylesheet", Value::from(path(self.stylesheet.as_ref().unwrap_or(&STYLESHEET)))),
            ("colors", Value::from(self.colors.as_ref().map(path))),
            ("icon", Value::from(path(icon))),
            ("icon_type", Value::from(icon.content_type())),
            ("script", Value::from(path(&SCRIPT))),
            ("onward", Value::from(path(&ONWARD))),
        ]
    }

    fn into_assets(self) -> Vec<Asset> {
        [self.logo, self.colors, self.stylesheet].into_iter().flatten().collect()
    }
}

/// The deployer's stylesheet, if there is one beside their templates.
fn stylesheet(folder: &Path) -> Result<Option<Asset>, LookError> {
    let path = folder.join(STYLE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Asset::new("style", "css", assets::CSS, Bytes::from(text)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LookError::unreadable(&path, &error)),
    }
}

const STYLE: &str = "style.css";

#[cfg(test)]
mod tests;
