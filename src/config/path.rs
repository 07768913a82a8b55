//! Paths: those of files, relative to a folder, and those of URLs, in canonical form.
//!
//! Invariant: a path prefix that is let through here is what the canonical path of a request is
//! compared with, so there is one way to write each.

use std::path::{Path, PathBuf};

use super::problem::{Wrong, quoted};

/// The file that `text` names, seen from `folder`.
pub(super) fn file_in(folder: &Path, text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("the name of the file is empty"));
    }
    if text.contains('\0') {
        return Err(Wrong::new(format!("{} cannot be the name of a file", quoted(text))));
    }
    Ok(folder.join(text))
}

/// The file that `sqlite:PATH` names, seen from `folder`; none if `text` is of another scheme.
pub(super) fn sqlite_file(folder: &Path, text: &str) -> Option<Result<PathBuf, Wrong>> {
    let path = text.strip_prefix("sqlite:")?;
    if let Some(path) = path.strip_prefix("//") {
        let wrong = Wrong::new("a file follows `sqlite:` without `//`");
        return Some(Err(wrong.did_you_mean(&format!("sqlite:{path}"))));
    }
    Some(file_in(folder, path))
}

/// Reads a path prefix: `/`, or segments without a slash at the end.
pub(super) fn prefix(text: &str) -> Result<String, Wrong> {
    if !text.starts_with('/') {
        let wrong = Wrong::new(format!("{} does not begin with `/`", quoted(text)));
        return Err(wrong.did_you_mean(&format!("/{text}")));
    }
    check_characters(text)?;
    let segments = text.trim_end_matches('/');
    if text.contains("//") {
        return Err(Wrong::new(format!("{} has an empty segment (`//`)", quoted(text)))
            .did_you_mean(&without_empty_segments(text)));
    }
    if segments.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Wrong::new(format!("{} has a `.` or `..` segment", quoted(text)))
            .help("requests are compared after these are resolved; write the path they lead to"));
    }
    Ok(if segments.is_empty() { "/".to_owned() } else { segments.to_owned() })
}

/// Whether `path` is `prefix` or lies below it, on a segment border.
pub(super) fn is_within(path: &str, prefix: &str) -> bool {
    let below = path.strip_prefix(prefix.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_characters(text: &str) -> Result<(), Wrong> {
    if let Some(before) = text.strip_suffix("/*") {
        let meant = if before.is_empty() { "/" } else { before };
        return Err(Wrong::new(format!("{} ends with `*`, but every path is a prefix", quoted(text)))
            .did_you_mean(meant));
    }
    let odd = text.chars().find(|c| !c.is_ascii_graphic() || "%?#\\*\"<>`{}|^".contains(*c));
    let Some(odd) = odd else { return Ok(()) };
    let wrong = Wrong::new(format!("{} holds {}", quoted(text), quoted(&odd.to_string())));
    Err(match odd {
        '?' | '#' => wrong.help("a route is chosen by the path alone; leave the rest out"),
        _ => wrong.help(
            "letters, digits, `/` and `-._~!$&'()+,;=:@[]` are allowed; end the prefix before that segment",
        ),
    })
}

fn without_empty_segments(text: &str) -> String {
    let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slash_at_the_end_of_a_prefix_means_nothing() {
        for (text, canonical) in [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/b.c/", "/a/b.c")] {
            assert_eq!(prefix(text).as_deref(), Ok(canonical));
        }
    }

    #[test]
    fn a_prefix_that_no_canonical_path_could_have_is_refused() {
        for bad in [
            "", "a", "/a//b", "//", "/a/../b", "/.", "/..", "/a%2fb", "/a?b", "/a b", "/ä", "/a\\b", "/a/*",
            "/a\n",
        ] {
            assert!(prefix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_lies_within_a_prefix_on_segment_borders_only() {
        assert!(is_within("/x", "/x") && is_within("/x/y", "/x") && is_within("/x", "/"));
        assert!(!is_within("/xy", "/x") && !is_within("/", "/x"));
    }

    #[test]
    fn files_are_relative_to_their_folder() {
        let folder = Path::new("/etc/vestibule");
        assert_eq!(file_in(folder, "a.pem"), Ok("/etc/vestibule/a.pem".into()));
        assert_eq!(file_in(folder, "/b.pem"), Ok("/b.pem".into()));
        assert_eq!(sqlite_file(folder, "sqlite:a.db"), Some(Ok("/etc/vestibule/a.db".into())));
        assert!(file_in(folder, "").is_err());
        assert_eq!(sqlite_file(folder, "memory:"), None);
        assert!(matches!(sqlite_file(folder, "sqlite:///a.db"), Some(Err(_))));
    }

    proptest! {
        #[test]
        fn an_accepted_prefix_stays_as_it_is(text in "\\PC{0,16}|/[a-z./%*]{0,16}") {
            if let Ok(path) = prefix(&text) {
                prop_assert_eq!(prefix(&path), Ok(path.clone()));
                prop_assert!(path == "/" || !path.ends_with('/'));
            }
        }
    }
}
