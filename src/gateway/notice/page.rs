//! Which answers get the expiry notice, and what becomes of their heads.
//!
//! Leaves bodies to [`super::splice`] and policies to [`super::policy`]. Invariants: an answer whose body is
//! changed says nothing of the body that it no longer has; one that is not changed keeps its head as it was.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use lol_html::AsciiCompatibleEncoding;

use super::body::NoticedBody;
use super::entity_tag::{self, BrowserCopy};
use super::policy::Admission;
use super::refusal::{Refusal, Reporter};
use super::splice::Splice;
use crate::gateway::Route;
use crate::gateway::body::ResponseBody;
use crate::gateway::canonical::Canonical;
use crate::gateway::decision::Permit;
use crate::gateway::handling::ExpiryNotice;
use crate::gateway::snapshot::Snapshot;
use crate::proxy::UpstreamBody;

/// That the answer to a request gets the expiry notice if it turns out to be a page.
#[derive(Debug)]
pub(in crate::gateway) struct Notice {
    /// `https://` and the portal.
    portal: String,
    reporter: Reporter,
    copy: BrowserCopy,
    method: Method,
}

impl Notice {
    /// Whether somebody who is signed in loads a page here. The request is changed so that the answer can be:
    /// the backend is asked for an uncompressed body, and by the tags that it gave itself.
    pub(in crate::gateway) fn wanted<B>(
        snapshot: &Snapshot,
        route: &Route,
        permit: &Permit<'_>,
        canonical: &Canonical,
        request: &mut Request<B>,
    ) -> Option<Box<Self>> {
        if route.handling.expiry_notice == ExpiryNotice::LeftOut || permit.identity().is_none() {
            return None;
        }
        if !loads_document(request.method(), request.headers()) {
            return None;
        }
        let method = request.method().clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let copy = entity_tag::restore(headers);
        let portal = format!("https://{}{}", canonical.authority(), snapshot.portal);
        let reporter = Reporter::of(&route.host, &route.path);
        Some(Box::new(Self { portal, reporter, copy, method }))
    }

    /// Adds the script to a page; every other answer stays as it is.
    pub(in crate::gateway) fn add(self, response: Response<UpstreamBody>) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        match self.prepare(&mut head) {
            Some(splice) => Response::from_parts(head, ResponseBody::changed(NoticedBody::new(body, splice))),
            None => Response::from_parts(head, ResponseBody::upstream(body)),
        }
    }

    /// Makes the head fit for a page with the script; nothing if the body stays as it is.
    fn prepare(self, head: &mut Parts) -> Option<Splice> {
        let mut admission = Admission::of(&self.portal);
        if head.status == StatusCode::NOT_MODIFIED {
            if self.copy == BrowserCopy::Changed && amend(&mut head.headers, &mut admission).is_ok() {
                entity_tag::mark(&mut head.headers);
            }
            return None;
        }
        let encoding = encoding_of_page(head)?;
        if let Err(refusal) = amend(&mut head.headers, &mut admission) {
            self.reporter.report(refusal);
            return None;
        }
        for name in &OF_THE_BODY {
            head.headers.remove(name);
        }
        entity_tag::mark(&mut head.headers);
        (self.method == Method::GET).then(|| Splice::new(admission, encoding, self.reporter))
    }
}

/// Whether a browser loads a page, not a script, a picture or a fragment (Fetch Metadata). A HEAD is told of
/// the same head.
fn loads_document(method: &Method, headers: &HeaderMap) -> bool {
    let is_page = match headers.get(SEC_FETCH_DEST) {
        Some(kind) => ["document", "iframe", "frame"].iter().any(|page| kind == page),
        None => headers.get_all(header::ACCEPT).iter().any(|accept| holds(accept, "text/html")),
    };
    is_page
        && matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key(header::UPGRADE)
        && !forbids_changes(headers)
}

