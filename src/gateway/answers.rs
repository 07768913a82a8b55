//! From what was decided to a response: headers of ours, redirects to the login page, errors.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;

use super::aftercare;
use super::body::ResponseBody;
use super::canonical::Canonical;
use super::decision::{Guest, Kind, Missing};
use super::error_page::{self, Format};
use super::notice::Notice;
use super::record::Record;
use super::reject::Reject;
use super::snapshot::Snapshot;
use crate::portal::{REASON_EXPIRED, ReturnTo};
use crate::proxy::UpstreamBody;
use crate::telemetry::metrics::Outcome;

/// A response of ours, with the strict security headers.
pub fn own(snapshot: &Snapshot, response: Response<Bytes>) -> Response<ResponseBody> {
    let mut response = response.map(ResponseBody::own);
    snapshot.headers.apply_to_own(response.headers_mut());
    response
}

/// A backend's response, with the security headers of the profile.
pub fn proxied<B>(snapshot: &Snapshot, mut response: Response<B>) -> Response<B> {
    snapshot.headers.apply_to_proxied(response.headers_mut());
    response
}

/// The same with its body, which gets the expiry notice if it is a page for which that is wanted.
pub(super) fn streamed(
    snapshot: &Snapshot,
    response: Response<UpstreamBody>,
    notice: Option<Box<Notice>>,
) -> Response<ResponseBody> {
    // After the profile, which may have set the policy that the script must pass.
    let response = proxied(snapshot, response);
    match notice {
        Some(notice) => notice.add(response),
        None => response.map(ResponseBody::upstream),
    }
}

/// Gives a browser its cookies; such an answer is nobody else's (ASVS 14.3.2).
pub fn set_cookies(headers: &mut HeaderMap, cookies: Vec<HeaderValue>) {
    if cookies.is_empty() {
        return;
    }
    aftercare::forbid_caches(headers);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The answer to a request that is not answered with what it asked for.
pub fn rejected(snapshot: &Snapshot, reject: &Reject, record: &mut Record) -> Response<ResponseBody> {
    let answer = reject.answer();
    record.outcome = answer.outcome;
    record.reason = match answer.outcome {
        Outcome::Refused | Outcome::Failed => record.reason.or(Some(reject.logged_as())),
        _ => record.reason,
    };
    tracing::debug!(request_id = %record.request_id, reason = reject.reason(), "request not served");
    let mut response = error_page::response(snapshot, reject, record);
    if !matches!(record.format, Format::Grpc(_)) || answer.status == StatusCode::BAD_REQUEST {
        reject.add_headers(response.headers_mut());
    }
    own(snapshot, response)
}

/// The answer to a HEAD: what a GET would be answered with, without its body (RFC 9110 section 9.3.2).
///
/// Over HTTP/2 hyper would send the body of one of ours; a backend's has none.
pub fn head_only(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    match body.size_hint().exact() {
        Some(length @ 1..) => {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            Response::from_parts(head, ResponseBody::empty())
        }
        _ => Response::from_parts(head, body),
    }
}

/// A page load is sent to the login page and brought back afterwards; everything else gets a 401.
pub fn ask_login<B>(
    portal: &str,
    guest: Guest,
    canonical: &Canonical,
    request: &Request<B>,
) -> Result<Response<Bytes>, Reject> {
    if Kind::of(request.method(), request.headers()) == Kind::Script {
        return Err(Reject::LoginNeeded(format!("{portal}/login")));
    }
    let reason = match guest {
        Guest::New => "",
        Guest::Expired => &format!("reason={REASON_EXPIRED}&"),
    };
    see_other(format!("{portal}/login?{reason}next={}", target(canonical, request).to_query()))
}

/// The same for somebody whose session ended while a backend kept them waiting.
pub fn ask_login_again(portal: &str, record: &mut Record) -> Result<Response<Bytes>, Reject> {
    record.outcome = Outcome::LoginNeeded;
    let has_no_body = matches!(*record.method(), Method::GET | Method::HEAD);
    let Some(target) = record.target().filter(|_| has_no_body && matches!(record.format, Format::Html(_)))
    else {
        return Err(Reject::LoginNeeded(format!("{portal}/login")));
    };
    let next = ReturnTo::of(target);
    see_other(format!("{portal}/login?reason={REASON_EXPIRED}&next={}", next.to_query()))
}

/// A page load is sent to the confirm page and brought back afterwards; everything else gets a 401.
pub fn ask_confirm<B>(
    portal: &str,
    missing: Missing,
    canonical: &Canonical,
    request: &Request<B>,
) -> Result<Response<Bytes>, Reject> {
    let page = format!("{portal}/confirm?for={}", missing.as_str());
    if Kind::of(request.method(), request.headers()) == Kind::Script {
        return Err(Reject::StepUpNeeded(page));
    }
    see_other(format!("{page}&next={}", target(canonical, request).to_query()))
}

/// As the browser sent it: the canonical form writes `%c3` as `%C3`.
fn target<B>(canonical: &Canonical, request: &Request<B>) -> ReturnTo {
    ReturnTo::of(request.uri().path_and_query().unwrap_or(&canonical.target))
}

/// Sends a browser on by GET.
pub fn see_other(location: String) -> Result<Response<Bytes>, Reject> {
    let location = HeaderValue::try_from(location).map_err(|error| Reject::Internal(error.to_string()))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
