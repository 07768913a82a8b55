//! Answers that a route gives by itself: a redirect, or always the same response.
//!
//! Who gets them is decided before. Invariant: a redirect leads to the host that the configuration
//! names, or stays on the one that was asked; nothing of a request can change that.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, header};

use super::canonical::Canonical;
use super::reject::Reject;
use super::{Route, snapshot};

/// An answer that needs no backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Go elsewhere.
    Redirect(Redirect),
    /// This, whatever is asked.
    Respond(Respond),
}

/// Where to go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// An absolute URL, or a path on the same host.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// What of the request goes along.
    pub carry: Carry,
}

/// What of a request goes along with a redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carry {
    /// Nothing.
    #[default]
    Nothing,
    /// What follows the route's own path, and the query.
    PathAndQuery,
}

/// A response that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// Its status; no redirect.
    pub status: StatusCode,
    /// Its body, which may be empty.
    pub body: Bytes,
    /// What the body is.
    pub content_type: HeaderValue,
}

impl Redirect {
    /// Where a request for `target` is sent by the route of the prefix `path`.
    #[must_use]
    pub fn location(&self, path: &str, target: &PathAndQuery) -> String {
        if self.carry == Carry::Nothing {
            return self.to.clone();
        }
        let rest = snapshot::below(path.trim_end_matches('/'), target.path()).unwrap_or("/");
        let mut location = if target.path() == path {
            self.to.clone()
        } else {
            // SECURITY: `rest` begins with exactly one slash, so it can neither lengthen a host's name
            // nor, where `to` is the root, become `//host`.
            [self.to.trim_end_matches('/'), rest].concat()
        };
        if let Some(query) = target.query() {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

/// The answer of a route that needs no backend.
pub(super) fn response(
    fixed: &Fixed,
    route: &Route,
    canonical: &Canonical,
) -> Result<Response<Bytes>, Reject> {
    match fixed {
        Fixed::Redirect(redirect) => {
            let location = redirect.location(&route.path, &canonical.target);
            let location =
                HeaderValue::try_from(location).map_err(|error| Reject::Internal(error.to_string()))?;
            Ok(with_header(redirect.status, Bytes::new(), header::LOCATION, location))
        }
        Fixed::Respond(Respond { status, body, .. }) if body.is_empty() => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = *status;
            Ok(response)
        }
        Fixed::Respond(Respond { status, body, content_type }) => {
            Ok(with_header(*status, body.clone(), header::CONTENT_TYPE, content_type.clone()))
        }
    }
}

fn with_header(
    status: StatusCode,
    body: Bytes,
    name: header::HeaderName,
    value: HeaderValue,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(to: &str, path: &str, target: &str) -> String {
        let redirect = Redirect {
            to: to.to_owned(),
            status: StatusCode::PERMANENT_REDIRECT,
            carry: Carry::PathAndQuery,
        };
        redirect.location(path, &target.parse().unwrap())
    }

    #[test]
    fn what_follows_the_routes_path_is_put_behind_the_target() {
        for (to, path, target, expected) in [
            ("https://new.example", "/", "/", "https://new.example"),
            ("https://new.example", "/", "/a?b=c", "https://new.example/a?b=c"),
            ("https://new.example/", "/", "/a/", "https://new.example/a/"),
            ("https://new.example/w", "/wiki", "/wiki", "https://new.example/w"),
            ("https://new.example/w", "/wiki", "/wiki?x", "https://new.example/w?x"),
            ("https://new.example/w/", "/wiki", "/wiki/x/y", "https://new.example/w/x/y"),
            ("https://new.example", "/wiki", "/wiki/.evil", "https://new.example/.evil"),
            ("/", "/old", "/old/evil.example", "/evil.example"),
            ("/", "/old", "/old", "/"),
            ("/new", "/old", "/old/x", "/new/x"),
        ] {
            assert_eq!(location(to, path, target), expected, "{to} {path} {target}");
        }
    }

    #[test]
    fn nothing_is_carried_along_unless_the_route_says_so() {
        let redirect =
            Redirect { to: "/new#top".to_owned(), status: StatusCode::SEE_OTHER, carry: Carry::Nothing };
        assert_eq!(redirect.location("/old", &"/old/x?y".parse().unwrap()), "/new#top");
    }
}
