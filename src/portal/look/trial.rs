//! Whether the deployer's templates will do, asked when they are read and not when somebody waits for a page.
//!
//! Each is parsed, its variables are compared with those of the template whose place it takes, and it is
//! rendered once with nothing. What only a real page would show is left: there, ours takes its place.
//! Invariant: a template in which escaping is turned off is refused.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use super::LookError;
use super::templates::{OURS, Shelf, Theirs};
use crate::portal::languages::Language;

/// Reads the templates in `folder`, which take the place of ours by their names.
pub(super) fn read(folder: &Path) -> Result<Vec<Theirs>, Vec<LookError>> {
    let unreadable = |error: std::io::Error| vec![LookError::unreadable(folder, &error)];
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    let (mut theirs, mut errors) = (Vec::new(), Vec::new());
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "html")) {
        match read_one(path) {
            Ok(template) => theirs.push(template),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(theirs) } else { Err(errors) }
}

fn read_one(path: &Path) -> Result<Theirs, LookError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ours = OURS.iter().find(|(ours, _)| *ours == name);
    let (name, _) = ours.ok_or_else(|| LookError::NoSuchTemplate(path.to_owned()))?;
    let source = std::fs::read_to_string(path).map_err(|error| LookError::unreadable(path, &error))?;
    Ok(Theirs { name, source })
}

/// The templates of the deployer over ours, or all that is wrong with them.
pub(super) fn overlay(ours: &Shelf, theirs: &[Theirs], folder: &Path) -> Result<Shelf, Vec<LookError>> {
    let faults: Vec<Fault> = match ours.overlaid(theirs) {
        Ok(shelf) => {
            let found: Vec<Fault> =
                theirs.iter().flat_map(|template| faults(ours, &shelf, template)).collect();
            if found.is_empty() {
                return Ok(shelf);
            }
            found
        }
        Err(_) => theirs.iter().filter_map(|template| syntax(ours, template)).collect(),
    };
    Err(faults.into_iter().map(|fault| fault.in_folder(folder)).collect())
}

/// Something wrong in a template of the deployer's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    name: String,
    line: usize,
    message: String,
}

impl Fault {
    fn of(error: &Error) -> Self {
        // What is wrong in a template that another includes stands at the bottom.
        let innermost = causes(error).last().unwrap_or(error);
        let detail = innermost.detail().map_or_else(|| innermost.kind().to_string(), str::to_owned);
        let at = if innermost.line().is_some() { innermost } else { error };
        let name = at.name().or(error.name()).unwrap_or_default().to_owned();
        Self { name, line: at.line().unwrap_or(1), message: detail }
    }

    fn in_folder(self, folder: &Path) -> LookError {
        LookError::Template {
            file: PathBuf::from(folder).join(self.name),
            line: self.line,
            message: self.message,
        }
    }
}

fn syntax(ours: &Shelf, template: &Theirs) -> Option<Fault> {
    ours.overlaid(std::slice::from_ref(template)).err().map(|error| Fault::of(&error))
}

fn faults(ours: &Shelf, shelf: &Shelf, template: &Theirs) -> Vec<Fault> {
    let mut faults = unknown_variables(ours, shelf, template);
    faults.extend(unescaped(template));
    faults.extend(rendered_with_nothing(shelf, template));
    faults.sort();
    faults.dedup_by(|one, two| one.line == two.line && one.name == two.name);
    faults
}

/// Variables that neither the page nor its surroundings have, and words that no language has.
fn unknown_variables(ours: &Shelf, shelf: &Shelf, template: &Theirs) -> Vec<Fault> {
    let templates = shelf.of(Language::English);
    let globals: BTreeMap<&str, _> = templates.globals().collect();
    let of_page: HashSet<String> =
        [template.name, "base.html"].iter().flat_map(|name| used(ours, name, Names::Whole)).collect();
    let is_known = |name: &str| {
        let (head, rest) = name.split_once('.').unwrap_or((name, ""));
        let word = rest.split('.').next().unwrap_or_default();
        match globals.get(head) {
            Some(table) if head == "strings" || head == "brand" => {
                word.is_empty() || table.get_attr(word).is_ok_and(|value| !value.is_undefined())
            }
            Some(_) => true,
            None => of_page.contains(head) || OF_THE_LANGUAGE.contains(&head),
        }
    };
    let unknown = used(shelf, template.name, Names::Dotted).into_iter().filter(|name| !is_known(name));
    let fault = |name: String| Fault {
        line: line_of(&template.source, name.split('.').next_back().unwrap_or_default()),
        name: template.name.to_owned(),
        message: format!("`{name}` is not known on this page"),
    };
    unknown.map(fault).collect()
}

/// How names of variables are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Whole,
    Dotted,
}

/// The variables that a template does not set itself.
fn used(shelf: &Shelf, name: &str, names: Names) -> HashSet<String> {
    let template = shelf.template(Language::English, name);
    template.map(|template| template.undeclared_variables(names == Names::Dotted)).unwrap_or_default()
}

/// The first line in which `word` stands by itself.
fn line_of(source: &str, word: &str) -> usize {
    let stands_in =
        |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word);
    source.lines().position(stands_in).map_or(1, |index| index + 1)
}

/// SECURITY: names of users and hosts stand on pages.
fn unescaped(template: &Theirs) -> Option<Fault> {
    let is_tag = |part: &&str| part.trim_start_matches(['-', '+']).trim_start().starts_with("autoescape");
    let parts: Vec<&str> = template.source.split("{%").collect();
    let before = parts.iter().skip(1).position(is_tag)? + 1;
    let lines: usize = parts.iter().take(before).map(|part| part.matches('\n').count()).sum();
    let message = "escaping cannot be turned off".to_owned();
    Some(Fault { name: template.name.to_owned(), line: lines + 1, message })
}

/// What goes wrong on any page: a base, a filter or a function that is not there.
fn rendered_with_nothing(shelf: &Shelf, template: &Theirs) -> Option<Fault> {
    let mut templates: Environment<'_> = shelf.of(Language::English).clone();
    templates.set_undefined_behavior(UndefinedBehavior::Chainable);
    let nothing = BTreeMap::<&str, &str>::new();
    let error = templates.get_template(template.name).and_then(|page| page.render(Serde(nothing))).err()?;
    causes(&error).any(|cause| ANYWHERE.contains(&cause.kind())).then(|| Fault::of(&error))
}

/// The error, what it came of, and so on.
fn causes(error: &Error) -> impl Iterator<Item = &Error> {
    std::iter::successors(Some(error), cause)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as an iterator calls it")]
fn cause<'a>(error: &&'a Error) -> Option<&'a Error> {
    std::error::Error::source(*error)?.downcast_ref()
}

/// Names that the language of templates has by itself.
const OF_THE_LANGUAGE: [&str; 4] = ["caller", "loop", "self", "super"];

/// The errors that do not come of a page that has nothing to say.
const ANYWHERE: [ErrorKind; 6] = [
    ErrorKind::TemplateNotFound,
    ErrorKind::UnknownFilter,
    ErrorKind::UnknownFunction,
    ErrorKind::UnknownTest,
    ErrorKind::UnknownBlock,
    ErrorKind::SyntaxError,
];
