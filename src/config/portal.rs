//! `[portal]`: where the gateway's own pages are.

use crate::portal::Config;

use super::path::prefix;
use super::problem::Wrong;
use super::read::Section;

/// Reads `[portal]`.
pub(super) fn read(root: &mut Section<'_>) -> Config {
    root.within("portal", |section| Config {
        path: section.text("path", portal_path).unwrap_or_else(|| "/.vestibule".to_owned()),
    })
}

fn portal_path(text: &str) -> Result<String, Wrong> {
    match prefix(text)? {
        root if root == "/" => Err(Wrong::new("the gateway's own pages cannot take every path")
            .help("name at least one segment, as in `/.vestibule`")),
        path => Ok(path),
    }
}
