//! Reads the body of a form of ours: small, whole, and in time.
//!
//! What a form says is left to the portal. Invariant: of a form that only passes by, nothing is kept, and
//! nothing is read before its head was found good.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::reject::Reject;
use crate::portal::{Portal, Request};
use crate::proxy::ForwardError;

/// The answer of a page of ours to a request whose body is yet to come.
///
/// Neither `server.limits.body_stall` nor `min_rate` is asked for: the time for the whole is shorter than what
/// either would find too slow.
pub(super) async fn answer(
    portal: &Portal,
    asked: Request<'_>,
    body: Incoming,
) -> Result<Response<Bytes>, Reject> {
    if asked.path_below_portal != CONTINUE || *asked.method != Method::POST {
        let body = in_time(TIME_LIMIT, Limited::new(body, SIZE_LIMIT).collect()).await?.to_bytes();
        return Ok(portal.serve(Request { body, ..asked }).await?);
    }
    // SECURITY: the browser sends this form once more to the application. Whoever may not is told so at once,
    // and of who may nothing fills our memory.
    if let Some(refusal) = portal.refuse_to_go_on(&asked).await? {
        return Ok(refusal);
    }
    in_time(CONTINUE_TIME, drop_all(Limited::new(body, CONTINUE_LIMIT))).await?;
    Ok(portal.serve(asked).await?)
}

/// The whole of a body, unless it is too large or takes too long.
async fn in_time<T>(
    limit: Duration,
    read: impl Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<T, Reject> {
    match tokio::time::timeout(limit, read).await {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reject::FormTooLarge),
        Ok(Err(_)) => Err(Reject::Forward(ForwardError::ClientGone)),
        Err(_) => Err(Reject::Forward(ForwardError::BodyStalled)),
    }
}

/// A browser takes an answer only when it has sent everything.
async fn drop_all(mut body: Limited<Incoming>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    Ok(())
}

/// Forms hold a name, a password of at most 1,024 bytes, a target and a token.
const SIZE_LIMIT: usize = 16 * 1024;

/// The page that a form of an application passes once more.
const CONTINUE: &str = "/continue";

/// With the files that were chosen again; the browser sends them once more to the application.
const CONTINUE_LIMIT: usize = 4 * 1024 * 1024;

const CONTINUE_TIME: Duration = Duration::from_mins(1);

const TIME_LIMIT: Duration = Duration::from_secs(10);
