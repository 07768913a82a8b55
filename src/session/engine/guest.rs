//! Guests: who is not signed in and is recognised all the same.
//!
//! Invariant: nothing is stored of them, so no flood of guests fills a store; what they have allows
//! nothing.

use http::header::HeaderValue;

use super::{Engine, Presented, Settings, Shared};
use crate::session::Guests;
use crate::session::cookie::{self, Found, GuestTicket};
use crate::session::token::Token;

impl Engine {
    /// Whether guests are recognised.
    #[must_use]
    pub fn takes_guests(&self) -> bool {
        self.shared.settings.load().policy.guests == Guests::Recognised
    }

    /// The guest that a request comes from, a new one if it has to be; nothing where guests are not
    /// recognised. No I/O: a guest session allows nothing, so nothing of it is stored.
    #[must_use]
    pub fn guest(&self, presented: &Presented) -> Option<Guest> {
        let settings = self.shared.settings.load();
        (settings.policy.guests == Guests::Recognised).then(|| self.shared.guest(&settings, presented))
    }
}

/// Somebody who is not signed in and is recognised all the same.
#[derive(Debug)]
pub struct Guest {
    /// The name for backends; it says nothing of who somebody is.
    pub pseudonym: String,
    /// The `Set-Cookie` values for the browser; none when it has them.
    pub cookies: Vec<HeaderValue>,
}

impl Shared {
    fn guest(&self, settings: &Settings, presented: &Presented) -> Guest {
        let (ring, policy, now) = (&settings.ring, &settings.policy, self.clock.now());
        let known = match presented {
            // The cookie of a session is left alone, whatever became of the session.
            Found::Valid(ticket) => Some((&ticket.token, Vec::new())),
            Found::Guest(guest) if now.since(guest.issued) < policy.lifetimes.absolute => {
                Some((&guest.token, Vec::new()))
            }
            Found::Guest(_) | Found::Absent | Found::Refused(_) => None,
        };
        if let Some((token, cookies)) = known {
            return Guest { pseudonym: token.session().pseudonym(), cookies };
        }
        let ticket = GuestTicket { token: Token::generate(), issued: now, key: ring.signer().id() };
        let value = ticket.value(ring.signer(), &policy.cookie.name);
        let cookies = cookie::set(&value, &policy.cookie, None).unwrap_or_default();
        Guest { pseudonym: ticket.token.session().pseudonym(), cookies }
    }
}
