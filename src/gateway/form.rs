//! Reads the body of a form of ours: small, whole, and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::reject::Reject;
use crate::proxy::ForwardError;

/// Reads the form of a page of ours; anything larger than such a form is refused.
pub(super) async fn read(body: Incoming, page: &str) -> Result<Bytes, Reject> {
    let (size, time) =
        if page == CONTINUE { (CONTINUE_LIMIT, CONTINUE_TIME) } else { (SIZE_LIMIT, TIME_LIMIT) };
    let whole = tokio::time::timeout(time, Limited::new(body, size).collect()).await;
    match whole {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reject::FormTooLarge),
        Ok(Err(_)) => Err(Reject::Forward(ForwardError::ClientGone)),
        Err(_) => Err(Reject::Forward(ForwardError::BodyStalled)),
    }
}

/// Forms hold a name, a password of at most 1,024 bytes, a target and a token.
const SIZE_LIMIT: usize = 16 * 1024;

/// The page that a form of an application passes once more.
const CONTINUE: &str = "/continue";

/// With the files that were chosen again; the browser sends them once more to the application.
const CONTINUE_LIMIT: usize = 4 * 1024 * 1024;

const CONTINUE_TIME: Duration = Duration::from_mins(1);

const TIME_LIMIT: Duration = Duration::from_secs(10);