/// The encoding of an answer that is a whole page in plain HTML.
fn encoding_of_page(head: &Parts) -> Option<AsciiCompatibleEncoding> {
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let is_whole = head.status.is_success() && !WITHOUT_PAGE.contains(&head.status);
    let is_plain = head.headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding == "identity");
    let is_shown = !starts_with(text(header::CONTENT_DISPOSITION).unwrap_or_default(), "attachment");
    if !(is_whole && is_plain && is_shown) || forbids_changes(&head.headers) {
        return None;
    }
    encoding_of(text(header::CONTENT_TYPE)?)
}

/// The encoding of HTML of this type, if markup can be found in it without decoding.
fn encoding_of(content_type: &str) -> Option<AsciiCompatibleEncoding> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("text/html") {
        return None;
    }
    let charset =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| starts_with(name, "charset"));
    match charset {
        None => Some(AsciiCompatibleEncoding::utf_8()),
        Some((_, label)) => {
            let label = label.trim().trim_matches('"');
            AsciiCompatibleEncoding::new(encoding_rs::Encoding::for_label(label.as_bytes())?)
        }
    }
}

/// RFC 9111, section 5.2.2.6.
fn forbids_changes(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| holds(value, "no-transform"))
}

/// Lets our script pass the policies of the answer, or changes none of them.
fn amend(headers: &mut HeaderMap, admission: &mut Admission) -> Result<(), Refusal> {
    let enforced = amended(headers, &header::CONTENT_SECURITY_POLICY, admission)?;
    // What is only reported keeps nothing out; it is spared the reports if it can be.
    let mut trial = admission.clone();
    let reported = amended(headers, &header::CONTENT_SECURITY_POLICY_REPORT_ONLY, &mut trial);
    replace(headers, &header::CONTENT_SECURITY_POLICY, enforced);
    replace(headers, &header::CONTENT_SECURITY_POLICY_REPORT_ONLY, reported.unwrap_or_default());
    Ok(())
}

/// The lines of a policy header as they must be; none if they can stay.
fn amended(
    headers: &HeaderMap,
    name: &HeaderName,
    admission: &mut Admission,
) -> Result<Option<Vec<HeaderValue>>, Refusal> {
    let (mut lines, mut is_other) = (Vec::new(), false);
    for line in headers.get_all(name) {
        let amended = admission.admit(line.to_str().map_err(|_| Refusal::PolicyUnreadable)?)?;
        is_other |= amended.is_some();
        lines.push(match amended {
            Some(text) => HeaderValue::try_from(text).map_err(|_| Refusal::PolicyUnreadable)?,
            None => line.clone(),
        });
    }
    Ok(is_other.then_some(lines))
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, lines: Option<Vec<HeaderValue>>) {
    let Some(lines) = lines else { return };
    headers.remove(name);
    for line in lines {
        headers.append(name, line);
    }
}

fn holds(value: &HeaderValue, word: &str) -> bool {
    memchr::memmem::find(&value.as_bytes().to_ascii_lowercase(), word.as_bytes()).is_some()
}

fn starts_with(text: &str, word: &str) -> bool {
    text.trim().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// What a backend says of the bytes of its body. Without `Accept-Ranges` nobody asks for a part of them.
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A part of a page is left alone: to whom it belongs has the rest of it from a backend that gave strong tags,
/// and ours are weak.
const WITHOUT_PAGE: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::PARTIAL_CONTENT];

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_html_in_an_encoding_that_keeps_ascii() {
        for good in [
            "text/html",
            "TEXT/HTML; charset=UTF-8",
            "text/html;charset=\"iso-8859-1\"",
            "text/html; charset=shift_jis",
            "text/html; level=1",
        ] {
            assert!(encoding_of(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/xhtml+xml",
            "text/html-fragment",
            "text/html; charset=utf-16",
            "text/html; charset=iso-2022-jp",
            "text/html; charset=klingon",
        ] {
            assert!(encoding_of(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_amended_leaves_every_header_as_it_was() {
        let mut headers = HeaderMap::new();
        for policy in ["default-src 'none'", "script-src 'strict-dynamic' 'sha256-AAAA'"] {
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        let before = headers.clone();
        let mut admission = Admission::of("https://wiki.example/.vestibule");
        assert_eq!(amend(&mut headers, &mut admission), Err(Refusal::StrictDynamic));
        assert_eq!(headers, before);
    }
}
