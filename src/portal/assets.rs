//! The files that our pages load: one stylesheet, one icon and one script.
//!
//! Their names hold a hash of their content, so that a browser may keep them for a year. Invariant:
//! nothing else is ever served here.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use sha2::{Digest, Sha256};

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

impl Asset {
    /// Where it is found, under the portal's path.
    #[must_use]
    pub fn path(&self, portal: &str) -> String {
        format!("{portal}{FOLDER}{}", self.name)
    }

    fn new(stem: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let hash = Sha256::digest(content);
        let hash = hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        Self { name: format!("{stem}-{hash:016x}.{extension}"), content_type, content }
    }

    fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(self.content.as_bytes()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOR_A_YEAR));
        response
    }
}

/// The look of all pages.
pub static STYLESHEET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")));

/// The mark in a browser's tab.
pub static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("mark", "svg", "image/svg+xml; charset=utf-8", include_str!("assets/mark.svg"))
});

/// What asks the browser for a passkey.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("passkey", "js", "text/javascript; charset=utf-8", include_str!("assets/passkey.js"))
});

/// Where assets lie, below the portal's path.
pub(super) const FOLDER: &str = "/assets/";

const FOR_A_YEAR: &str = "public, max-age=31536000, immutable";

/// The asset called `name`, if it is one of the present ones.
pub(super) fn serve(name: &str) -> Option<Response<Bytes>> {
    [&STYLESHEET, &ICON, &SCRIPT].into_iter().find(|asset| asset.name == name).map(|asset| asset.response())
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
            assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().ends_with("charset=utf-8"));
        }
    }

    #[test]
    fn nothing_else_is_served() {
        for name in ["", "style.css", "style-000000000000.css", "../mod.rs", "mark.svg"] {
            assert!(serve(name).is_none(), "{name}");
        }
    }
}
