//! Templates and the headers of what is made from them.
//!
//! What stands on a page is its handler's matter. Invariants: every text is escaped; every page
//! carries a content security policy that allows no script and no style but our own, and is kept by
//! no cache.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::assets;
use super::return_to::ReturnTo;
use super::strings::ENGLISH;
use crate::clock::Timestamp;
use crate::identity::UserId;

/// The policy of our own pages. Chromium applies `form-action` to the redirects after a form as
/// well: the one after login stays on the same origin.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; object-src 'none'; frame-ancestors 'none'";

/// The policy of the pages between a request and a session: a script keeps the fragment of the wanted address
/// there, and asks the browser for a passkey.
const SCRIPTED_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; object-src 'none'; frame-ancestors 'none'";

/// What every page of ours carries, beside the headers of every response of the gateway. A form needs
/// a referrer policy that lets `Origin` through; the pages say so in a `meta` element.
pub const PAGE_HEADERS: [(HeaderName, HeaderValue); 9] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("deny")),
    (header::X_DNS_PREFETCH_CONTROL, HeaderValue::from_static("off")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-embedder-policy"), HeaderValue::from_static("require-corp")),
];

/// Where a page stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The portal's path, without a slash at its end.
    pub portal: &'a str,
    /// The host that the browser asked for, for people to read.
    pub host: &'a str,
}

/// A page that says that something is not possible.
#[derive(Clone, Debug)]
pub struct ErrorPage<'a> {
    /// Where it stands.
    pub place: Place<'a>,
    /// The status of the response.
    pub status: StatusCode,
    /// The matter in three words.
    pub title: &'a str,
    /// What happened, without internals.
    pub happened: &'a str,
    /// What the reader can do.
    pub advice: &'a str,
    /// What an administrator finds in the logs.
    pub request_id: &'a str,
    /// Who reads it.
    pub reader: Reader<'a>,
}

/// Who reads an error page.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// Somebody for whom signing in changes nothing.
    Anybody,
    /// Somebody who may try again later, here.
    Waiting(&'a ReturnTo),
    /// Somebody who should sign in, to come back here.
    Stranger(&'a ReturnTo),
    /// Somebody who may sign in as somebody else, to come back here.
    User(&'a UserId, &'a ReturnTo),
}

/// The response that shows an error page.
#[must_use]
pub fn error(page: &ErrorPage<'_>) -> Response<Bytes> {
    let (user, next) = match page.reader {
        Reader::Anybody | Reader::Waiting(_) => (None, None),
        Reader::Stranger(next) => (None, Some(next.to_query())),
        Reader::User(user, next) => (Some(user.as_str()), Some(next.to_query())),
    };
    let again = match page.reader {
        Reader::Waiting(here) => Some(here.as_str()),
        _ => None,
    };
    let context = ErrorContext {
        title: page.title,
        happened: page.happened,
        advice: page.advice,
        status: page.status.as_u16(),
        request_id: page.request_id,
        user,
        next: next.as_deref(),
        again,
    };
    render(page.place, page.status, "error.html", &context)
}

/// The response that shows the template `name`.
pub(super) fn render<C: Serialize>(
    place: Place<'_>,
    status: StatusCode,
    name: &str,
    page: &C,
) -> Response<Bytes> {
    let frame = Frame {
        portal: place.portal,
        host: place.host,
        stylesheet: assets::STYLESHEET.path(place.portal),
        icon: assets::ICON.path(place.portal),
        script: assets::SCRIPT.path(place.portal),
        onward: assets::ONWARD.path(place.portal),
        page,
    };
    match TEMPLATES.get_template(name).and_then(|template| template.render(Serde(frame))) {
        Ok(html) => respond(status, "text/html; charset=utf-8", html),
        Err(error) => {
            tracing::error!(%error, name, "own page cannot be made");
            respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "This page cannot be shown.\n".to_owned())
        }
    }
}

