//! How an error looks: a small page for browsers, JSON for everything else.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::barrier;
use super::decision::{Forbidden, loads_page};
use super::grpc;
use super::handling::Maintenance;
use super::record::Record;
use super::reject::{Closed, Reject};
use super::snapshot::Snapshot;
use crate::portal::languages::Language;
use crate::portal::strings::{ErrorWords, Errors};
use crate::portal::{ErrorPage, Explained, Place, Reader, ReturnTo, page};
use crate::proxy::{ForwardError, LargestPart};

/// What the client can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page for people, with what their browser says of languages.
    Html(Option<HeaderValue>),
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
            None if loads_page(headers) => Self::Html(headers.get(header::ACCEPT_LANGUAGE).cloned()),
            None => Self::Json,
        }
    }
}

/// The response to a rejected request.
#[must_use]
pub fn response(snapshot: &Snapshot, reject: &Reject, record: &Record) -> Response<Bytes> {
    match (&record.format, reject) {
        (Format::Grpc(dialect), _) => grpc::trailers_only(*dialect, reject.answer().status, &message(reject)),
        // A 401 is only ever given to what can not follow a redirect to the login page.
        (Format::Html(_), Reject::LoginNeeded(_) | Reject::StepUpNeeded(_)) | (Format::Json, _) => {
            json(reject, record)
        }
        (Format::Html(languages), _) => {
            let language = Language::wanted(languages.as_ref(), snapshot.look.language());
            html(snapshot, reject, language, record)
        }
    }
}

/// A page of text alone, for a client of which nothing is known.
#[must_use]
pub fn plain(status: StatusCode, title: &str) -> Response<Bytes> {
    let body = format!("{} {title}.\n", status.as_u16());
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn html(snapshot: &Snapshot, reject: &Reject, language: Language, record: &Record) -> Response<Bytes> {
    let answer = reject.answer();
    let words = Words::of(reject, &language.words().errors);
    let barrier = match reject {
        Reject::Forbidden(why) => Some(barrier::told(*why, record, language.words())),
        _ => None,
    };
    let identity = record.session.as_ref().map(|session| session.identity());
    let is_told = record.is_explained && identity.is_some_and(|who| snapshot.is_administrator(who));
    page::error(&ErrorPage {
        place: Place { look: &snapshot.look, host: record.host(), language },
        status: answer.status,
        title: words.title,
        happened: barrier.as_deref().unwrap_or(&words.happened),
        advice: words.advice,
        request_id: record.request_id.as_str(),
        reader: reader(reject, answer.status, record),
        here: &record.target().map(ReturnTo::of).unwrap_or_default(),
        explained: if is_told { Explained::ByItsId } else { Explained::No },
    })
}

/// What the reader can do now.
fn reader<'a>(reject: &Reject, status: StatusCode, record: &'a Record) -> Reader<'a> {
    match (reject, &record.session) {
        (Reject::Forbidden(Forbidden::NotNamed), Some(session)) => {
            Reader::Outsider(&session.identity().user, &session.identity().groups)
        }
        (Reject::Forbidden(_) | Reject::Closed(_), Some(session)) => Reader::User(&session.identity().user),
        // A form that was sent is not sent again by a link.
        _ if status.is_server_error() && matches!(*record.method(), Method::GET | Method::HEAD) => {
            Reader::Waiting
        }
        _ => Reader::Anybody,
    }
}

/// What a person is told, with what is known beyond [`Reject::answer`].
struct Words<'a> {
    title: &'a str,
    happened: Cow<'a, str>,
    advice: &'a str,
}

impl<'a> Words<'a> {
    fn of(reject: &'a Reject, errors: &'a Errors) -> Self {
        let ErrorWords { title, happened, advice } = (reject.answer().words)(errors);
        let ordinary = Self { title, happened: happened.into(), advice };
        match reject {
            Reject::Maintenance(Maintenance { message: Some(message), .. }) => {
                Self { happened: message.into(), ..ordinary }
            }
            Reject::Closed(Closed { opens: Some(opens), .. }) => {
                Self { happened: errors.told_opening(happened, opens).into(), ..ordinary }
            }
            Reject::Forward(ForwardError::HeadTooLarge(LargestPart::Header(name))) => {
                // No browser makes another header that large.
                let advice = if name == header::COOKIE { advice } else { &errors.ask_the_people };
                Self { happened: errors.told_largest(happened, name.as_str()).into(), advice, ..ordinary }
            }
            _ => ordinary,
        }
    }
}

/// What programs, and those who read their logs, are told: in one language.
fn message(reject: &Reject) -> String {
    let words = Words::of(reject, &Language::English.words().errors);
    format!("{} {}", words.happened, words.advice)
}

fn json(reject: &Reject, record: &Record) -> Response<Bytes> {
    let answer = reject.answer();
    let mut value = serde_json::json!({
        "error": answer.code,
        "message": message(reject),
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
