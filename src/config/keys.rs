//! `[keys]`: where the key ring lies. The file is not opened here.

use std::path::{Path, PathBuf};

use super::path::file_in;
use super::read::Section;

/// Reads `[keys]`; the file is relative to `folder`.
pub(super) fn read(root: &mut Section<'_>, folder: &Path) -> PathBuf {
    root.within("keys", |section| {
        section.text("file", |text| file_in(folder, text)).unwrap_or_else(|| folder.join("keys.toml"))
    })
}
