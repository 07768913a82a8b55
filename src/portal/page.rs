//! Responses with our pages: what goes into every template, and the headers of what is made from it.
//!
//! What stands on a page is its handler's matter, what it looks like is [`Look`]'s. Invariants: every page
//! carries a content security policy that allows no script and no style but our own, and is kept by
//! no cache.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::languages::Language;
use super::look::Look;
use super::return_to::ReturnTo;
use crate::clock::Timestamp;
use crate::identity::{Group, UserId};

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
    /// What our pages look like there.
    pub look: &'a Look,
    /// The host that the browser asked for, for people to read.
    pub host: &'a str,
    /// The language that its user reads.
    pub language: Language,
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
    /// What was asked for.
    pub here: &'a ReturnTo,
    /// Whether they may look up why.
    pub explained: Explained,
}

/// Whether the reader of an error page may look up why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// They are an administrator, and it is known.
    ByItsId,
    /// Not here.
    No,
}

/// Who reads an error page.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// Somebody for whom signing in changes nothing.
    Anybody,
    /// Somebody who may try again later, here.
    Waiting,
    /// Somebody who should sign in, to come back here.
    Stranger,
    /// Somebody who may sign in as somebody else, to come back here.
    User(&'a UserId),
    /// The same where it is groups that they lack: these are the ones that they are in.
    Outsider(&'a UserId, &'a [Group]),
}

/// The response that shows an error page. Each has a way on: the last is the page itself.
#[must_use]
pub fn error(page: &ErrorPage<'_>) -> Response<Bytes> {
    let (user, groups) = match page.reader {
        Reader::User(user) => (Some(user.as_str()), None),
        Reader::Outsider(user, groups) => (Some(user.as_str()), Some(groups)),
        Reader::Anybody | Reader::Waiting | Reader::Stranger => (None, None),
    };
    let is_start = page.here.as_str() == "/";
    let is_stuck = matches!(page.reader, Reader::Anybody) && is_start;
    let context = ErrorContext {
        title: page.title,
        happened: page.happened,
        advice: page.advice,
        status: page.status.as_u16(),
        request_id: page.request_id,
        user,
        groups: groups.map(|groups| groups.iter().map(Group::as_str).collect()),
        next: page.here.to_query().into(),
        again: (is_stuck || matches!(page.reader, Reader::Waiting)).then_some(page.here.as_str()),
        is_stranger: matches!(page.reader, Reader::Stranger),
        is_start,
        is_explained: page.explained == Explained::ByItsId,
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
    match place.look.render(place.language, name, &Frame { host: place.host, page }) {
        Ok(html) => {
            let mut response = respond(status, "text/html; charset=utf-8", html);
            say_language(response.headers_mut(), place.language);
            response
        }
        Err(error) => {
            tracing::error!(%error, name, "own page cannot be made");
            respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "This page cannot be shown.\n".to_owned())
        }
    }
}

/// Which language a page is in, and that it was chosen by what the browser asked for (RFC 9110 sections 8.5
/// and 12.5.5).
fn say_language(headers: &mut HeaderMap, language: Language) {
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
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
    host: &'a str,
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
    groups: Option<Vec<&'a str>>,
    next: String,
    again: Option<&'a str>,
    is_explained: bool,
    is_stranger: bool,
    is_start: bool,
}

const PERMISSIONS: &str = "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()";

fn protect(headers: &mut HeaderMap) {
    headers.extend(PAGE_HEADERS);
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::strings::Strings;
    use super::*;

    fn page(reader: Reader<'_>) -> Response<Bytes> {
        page_at("/a?b=c&d", reader)
    }

    fn page_at(here: &str, reader: Reader<'_>) -> Response<Bytes> {
        let look = Look::load(&Config::at("/.vestibule")).unwrap();
        error(&ErrorPage {
            place: Place { look: &look, host: "wiki.example.com", language: Language::English },
            status: StatusCode::FORBIDDEN,
            title: "Not for you",
            happened: "<script>alert(1)</script> may not be seen by you.",
            advice: "Ask whoever runs this site.",
            request_id: "r-1",
            reader,
            here: &ReturnTo::parse(here),
            explained: Explained::No,
        })
    }

    fn words() -> &'static Strings {
        Language::English.words()
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
        let user = UserId::try_from("o'neil").unwrap();
        let denied = page(Reader::User(&user));
        assert!(text(&denied).contains("o&#x27;neil") && text(&denied).contains(&words().switch_user));
        assert!(text(&denied).contains("login?next=&#x2f;a%3Fb%3Dc%26d"), "{}", text(&denied));
        let stranger = page(Reader::Stranger);
        assert!(
            text(&stranger).contains(&words().sign_in) && !text(&stranger).contains(&words().switch_user)
        );
    }

    #[test]
    fn who_lacks_a_group_reads_which_they_have() {
        let user = UserId::try_from("alice").unwrap();
        let groups = [Group::try_from("staff").unwrap(), Group::try_from("crew").unwrap()];
        assert!(text(&page(Reader::Outsider(&user, &groups))).contains("Your groups: staff, crew"));
        assert!(text(&page(Reader::Outsider(&user, &[]))).contains(&words().groups_none));
    }

    #[test]
    fn who_has_to_wait_is_offered_the_same_page_again() {
        let waiting = page(Reader::Waiting);
        assert!(text(&waiting).contains(&words().try_again), "{}", text(&waiting));
        assert!(text(&waiting).contains("href=\"&#x2f;a?b=c&amp;d\""), "{}", text(&waiting));
        assert!(!text(&waiting).contains("login?next"));
    }

    #[test]
    fn nobody_is_stuck_wherever_they_are() {
        let user = UserId::try_from("alice").unwrap();
        for reader in [
            Reader::Anybody,
            Reader::Waiting,
            Reader::Stranger,
            Reader::User(&user),
            Reader::Outsider(&user, &[]),
        ] {
            let elsewhere = page(reader);
            assert!(text(&elsewhere).contains("href=\"/\""), "{reader:?}: the start page is a way on");
            let start = page_at("/", reader);
            assert_eq!(
                text(&start).matches("class=\"button").count(),
                match reader {
                    Reader::User(_) | Reader::Outsider(..) => 2,
                    _ => 1,
                }
            );
            assert!(!text(&start).contains(&words().to_start), "{reader:?}: it is this very page");
        }
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
