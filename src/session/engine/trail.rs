//! The engine's lines in the audit trail.

use crate::identity::UserId;
use crate::session::record::Session;
use crate::session::token::SessionId;
use crate::telemetry::audit::{Event, EventKind};

use super::Shared;

impl Shared {
    pub(super) fn note(&self, kind: EventKind, session: &Session, detail: &'static str) {
        self.audit.record(Event {
            user: Some(session.identity().user.as_str()),
            session: Some(session.id().to_string()),
            address: Some(session.address()),
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
    ) {
        self.audit.record(Event {
            user: user.map(UserId::as_str),
            session: Some(id.to_string()),
            detail: Some(detail),
            ..Event::new(kind)
        });
    }
}
