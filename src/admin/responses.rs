//! The answers of both doors.
//!
//! Invariant: a path that is not listed here is 404, whatever the method.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Body;
use serde::Serialize;
use serde_json::Value;

use super::client::ASK;
use super::{Control, Desk, DeskError, Refusal};

pub(super) type Answer = Response<Full<Bytes>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Health and metrics, for whoever reaches the listener.
pub(super) async fn observe<B>(control: Arc<dyn Control>, request: Request<B>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/live") => text(StatusCode::OK, "live\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/ready") => ready(&*control).await,
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(&*control),
        (_, "/live" | "/ready" | "/metrics") => text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n".to_owned()),
    }
}

/// The commands, for whoever may open the socket.
pub(super) async fn command<B>(control: Arc<dyn Control>, request: Request<B>) -> Answer
where
    B: Body<Error: Into<BoxError>>,
{
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/reload") => reload(&*control).await,
        (&Method::POST, ASK) => ask(control.desk(), request.into_body()).await,
        _ => observe(control, request).await,
    }
}

async fn ready(control: &dyn Control) -> Answer {
    let impediments = control.impediments().await;
    if impediments.is_empty() {
        return text(StatusCode::OK, "ready\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", impediments.join("\n")))
}

fn metrics(control: &dyn Control) -> Answer {
    let mut answer = text(StatusCode::OK, control.metrics());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

async fn reload(control: &dyn Control) -> Answer {
    match control.reload().await {
        Ok(report) => json(StatusCode::OK, &report),
        Err(problems) => json(StatusCode::UNPROCESSABLE_ENTITY, &Refusal { problems }),
    }
}

async fn ask<B: Body<Error: Into<BoxError>>>(desk: &Desk, body: B) -> Answer {
    let Ok(body) = Limited::new(body, QUESTION_LIMIT).collect().await.map(Collected::to_bytes) else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the question is cut off or too long");
    };
    match serde_json::from_slice(&body) {
        Ok(question) => respond(desk.answer(question).await),
        // SECURITY: what the parser says may quote a cookie.
        Err(_) => refuse(
            StatusCode::BAD_REQUEST,
            "the question is not understood; do the command and the gateway have the same version?",
        ),
    }
}

fn respond(answer: Result<Value, DeskError>) -> Answer {
    match answer {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => {
            let status = match error {
                DeskError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
                DeskError::NoSuch(_) => StatusCode::NOT_FOUND,
                DeskError::Ambiguous(..) => StatusCode::CONFLICT,
                DeskError::Question(_) => StatusCode::BAD_REQUEST,
            };
            refuse(status, &error.to_string())
        }
    }
}

fn refuse(status: StatusCode, text: &str) -> Answer {
    json(status, &Refusal { problems: text.lines().map(str::to_owned).collect() })
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    // None of the answers has a part that JSON cannot hold.
    answer(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

fn text(status: StatusCode, text: String) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.into_bytes())
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// No question is longer: a cookie and its chunks are less than 16 KiB.
const QUESTION_LIMIT: usize = 64 * 1024;
