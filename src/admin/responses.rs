//! The answers of both doors.
//!
//! Invariant: a path that is not listed here is 404, whatever the method.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{Control, Ended, Refusal};

pub(super) type Answer = Response<Full<Bytes>>;

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
pub(super) async fn command<B>(control: Arc<dyn Control>, request: Request<B>) -> Answer {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::POST, "/reload") => reload(&*control).await,
        (&Method::GET, "/keys") => respond(control.key_use().await),
        (&Method::POST, _) => match path.strip_prefix("/sessions/end/") {
            Some(user) => end_sessions(&*control, user).await,
            None => observe(control, request).await,
        },
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

/// The name stands in the path percent-encoded.
async fn end_sessions(control: &dyn Control, user: &str) -> Answer {
    let user = percent_decode_str(user).decode_utf8_lossy().into_owned();
    respond(control.end_sessions(user).await.map(|ended| Ended { ended }))
}

fn respond<T: Serialize>(result: Result<T, String>) -> Answer {
    match result {
        Ok(value) => json(StatusCode::OK, &value),
        Err(problem) => json(StatusCode::SERVICE_UNAVAILABLE, &Refusal { problems: vec![problem] }),
    }
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
