//! Reads the body of a form of ours: small, whole, and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::reject::Reject;
use crate::proxy::ForwardError;

/// Reads a form; anything larger than a form of ours is refused.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Reject> {
    let whole = tokio::time::timeout(TIME_LIMIT, Limited::new(body, SIZE_LIMIT).collect()).await;
    match whole {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reject::FormTooLarge),
        Ok(Err(_)) => Err(Reject::Forward(ForwardError::ClientGone)),
        Err(_) => Err(Reject::Forward(ForwardError::BodyStalled)),
    }
}

/// Forms hold a name, a password of at most 1,024 bytes, a target and a token.
const SIZE_LIMIT: usize = 16 * 1024;

const TIME_LIMIT: Duration = Duration::from_secs(10);
