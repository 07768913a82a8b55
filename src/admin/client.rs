//! How a command asks the running gateway, through its socket.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Refusal;

/// Sends `method path` to the gateway behind `socket` and reads its JSON answer.
pub async fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T, AskError> {
    let stream = UnixStream::connect(socket).await.map_err(AskError::NotRunning)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Conversation)?;
    let conversation = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "admin")
        .body(Empty::<Bytes>::new())
        .map_err(|_| AskError::Request)?;
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
    /// The gateway hung up.
    #[error("the gateway ended the conversation: {0}")]
    Conversation(#[source] hyper::Error),
    /// The answer is not what this version of the command expects.
    #[error(
        "the gateway's answer cannot be read; do the command and the gateway have the same version? ({0})"
    )]
    Answer(#[source] serde_json::Error),
    /// The question cannot be asked.
    #[error("the name cannot stand in a request")]
    Request,
    /// The gateway says no.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}
