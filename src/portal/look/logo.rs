//! The deployer's picture.
//!
//! Invariant: what is served is a PNG or an SVG, under exactly that type, and where a browser opens it by
//! itself it can run and load nothing.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LookError;
use crate::portal::assets::Asset;

/// Reads the picture.
pub(super) fn read(path: &Path) -> Result<Asset, LookError> {
    let content = std::fs::read(path).map_err(|error| LookError::unreadable(path, &error))?;
    if content.len() > LARGEST {
        return Err(LookError::LogoTooLarge(path.to_owned()));
    }
    let (extension, content_type) =
        kind(&content).ok_or_else(|| LookError::NoPicture(PathBuf::from(path)))?;
    Ok(Asset::new("logo", extension, content_type, Bytes::from(content)).sandboxed())
}

/// By what the file holds: its name may say anything.
fn kind(content: &[u8]) -> Option<(&'static str, &'static str)> {
    if content.starts_with(PNG) {
        return Some(("png", "image/png"));
    }
    let text = std::str::from_utf8(content).ok()?.trim_start_matches('\u{feff}').trim_start();
    let is_svg = text.starts_with('<') && text.contains("<svg") && text.trim_end().ends_with('>');
    is_svg.then_some(("svg", "image/svg+xml"))
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes. Every page loads it, and a page of ours is small in all.
pub(super) const LARGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_what_it_holds() {
        assert_eq!(kind(b"\x89PNG\r\n\x1a\nrest").unwrap().1, "image/png");
        for svg in ["<svg/>", "\u{feff}<?xml version=\"1.0\"?>\n<!-- a -->\n<svg xmlns=\"x\"></svg>\n"] {
            assert_eq!(kind(svg.as_bytes()).unwrap().1, "image/svg+xml", "{svg}");
        }
        for other in [&b""[..], b"GIF89a", b"\xff\xd8\xff", b"<html></html>", b"svg", b"<svg", b"\x80<svg/>"]
        {
            assert_eq!(kind(other), None, "{other:?}");
        }
    }
}
