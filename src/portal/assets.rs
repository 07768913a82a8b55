//! The files that pages load: a stylesheet, an icon and two scripts of ours, and what [`super::look`] reads; and
//! the script of the expiry notice, which other pages load.
//!
//! The names of the former hold a hash of their content, so that a browser may keep them for a year; the
//! latter has a name that people write into their pages. Invariant: nothing else is ever served here.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
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
        let name = format!("{stem}-{}.{extension}", hash(&content));
        Self { name, content_type, content, is_sandboxed: false }
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
    LazyLock::new(|| Asset::ours("mark", "svg", SVG, include_str!("assets/mark.svg")));

/// What asks the browser for a passkey.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::ours("passkey", "js", JAVASCRIPT, include_str!("assets/passkey.js")));

/// What keeps the fragment of the wanted address on the way to a session.
pub static ONWARD: LazyLock<Asset> =
    LazyLock::new(|| Asset::ours("onward", "js", JAVASCRIPT, include_str!("assets/onward.js")));

/// Where assets lie, below the portal's path.
pub(super) const FOLDER: &str = "/assets/";

/// The type of a stylesheet.
pub(super) const CSS: &str = "text/css; charset=utf-8";

/// The text of [`STYLESHEET`].
pub(super) const STYLE: &str = include_str!("assets/style.css");

/// The script of the expiry notice: whole, or that the browser's copy is still good.
pub(super) fn notice(headers: &HeaderMap) -> Response<Bytes> {
    let (content, tag) = &*NOTICE;
    let mut response = Response::new(content.clone());
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag) {
        response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JAVASCRIPT));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOR_AN_HOUR));
    response.headers_mut().insert(ETAG, tag.clone());
    response
}

static NOTICE: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let content = without_comments(include_str!("assets/notice.js"));
    let tag = HeaderValue::try_from(format!("\"{}\"", hash(content.as_bytes())));
    (Bytes::from(content), tag.unwrap_or_else(|_| HeaderValue::from_static("\"notice\"")))
});

/// A script without the lines that are comments, and without indentation.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn hash(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hash = hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    format!("{hash:016x}")
}

const SVG: &str = "image/svg+xml; charset=utf-8";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const FOR_A_YEAR: &str = "public, max-age=31536000, immutable";

const FOR_AN_HOUR: &str = "public, max-age=3600";

/// SECURITY: an SVG is a document. Its own styles are all that it may bring; nothing of ours shares its origin.
const SANDBOX: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Our asset called `name`, if it is one of the present ones.
pub(super) fn serve(name: &str) -> Option<Response<Bytes>> {
    let asset = [&STYLESHEET, &ICON, &SCRIPT, &ONWARD].into_iter().find(|asset| asset.is_called(name));
    asset.map(|asset| asset.response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_found_at_its_path_and_may_be_kept() {
        for asset in [&STYLESHEET, &ICON, &SCRIPT, &ONWARD] {
            let path = asset.path("/.vestibule");
            let response = serve(path.strip_prefix("/.vestibule/assets/").unwrap()).unwrap();
            assert_eq!(response.headers()[CACHE_CONTROL], FOR_A_YEAR);
            assert_eq!(response.headers()[CONTENT_TYPE], asset.content_type());
        }
    }

    #[test]
    fn the_script_of_the_notice_is_small_and_asked_for_again_only_when_it_changed() {
        let whole = notice(&HeaderMap::new());
        let size = whole.body().len();
        assert!(size < 8 * 1024, "{size} bytes");
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, whole.headers()[ETAG].clone())]);
        let same = notice(&known);
        assert_eq!((same.status(), same.body().len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(same.headers()[CACHE_CONTROL], FOR_AN_HOUR);
    }

    #[test]
    fn nothing_else_is_served() {
        for name in ["", "style.css", "style-000000000000.css", "../mod.rs", "mark.svg"] {
            assert!(serve(name).is_none(), "{name}");
        }
    }
}
