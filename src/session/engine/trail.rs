//! The engine's lines in the audit trail.

use std::net::IpAddr;

use crate::identity::UserId;
use crate::session::record::Session;
use crate::session::token::SessionId;
use crate::telemetry::audit::{Event, EventKind};

use super::Shared;

/// The request that caused an event, as far as there was one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cause<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) request_id: Option<&'a str>,
}

impl Shared {
    /// An event of a session; without a cause it is told with the address that logged in.
    pub(super) fn note(&self, kind: EventKind, session: &Session, detail: &'static str, cause: Cause<'_>) {
        self.audit.record(Event {
            user: Some(session.identity().user.as_str()),
            session: Some(session.id().to_string()),
            address: cause.address.or(Some(session.address())),
            request_id: cause.request_id,
            detail: Some(detail),
            ..Event::new(kind)
        });
    }

    /// For a session of which only the id, and perhaps the user, is known.
    pub(super) fn note_id(
        &self,
        kind: EventKind,
        id: SessionId,
        user: Option<&UserId>,
        detail: &'static str,
        cause: Cause<'_>,
    ) {
        self.audit.record(Event {
            user: user.map(UserId::as_str),
            session: Some(id.to_string()),
            address: cause.address,
            request_id: cause.request_id,
            detail: Some(detail),
            ..Event::new(kind)
        });
    }
}
