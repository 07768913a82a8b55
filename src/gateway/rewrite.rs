//! The path that a backend sees in place of the one that was asked for, and the way back.
//!
//! Works on canonical paths that have one reading. Invariant: what comes out is canonical again, and
//! lies below the prefix that is added.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::reject::Reject;

/// How a path is written anew: a prefix goes, another comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// What is cut off: segments without a slash at the end; empty for nothing.
    pub strip: String,
    /// What is put before the rest, in the same form.
    pub add: String,
}

impl Rewrite {
    /// Whether paths stay as they are.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.strip.is_empty() && self.add.is_empty()
    }

    /// The target for the backend; none if it does not lie below the prefix, or becomes too long.
    #[must_use]
    pub fn forth(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        if self.is_nothing() {
            return Some(target.clone());
        }
        let mut path = replace(&self.strip, &self.add, target.path())?;
        if let Some(query) = target.query() {
            path.push('?');
            path.push_str(query);
        }
        PathAndQuery::try_from(path).ok()
    }

    /// What a client has to ask for to reach `path` of the backend; `path` may go on with a query. None
    /// if no request gets there.
    ///
    /// SECURITY: `/app//evil.example` without its prefix would be an address on another host.
    #[must_use]
    pub fn back(&self, path: &str) -> Option<String> {
        replace(&self.add, &self.strip, path).filter(|path| !leads_elsewhere(path))
    }

    /// The `Path` of a cookie as a client has to hold it, which may cover more than `path` did.
    #[must_use]
    pub fn cookie_path(&self, path: &str) -> Option<String> {
        let covers = self.add.strip_prefix(path.trim_end_matches('/'));
        match covers {
            // It is sent to all that the backend has below the prefix.
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                Some(if self.strip.is_empty() { "/".to_owned() } else { self.strip.clone() })
            }
            _ => self.back(path),
        }
    }
}

/// Brings a request that is ready to be sent to the path that the backend knows, and tells it which
/// prefix is missing there.
pub(super) fn apply<B>(rewrite: &Rewrite, request: &mut Request<B>) -> Result<(), Reject> {
    if rewrite.is_nothing() {
        return Ok(());
    }
    let target = request.uri().path_and_query().and_then(|target| rewrite.forth(target));
    *request.uri_mut() = Uri::from(target.ok_or(Reject::HeaderTooLarge)?);
    if !rewrite.strip.is_empty() {
        tell_prefix(&rewrite.strip, request.headers_mut());
    }
    Ok(())
}

/// Sets `X-Forwarded-Prefix`, behind the prefix that a trusted proxy before us has cut off already.
fn tell_prefix(prefix: &str, headers: &mut HeaderMap) {
    let mut before = headers.get_all(&X_FORWARDED_PREFIX).iter();
    let outer = match (before.next(), before.next()) {
        (Some(outer), None) => outer.to_str().ok().filter(|outer| is_prefix(outer)).unwrap_or_default(),
        _ => "",
    };
    let value = HeaderValue::try_from(format!("{}{prefix}", outer.trim_end_matches('/')));
    match value {
        Ok(value) => headers.insert(X_FORWARDED_PREFIX, value),
        Err(_) => headers.remove(X_FORWARDED_PREFIX),
    };
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('/') && !text.contains("//") && !text.contains([',', '\\', ' '])
}

/// `path` with the prefix `from` replaced by `to`, on a segment border; none if it does not lie there.
fn replace(from: &str, to: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(from)?;
    if !from.is_empty() && !rest.is_empty() && !rest.starts_with(['/', '?', '#']) {
        return None;
    }
    let root = if to.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    Some([root, to, rest].concat())
}

