//! How a command asks the running gateway, through its socket, or a desk of its own.
//!
//! Invariant: a gateway that runs and cannot be reached is never taken for one that does not run.

use std::io::{self, ErrorKind};
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{Desk, Question, Refusal, ReloadReport};

/// Asks the gateway behind `socket` to take over its files.
pub async fn reload(socket: &Path) -> Result<ReloadReport, AskError> {
    send(socket, "/reload", Vec::new()).await
}

/// Asks the desk of the gateway behind `socket`.
pub async fn ask<T: DeserializeOwned>(socket: &Path, question: &Question) -> Result<T, AskError> {
    let text = serde_json::to_vec(question).map_err(AskError::Question)?;
    send(socket, ASK, text).await
}

/// Asks a desk in this process.
pub async fn ask_desk<T: DeserializeOwned>(desk: &Desk, question: Question) -> Result<T, AskError> {
    match desk.answer(question).await {
        Ok(answer) => serde_json::from_value(answer).map_err(AskError::Answer),
        Err(error) => Err(AskError::Refused(error.to_string().lines().map(str::to_owned).collect())),
    }
}

/// Whether a gateway answers behind `socket`.
pub async fn find(socket: &Path) -> Result<(), AskError> {
    connect(socket).await.map(drop)
}

async fn connect(socket: &Path) -> Result<UnixStream, AskError> {
    UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NotRunning(error),
        _ => AskError::Unreachable(error),
    })
}

async fn send<T: DeserializeOwned>(socket: &Path, path: &'static str, body: Vec<u8>) -> Result<T, AskError> {
    let stream = connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Conversation)?;
    let conversation = tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("admin"));
    let response = sender.send_request(request).await.map_err(AskError::Conversation)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(AskError::Conversation)?.to_bytes();
    conversation.abort();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(AskError::Answer);
    }
    let refusal: Refusal = serde_json::from_slice(&body).map_err(AskError::Answer)?;
    Err(AskError::Refused(refusal.problems))
}

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No gateway answers at the socket.
    #[error("no gateway is running here ({0})")]
    NotRunning(#[source] io::Error),
    /// Its socket is there and cannot be opened.
    #[error("cannot open the gateway's socket ({0}); are you the user that runs the gateway?")]
    Unreachable(#[source] io::Error),
    /// The gateway hung up.
    #[error("the gateway ended the conversation: {0}")]
    Conversation(#[source] hyper::Error),
    /// The answer is not what this version of the command expects.
    #[error(
        "the gateway's answer cannot be read; do the command and the gateway have the same version? ({0})"
    )]
    Answer(#[source] serde_json::Error),
    /// The question cannot be asked.
    #[error("the question cannot be written down: {0}")]
    Question(#[source] serde_json::Error),
    /// The gateway says no.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// Where the gateway's desk is asked.
pub(super) const ASK: &str = "/ask";
