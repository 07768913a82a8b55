//! The secret of one-time codes while it is on its way to an application, sealed in the form.
//!
//! Invariant: it is worth nothing in another session, nor after [`LIFETIME`].

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::login::factors::TotpSecret;
use crate::session::keyring::{KeyRing, Sealing};
use crate::session::record::Session;

/// A secret, and since when it is offered.
pub(super) struct Enrolment {
    /// The secret.
    pub(super) secret: TotpSecret,
    begun: Timestamp,
}

impl Enrolment {
    /// With a new secret.
    pub(super) fn begin(now: Timestamp) -> Result<Self, getrandom::Error> {
        Ok(Self { secret: TotpSecret::generate()?, begun: now })
    }

    /// The value of a form's field for the browser of `session`.
    pub(super) fn seal(&self, ring: &KeyRing, session: &Session) -> Option<String> {
        let plain = [self.begun.as_millis().to_be_bytes().as_slice(), &self.secret.to_bytes()].concat();
        ring.seal(Sealing::Factor, &context(session), plain).map(|sealed| URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What [`Self::seal`] put into a form.
    pub(super) fn open(text: &str, ring: &KeyRing, session: &Session, now: Timestamp) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = ring.open(Sealing::Factor, &context(session), &sealed)?;
        let (begun, secret) = plain.split_first_chunk::<8>()?;
        let begun = Timestamp::from_millis(i64::from_be_bytes(*begun));
        let secret = TotpSecret::from_bytes(secret)?;
        (now.since(begun) < LIFETIME).then_some(Self { secret, begun })
    }
}

fn context(session: &Session) -> Vec<u8> {
    [b"enrolment\n".as_slice(), session.id().as_bytes()].concat()
}

/// How long somebody may take to find their telephone.
const LIFETIME: Duration = Duration::from_mins(30);
