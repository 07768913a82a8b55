//! Who is asking: the session cookie of the request.

use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::decision::{self, Caller, Guest};
use super::record::Record;
use super::{Access, Activity, Gateway, Route};
use crate::session::binding::Device;
use crate::session::engine::{self, Engine, Presented, Resumed, Visit};
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
            Self::Known(session) => Caller::Known(session.identity(), session.proofs()),
            Self::Unknown => Caller::Unknown,
        }
    }
}

impl Gateway {
    /// Who is asking. A public route never waits for a store: there nobody is known.
    pub(super) async fn caller(
        &self,
        route: &Route,
        headers: &HeaderMap,
        record: &mut Record,
    ) -> CallerState {
        let engine = &self.shared.engine;
        let takes_guests = matches!(route.access, Access::Public | Access::Optional) && engine.takes_guests();
        let takes_sessions = matches!(route.access, Access::Optional | Access::Login(_));
        if !takes_guests && !takes_sessions {
            return CallerState::Guest(Guest::New);
        }
        let presented = engine.present(headers);
        let mut caller = CallerState::Guest(Guest::New);
        if takes_sessions {
            caller = find(engine, &presented, headers, route.activity, record).await;
        }
        if takes_guests {
            recognise(engine, &presented, headers, record);
        }
        caller
    }
}

/// Finds the session of a request. What its browser is to be told of its cookie goes into `record`.
pub async fn find(
    engine: &Engine,
    presented: &Presented,
    headers: &HeaderMap,
    counts: Activity,
    record: &mut Record,
) -> CallerState {
    // SECURITY: a malformed, doubled or forged cookie is no session, and never reaches the store.
    let Presented::Valid(ticket) = presented else { return CallerState::Guest(Guest::New) };
    let activity = match counts {
        Activity::Navigation if !decision::loads_page(headers) => engine::Activity::DoesNotCount,
        Activity::Navigation | Activity::Any => engine::Activity::Counts,
    };
    let device = Device { user_agent: user_agent(headers), address: record.client };
    let visit = Visit { device, activity, request_id: record.request_id.as_str() };
    match engine.resume(ticket, visit).await {
        Ok(Resumed::Live(live)) => {
            record.session = Some(Arc::clone(&live.session));
            record.renewal = live.renewal;
            CallerState::Known(live.session)
        }
        Ok(Resumed::Expired(_)) => CallerState::Guest(Guest::Expired),
        Ok(Resumed::Gone) => CallerState::Guest(Guest::New),
        // SECURITY: broken is not absent: nobody is signed out and nobody let in.
        Err(error) => {
            tracing::debug!(%error, "session store did not answer");
            CallerState::Unknown
        }
    }
}

/// Recognises who is not signed in, where the gateway does that.
pub fn recognise(engine: &Engine, presented: &Presented, headers: &HeaderMap, record: &mut Record) {
    if record.session.is_some() || !(takes_cookies(headers) || is_known(presented)) {
        return;
    }
    if let Some(guest) = engine.guest(presented) {
        record.pseudonym = Some(guest.pseudonym);
        record.guest_cookies = guest.cookies;
    }
}

/// Only who would get a new cookie with this answer is a new guest; else each picture of a page
/// would come from another one.
const fn is_known(presented: &Presented) -> bool {
    matches!(presented, Presented::Valid(_) | Presented::Guest(_))
}

/// Whether the answer to a request may set cookies: not that of a picture or a style, which is kept by
/// caches, nor that of a connection that switches protocols.
#[must_use]
pub fn takes_cookies(headers: &HeaderMap) -> bool {
    let is_page =
        |kind: &HeaderValue| ["document", "iframe", "frame", "empty"].iter().any(|page| kind == page);
    headers.get(SEC_FETCH_DEST).is_none_or(is_page) && !headers.contains_key(http::header::UPGRADE)
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