/// Whether browsers read a host at the beginning of a path: they take a backslash for a slash, and tabs and
/// ends of lines for nothing (WHATWG URL section 4.4).
fn leads_elsewhere(path: &str) -> bool {
    let mut read = path.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
    read.next() == Some('/') && matches!(read.next(), Some('/' | '\\'))
}

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::canonical::Canonical;
    use super::*;

    fn rewrite(strip: &str, add: &str) -> Rewrite {
        Rewrite { strip: strip.to_owned(), add: add.to_owned() }
    }

    fn canonical(target: &str) -> Option<PathAndQuery> {
        let request = Request::builder().uri(target).header("host", "a").body(()).ok()?;
        Canonical::of(&request).ok().filter(|it| it.ambiguity.is_none()).map(|it| it.target)
    }

    #[test]
    fn a_prefix_goes_and_another_comes() {
        for (strip, add, from, to) in [
            ("/wiki", "", "/wiki", "/"),
            ("/wiki", "", "/wiki/", "/"),
            ("/wiki", "", "/wiki?a=/wiki", "/?a=/wiki"),
            ("/wiki", "", "/wiki/a/b?c", "/a/b?c"),
            ("/a/b", "", "/a/b/a/b", "/a/b"),
            ("", "/app", "/", "/app/"),
            ("", "/app", "/x?y", "/app/x?y"),
            ("/wiki", "/app/v1", "/wiki", "/app/v1"),
            ("/wiki", "/app", "/wiki/", "/app/"),
            ("/wiki", "/app", "/wiki/x", "/app/x"),
        ] {
            let target = from.parse().unwrap();
            assert_eq!(rewrite(strip, add).forth(&target).unwrap(), to, "{strip} {add} {from}");
        }
        assert_eq!(rewrite("/wiki", "").forth(&"/wikis/x".parse().unwrap()), None);
    }

    #[test]
    fn the_way_back_leads_to_where_a_request_came_from() {
        for (strip, add, from, to) in [
            ("/wiki", "", "/login?next=/", Some("/wiki/login?next=/")),
            ("/wiki", "", "/", Some("/wiki/")),
            ("/wiki", "/app", "/app/x", Some("/wiki/x")),
            ("/wiki", "/app", "/app", Some("/wiki")),
            ("", "/app", "/app", Some("/")),
            ("", "/app", "/app?x", Some("/?x")),
            ("", "/app", "/app#x", Some("/#x")),
            ("", "/app", "/apple", None),
            ("", "/app", "/elsewhere", None),
            ("", "/app", "/app//evil.example/", None),
            ("", "/app", "/app/\\evil.example/", None),
            ("", "/app", "/app/\t/evil.example/", None),
            ("", "/app", "/app/\t\\evil.example/", None),
            ("", "/app", "/app/x//y", Some("/x//y")),
            ("/wiki", "/app", "/app//evil.example/", Some("/wiki//evil.example/")),
        ] {
            assert_eq!(rewrite(strip, add).back(from).as_deref(), to, "{strip} {add} {from}");
        }
    }

    #[test]
    fn a_cookie_for_more_than_the_prefix_is_one_for_all_that_a_client_can_reach() {
        for (strip, add, from, to) in [
            ("/wiki", "", "/", Some("/wiki")),
            ("/wiki", "", "/admin", Some("/wiki/admin")),
            ("/wiki", "/app/v1", "/", Some("/wiki")),
            ("/wiki", "/app/v1", "/app", Some("/wiki")),
            ("/wiki", "/app/v1", "/app/v1/", Some("/wiki")),
            ("/wiki", "/app/v1", "/app/v1/x", Some("/wiki/x")),
            ("", "/app", "/app", Some("/")),
            ("", "/app", "/other", None),
        ] {
            assert_eq!(rewrite(strip, add).cookie_path(from).as_deref(), to, "{strip} {add} {from}");
        }
    }

    #[test]
    fn a_trusted_proxys_prefix_comes_before_ours() {
        for (before, told) in [
            (&[][..], "/wiki"),
            (&["/outer"], "/outer/wiki"),
            (&["/outer/"], "/outer/wiki"),
            (&["/a", "/b"], "/wiki"),
            (&["//evil"], "/wiki"),
            (&["https://evil"], "/wiki"),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(X_FORWARDED_PREFIX, HeaderValue::from_static(value));
            }
            tell_prefix("/wiki", &mut headers);
            let values: Vec<_> = headers.get_all(X_FORWARDED_PREFIX).iter().collect();
            assert_eq!(values, [told], "{before:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rewritten_path_is_canonical_and_lies_below_the_added_prefix(
            path in "(/wiki)?(/[a.%2eE5cCfF/?#-]{0,6}){0,4}",
            strip in prop_oneof![Just(""), Just("/wiki")],
            add in prop_oneof![Just(""), Just("/app"), Just("/app/v1")],
        ) {
            let Some(target) = canonical(&path) else { return Ok(()) };
            let Some(forth) = rewrite(strip, add).forth(&target) else { return Ok(()) };
            prop_assert_eq!(canonical(forth.as_str()), Some(forth.clone()));
            let rest = forth.path().strip_prefix(add);
            prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
            if let Some(back) = rewrite(strip, add).back(forth.as_str()) {
                prop_assert_eq!(rewrite(strip, add).forth(&back.parse().unwrap()), Some(forth));
            }
        }
    }
}
