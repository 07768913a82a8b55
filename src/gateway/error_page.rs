//! How an error looks: a small page for browsers, JSON for everything else.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::decision::loads_page;
use super::grpc;
use super::handling::Maintenance;
use super::record::Record;
use super::reject::{Closed, Reject};
use super::snapshot::Snapshot;
use crate::portal::{ErrorPage, Explained, Place, Reader, ReturnTo, page};
use crate::proxy::{ForwardError, LargestPart};

/// What the client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page for people.
    Html,
    /// JSON for scripts.
    Json,
    /// A status in the terms of gRPC.
    Grpc(grpc::Dialect),
}

impl Format {
    /// A browser that loads a page says so, whatever the method; a gRPC client by its content type.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match grpc::Dialect::of(headers) {
            Some(dialect) => Self::Grpc(dialect),
            None if loads_page(headers) => Self::Html,
            None => Self::Json,
        }
    }
}

/// The response to a rejected request.
#[must_use]
pub fn response(snapshot: &Snapshot, reject: &Reject, format: Format, record: &Record) -> Response<Bytes> {
    match (format, reject) {
        (Format::Grpc(dialect), _) => {
            let (happened, advice) = words(reject);
            grpc::trailers_only(dialect, reject.answer().status, &format!("{happened} {advice}"))
        }
        // A 401 is only ever given to what can not follow a redirect to the login page.
        (Format::Html, Reject::LoginNeeded(_) | Reject::StepUpNeeded(_)) | (Format::Json, _) => {
            json(reject, record)
        }
        (Format::Html, _) => html(snapshot, reject, record),
    }
}

/// A page of text alone, for a client of which nothing is known.
#[must_use]
pub fn plain(status: StatusCode, title: &str) -> Response<Bytes> {
    let body = format!("{} {title}.\n", status.as_u16());
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn html(snapshot: &Snapshot, reject: &Reject, record: &Record) -> Response<Bytes> {
    let answer = reject.answer();
    let next = record.target().map(ReturnTo::of).unwrap_or_default();
    let reader = match (reject, &record.session) {
        (Reject::Forbidden(_) | Reject::Closed(_), Some(session)) => {
            Reader::User(&session.identity().user, &next)
        }
        (Reject::Maintenance(_), _) => Reader::Waiting(&next),
        _ => Reader::Anybody,
    };
    let (happened, advice) = words(reject);
    let identity = record.session.as_ref().map(|session| session.identity());
    let is_told = record.is_explained && identity.is_some_and(|who| snapshot.is_administrator(who));
    page::error(&ErrorPage {
        place: Place { portal: &snapshot.portal, host: record.host() },
        status: answer.status,
        title: answer.title,
        happened: &happened,
        advice,
        request_id: record.request_id.as_str(),
        reader,
        explained: if is_told { Explained::ByItsId } else { Explained::No },
    })
}

/// What happened and what to do, where more is known of it than [`Reject::answer`] says.
fn words(reject: &Reject) -> (Cow<'_, str>, &'static str) {
    let answer = reject.answer();
    match reject {
        Reject::Maintenance(Maintenance { message: Some(message), .. }) => (message.into(), answer.advice),
        Reject::Closed(Closed { opens: Some(opens), .. }) => {
            (format!("{} It opens again at {opens}.", answer.happened).into(), answer.advice)
        }
        Reject::Forward(ForwardError::HeadTooLarge(LargestPart::Header(name))) => {
            let advice = if name == header::COOKIE { answer.advice } else { ASK_THE_PEOPLE };
            (format!("{} The largest is `{name}`.", answer.happened).into(), advice)
        }
        _ => (answer.happened.into(), answer.advice),
    }
}

fn json(reject: &Reject, record: &Record) -> Response<Bytes> {
    let answer = reject.answer();
    let (happened, advice) = words(reject);
    let mut value = serde_json::json!({
        "error": answer.code,
        "message": format!("{happened} {advice}"),
        "request_id": record.request_id.as_str(),
    });
    let place = match reject {
        Reject::LoginNeeded(url) => Some(("login_url", url)),
        Reject::StepUpNeeded(url) => Some(("confirm_url", url)),
        _ => None,
    };
    if let (Some((name, url)), Some(object)) = (place, value.as_object_mut()) {
        object.insert(name.to_owned(), url.as_str().into());
    }
    with_type(answer.status, "application/json", value.to_string().into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What helps against a header that no browser makes.
const ASK_THE_PEOPLE: &str = "Ask the people who run this service.";
