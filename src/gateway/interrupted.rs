//! A form that comes from somebody who must show first who they are: nothing that they typed is lost.
//!
//! Where it is kept and how it goes on is the portal's matter. Invariants: only the form of a page is kept,
//! up to [`SIZE_LIMIT`], and only of somebody who is or was signed in, from a
//! page of the same origin; nothing is forwarded here.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answers;
use super::decision::loads_page;
use super::record::Record;
use super::reject::Reject;
use crate::portal::{Interrupted, Portal, ReturnTo, Waiting, csrf};

/// The way to `page`, a page of ours with a query, from which a form goes on that is kept now; `otherwise` if
/// it is none, or cannot be kept.
pub(super) async fn keep_or(
    otherwise: Reject,
    portal: (&Portal, &str),
    page: &str,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Response<Bytes>, Reject> {
    let (portal, prefix) = portal;
    let Some(waiting) = keep(portal, request, record).await else { return Err(otherwise) };
    let next = ReturnTo::parse(&format!("{prefix}{}", waiting.page));
    let mut response = answers::see_other(format!("{prefix}{page}&next={}", next.to_query()))?;
    response.headers_mut().append(header::SET_COOKIE, waiting.cookie);
    Ok(response)
}

/// Keeps the form of `request` if it is one, and answers where it goes on.
async fn keep(portal: &Portal, request: Request<Incoming>, record: &mut Record) -> Option<Waiting> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST || !loads_page(&parts.headers) {
        return None;
    }
    // SECURITY: what another site sent must not come back as a form of ours, from our own origin.
    csrf::check_origin(&parts.headers, record.host()).ok()?;
    let content_type = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_owned();
    let user = record.session.as_ref().map(|session| session.identity().user.clone());
    if !portal.would_keep(&parts.headers, &content_type, user.as_ref()) {
        return None;
    }
    let read = tokio::time::timeout(TIME_LIMIT, Limited::new(body, SIZE_LIMIT).collect());
    let body: Bytes = read.await.ok()?.ok()?.to_bytes();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    portal
        .keep(Interrupted {
            headers: &parts.headers,
            target,
            content_type: &content_type,
            body,
            user: user.as_ref(),
        })
        .await
}

/// Bytes of a form that is kept.
const SIZE_LIMIT: usize = 256 * 1024;

const TIME_LIMIT: Duration = Duration::from_secs(30);
