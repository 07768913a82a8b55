//! `[log]`: what is written where.

use std::path::Path;

use crate::telemetry::{Config, Format};

use super::path::file_in;
use super::read::Section;

/// Reads `[log]`; the audit file is relative to `state_dir`.
pub(super) fn read(root: &mut Section<'_>, state_dir: &Path) -> Config {
    let formats = [("text", Format::Text), ("json", Format::Json)];
    root.within("log", |section| Config {
        format: section.one_of("format", Format::Text, &formats, &[]),
        access: section.flag("access", true),
        audit: section
            .text("audit", |text| file_in(state_dir, text))
            .unwrap_or_else(|| state_dir.join("audit.log")),
    })
}
