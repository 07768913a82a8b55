//! The files that pages load: a stylesheet, an icon and a script of ours, and what [`super::look`] reads.
//!
//! Their names hold a hash of their content, so that a browser may keep them for a year. Invariant:
//! nothing else is ever served here.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use sha2::{Digest, Sha256};

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    name: String,
    content_type: &'static str,
    content: Bytes,
    is_sandboxed: bool,
}

impl Asset {
    /// Where it is found, under the portal's path.
    #[must_use]
    pub fn path(&self, portal: &str) -> String {
        format!("{portal}{FOLDER}{}", self.name)
    }

    /// What it is.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        self.content_type
    }

    pub(super) fn new(stem: &str, extension: &str, content_type: &'static str, content: Bytes) -> Self {
        let hash = Sha256::digest(&content);
        let hash = hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        Self { name: format!("{stem}-{hash:016x}.{extension}"), content_type, content, is_sandboxed: false }
    }

    /// The same for a file that we did not make: as a page of its own it can neither run nor load anything.
    pub(super) fn sandboxed(self) -> Self {
        Self { is_sandboxed: true, ..self }
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.content.clone());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_A_YEAR));
        if self.is_sandboxed {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
        }
        response
    }

    fn ours(stem: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        Self::new(stem, extension, content_type, Bytes::from_static(content.as_bytes()))
    }
}

/// The look of all pages.
pub static STYLESHEET: LazyLock<Asset> = LazyLock::new(|| Asset::ours("style", "css", CSS, STYLE));

/// The mark in a browser's tab.
pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::ours("mark", "svg", "image/svg+xml", include_str!("assets/mark.svg")));

/// What asks the browser for a passkey.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::ours("passkey", "js", "text/javascript; charset=utf-8", include_str!("assets/passkey.js"))
});

/// Where assets lie, below the portal's path.
pub(super) const FOLDER: &str = "/assets/";

/// The type of a stylesheet.
pub(super) const CSS: &str = "text/css; charset=utf-8";

/// The text of [`STYLESHEET`].
pub(super) const STYLE: &str = include_str!("assets/style.css");

const FOR_A_YEAR: &str = "public, max-age=31536000, immutable";

/// SECURITY: an SVG is a document. Its own styles are all that it may bring; nothing of ours shares its origin.
const SANDBOX: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Our asset called `name`, if it is one of the present ones.
pub(super) fn serve(name: &str) -> Option<Response<Bytes>> {
    let asset = [&STYLESHEET, &ICON, &SCRIPT].into_iter().find(|asset| asset.is_called(name));
    asset.map(|asset| asset.response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_found_at_its_path_and_may_be_kept() {
        for asset in [&STYLESHEET, &ICON, &SCRIPT] {
            let path = asset.path("/.vestibule");
            let response = serve(path.strip_prefix("/.vestibule/assets/").unwrap()).unwrap();
            assert_eq!(response.headers()[CACHE_CONTROL], FOR_A_YEAR);
            assert_eq!(response.headers()[CONTENT_TYPE], asset.content_type());
        }
    }

    #[test]
    fn nothing_else_is_served() {
        for name in ["", "style.css", "style-000000000000.css", "../mod.rs", "mark.svg"] {
            assert!(serve(name).is_none(), "{name}");
        }
    }
}
