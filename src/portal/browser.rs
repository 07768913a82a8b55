//! The cookie by which a form that is kept finds its way back: which browser this is, and who signed in there.
//!
//! When a session is over, its store may know nothing of it any more; this says whose form came too late, at
//! whichever gateway. It opens nothing: a form is handed out to who has signed in again. It is sealed, so that
//! nobody who finds it learns a name, and ends with the browser. Invariant: what we have not sealed is no
//! browser of ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

use crate::identity::UserId;
use crate::session::keyring::{KeyRing, Sealing};

/// The name of the cookie.
pub const COOKIE: &str = "__Host-vestibule-browser";

/// A browser in which somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Browser {
    id: [u8; ID],
    user: UserId,
}

impl Browser {
    /// The browser that sent `headers`, and who signed in there last.
    pub(super) fn presented(headers: &HeaderMap, ring: &KeyRing) -> Option<Self> {
        let lines = headers.get_all(header::COOKIE).iter();
        let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let value = pairs.find_map(|pair| {
            pair.trim_ascii().strip_prefix(COOKIE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })?;
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let plain = ring.open(Sealing::Kept, CONTEXT, &sealed)?;
        let (id, user) = plain.split_first_chunk()?;
        Some(Self { id: *id, user: UserId::try_from(std::str::from_utf8(user).ok()?).ok()? })
    }

    /// The same browser, or one that was not seen before, with `user` signed in.
    pub(super) fn of(headers: &HeaderMap, ring: &KeyRing, user: &UserId) -> Result<Self, getrandom::Error> {
        let user = user.clone();
        if let Some(Self { id, .. }) = Self::presented(headers, ring) {
            return Ok(Self { id, user });
        }
        let mut id = [0; ID];
        getrandom::fill(&mut id)?;
        Ok(Self { id, user })
    }

    /// The cookie that says so until the browser is closed; nothing if it cannot be sealed.
    pub(super) fn to_cookie(&self, ring: &KeyRing) -> Option<HeaderValue> {
        let plain = [self.id.as_slice(), self.user.as_str().as_bytes()].concat();
        let sealed = URL_SAFE_NO_PAD.encode(ring.seal(Sealing::Kept, CONTEXT, plain)?);
        let cookie =
            Cookie::build((COOKIE, sealed)).path("/").secure(true).http_only(true).same_site(SameSite::Lax);
        HeaderValue::try_from(cookie.to_string()).ok()
    }

    /// Tells browsers apart; no secret.
    pub(super) const fn id(&self) -> &[u8; ID] {
        &self.id
    }

    /// Who signed in.
    pub(super) const fn user(&self) -> &UserId {
        &self.user
    }
}

/// Shorter than that of any form.
const CONTEXT: &[u8] = b"browser";
/// Bytes.
const ID: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn headers(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=b; {pair}")).unwrap())])
    }

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    #[test]
    fn a_browser_is_known_again_whoever_signs_in_and_says_nobodys_name() {
        let ring = KeyRing::generate(Timestamp::from_millis(0));
        let first = Browser::of(&HeaderMap::new(), &ring, &user("alice")).unwrap();
        let cookie = first.to_cookie(&ring).unwrap();
        assert_eq!(Browser::presented(&headers(&cookie), &ring), Some(first.clone()));
        let second = Browser::of(&headers(&cookie), &ring, &user("bob")).unwrap();
        assert_eq!((second.id(), second.user()), (first.id(), &user("bob")));
        let other = Browser::of(&HeaderMap::new(), &ring, &user("alice")).unwrap();
        assert_ne!(other.id(), first.id());
        let text = cookie.to_str().unwrap();
        assert!(text.starts_with(COOKIE) && text.contains("Secure") && text.contains("HttpOnly"), "{text}");
        let value = text.split(['=', ';']).nth(1).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        assert!(!bytes.windows(5).any(|part| part == b"alice"));
        assert_eq!(
            Browser::presented(&headers(&cookie), &KeyRing::generate(Timestamp::from_millis(0))),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_not_ours_is_no_browser(value in "[!-:<-~]{0,120}") {
            let ring = KeyRing::generate(Timestamp::from_millis(0));
            let forged = HeaderValue::try_from(format!("{COOKIE}={value}")).unwrap();
            prop_assert_eq!(Browser::presented(&headers(&forged), &ring), None);
        }
    }
}