/// The same page, on which our own script may run.
pub(super) fn scripted(mut response: Response<Bytes>) -> Response<Bytes> {
    let policy = HeaderValue::from_static(SCRIPTED_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A response of ours that is not a page.
pub(super) fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    protect(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sends the browser on by GET.
pub(super) fn see_other(location: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    protect(response.headers_mut());
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// A time for people, as in `2026-11-21 04:10 UTC`.
pub(super) fn readable(time: Timestamp) -> String {
    let text = humantime::format_rfc3339_seconds(time.to_system_time()).to_string();
    let minutes = text.rsplit_once(':').map_or(text.as_str(), |(minutes, _seconds)| minutes);
    format!("{} UTC", minutes.replace('T', " "))
}

/// The type of a body in plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Serialize)]
struct Frame<'a, C> {
    portal: &'a str,
    host: &'a str,
    stylesheet: String,
    icon: String,
    script: String,
    onward: String,
    #[serde(flatten)]
    page: &'a C,
}

#[derive(Serialize)]
struct ErrorContext<'a> {
    title: &'a str,
    happened: &'a str,
    advice: &'a str,
    status: u16,
    request_id: &'a str,
    user: Option<&'a str>,
    next: Option<&'a str>,
    again: Option<&'a str>,
}

const PERMISSIONS: &str = "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()";

/// All of them end in `.html`: that is what turns escaping on.
const SOURCES: [(&str, &str); 18] = [
    ("builtin.html", include_str!("templates/builtin.html")),
    ("base.html", include_str!("templates/base.html")),
    ("login.html", include_str!("templates/login.html")),
    ("at_limit.html", include_str!("templates/at_limit.html")),
    ("switch.html", include_str!("templates/switch.html")),
    ("logout.html", include_str!("templates/logout.html")),
    ("account.html", include_str!("templates/account.html")),
    ("factor.html", include_str!("templates/factor.html")),
    ("confirm.html", include_str!("templates/confirm.html")),
    ("factors.html", include_str!("templates/factors.html")),
    ("totp.html", include_str!("templates/totp.html")),
    ("codes.html", include_str!("templates/codes.html")),
    ("password.html", include_str!("templates/password.html")),
    ("reset.html", include_str!("templates/reset.html")),
    ("continue.html", include_str!("templates/continue.html")),
    ("passkey.html", include_str!("templates/passkey.html")),
    ("done.html", include_str!("templates/done.html")),
    ("error.html", include_str!("templates/error.html")),
];

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_global("strings", Serde(ENGLISH));
    for (name, source) in SOURCES {
        if let Err(error) = templates.add_template(name, source) {
            tracing::error!(%error, name, "template cannot be read");
        }
    }
    templates
});

fn protect(headers: &mut HeaderMap) {
    headers.extend(PAGE_HEADERS);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { portal: "/.vestibule", host: "wiki.example.com" };

    fn page(reader: Reader<'_>) -> Response<Bytes> {
        error(&ErrorPage {
            place: PLACE,
            status: StatusCode::FORBIDDEN,
            title: "Not for you",
            happened: "<script>alert(1)</script> may not be seen by you.",
            advice: "Ask whoever runs this site.",
            request_id: "r-1",
            reader,
        })
    }

    fn text(response: &Response<Bytes>) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[test]
    fn an_error_page_says_what_happened_what_to_do_and_under_which_number() {
        let response = page(Reader::Anybody);
        let html = text(&response);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        for part in ["Not for you", "Ask whoever", "r-1", "403", "<html lang=\"en\">"] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
        assert!(!html.contains("login?next"));
    }

    #[test]
    fn a_reader_is_offered_what_may_help() {
        let (user, next) = (UserId::try_from("o'neil").unwrap(), ReturnTo::parse("/a?b=c&d"));
        let denied = page(Reader::User(&user, &next));
        assert!(text(&denied).contains("o&#x27;neil") && text(&denied).contains(ENGLISH.switch_user));
        assert!(text(&denied).contains("login?next=&#x2f;a%3Fb%3Dc%26d"), "{}", text(&denied));
        let stranger = page(Reader::Stranger(&next));
        assert!(text(&stranger).contains(ENGLISH.sign_in) && !text(&stranger).contains(ENGLISH.switch_user));
    }

    #[test]
    fn who_has_to_wait_is_offered_the_same_page_again() {
        let waiting = page(Reader::Waiting(&ReturnTo::parse("/a?b=c&d")));
        assert!(text(&waiting).contains(ENGLISH.try_again), "{}", text(&waiting));
        assert!(text(&waiting).contains("href=\"&#x2f;a?b=c&amp;d\""), "{}", text(&waiting));
        assert!(!text(&waiting).contains("login?next"));
    }

    #[test]
    fn every_page_carries_the_headers_of_our_own_pages_once() {
        let response = page(Reader::Anybody);
        for (name, value) in PAGE_HEADERS {
            assert_eq!(response.headers().get_all(&name).iter().collect::<Vec<_>>(), [&value], "{name}");
        }
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe") && CONTENT_SECURITY_POLICY.is_ascii());
    }

    #[test]
    fn a_page_needs_no_script_and_no_inline_style_and_is_small() {
        let response = page(Reader::Anybody);
        for inline in ["<script", "<style", "style=\"", "onclick", "javascript:"] {
            assert!(!text(&response).contains(inline), "{inline}");
        }
        // `Origin` is `null` in forms of pages whose policy is `no-referrer`.
        assert!(text(&response).contains("<meta name=\"referrer\" content=\"same-origin\">"));
        assert!(response.body().len() < 30 * 1024);
    }

    #[test]
    fn a_time_is_readable() {
        assert_eq!(readable(Timestamp::from_millis(1_795_234_251_500)), "2026-11-21 04:10 UTC");
    }
}
