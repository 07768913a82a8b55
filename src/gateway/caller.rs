//! Who is asking: the session cookie of the request.

use std::sync::Arc;

use http::HeaderMap;

use super::decision::{Caller, Guest};
use crate::session::engine::{Engine, Presented, Resumed};
use crate::session::record::Session;

/// Who is asking, with the session itself.
#[derive(Debug)]
pub enum CallerState {
    /// Nobody that we know, and why.
    Guest(Guest),
    /// Somebody with a live session.
    Known(Arc<Session>),
    /// The session store did not answer.
    Unknown,
}

impl CallerState {
    /// What a decision needs to know.
    #[must_use]
    pub fn as_caller(&self) -> Caller<'_> {
        match self {
            Self::Guest(guest) => Caller::Guest(*guest),
            Self::Known(session) => Caller::Known(session.identity()),
            Self::Unknown => Caller::Unknown,
        }
    }
}

/// Finds the session of a request and counts the request as activity in it.
pub async fn find(engine: &Engine, headers: &HeaderMap) -> CallerState {
    // SECURITY: a malformed, doubled or forged cookie is no session, and never reaches the store.
    let Presented::Valid(token, _) = engine.present(headers) else { return CallerState::Guest(Guest::New) };
    match engine.resume(&token).await {
        Ok(Resumed::Live(session)) => CallerState::Known(session),
        Ok(Resumed::Expired(_)) => CallerState::Guest(Guest::Expired),
        Ok(Resumed::Gone) => CallerState::Guest(Guest::New),
        // SECURITY: broken is not absent: nobody is signed out and nobody let in.
        Err(error) => {
            tracing::debug!(%error, "session store did not answer");
            CallerState::Unknown
        }
    }
}
