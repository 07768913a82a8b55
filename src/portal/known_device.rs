//! The cookie of a device on which somebody signed in before: others' failures do not slow it down.
//!
//! It opens nothing: a password is still asked for. A mark is a random number, a date and a tag over both
//! and the account's name, so that nobody who finds the cookie learns whose device it is; only a name that
//! is typed can be compared. Invariants: no identity stands in the cookie; a mark is worth nothing for
//! another account, for another purpose, or after [`LIFETIME`].

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::login::throttle::DeviceId;
use crate::session::keyring::{KeyId, KeyRing, Purpose};

/// The name of the cookie.
pub const COOKIE: &str = "__Host-vestibule-device";

/// The device that sent `headers`, if the account of `user` (as typed) was signed in to on it.
pub(super) fn find(headers: &HeaderMap, ring: &KeyRing, user: &str, now: Timestamp) -> Option<DeviceId> {
    let user = folded(user);
    marks(headers).into_iter().find(|mark| mark.is_for(&user, ring, now)).map(|mark| DeviceId(mark.nonce))
}

/// The cookie that says that `user` signed in there now, and who did before.
pub(super) fn remember(
    headers: &HeaderMap,
    ring: &KeyRing,
    user: &UserId,
    now: Timestamp,
) -> Result<HeaderValue, getrandom::Error> {
    let user = folded(user.as_str());
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce)?;
    let earlier = marks(headers).into_iter().filter(|mark| !mark.is_for(&user, ring, now));
    let mut bytes = Mark::new(nonce, &user, ring, now).to_bytes();
    earlier.take(MARKS - 1).for_each(|mark| bytes.extend(mark.to_bytes()));
    let cookie = Cookie::build((COOKIE, URL_SAFE_NO_PAD.encode(bytes)))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(LIFETIME.try_into().unwrap_or_default());
    Ok(HeaderValue::try_from(cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static("")))
}

/// That an account was signed in to.
#[derive(Clone, Copy)]
struct Mark {
    key: KeyId,
    issued: Timestamp,
    nonce: [u8; NONCE],
    tag: [u8; TAG],
}

impl Mark {
    fn new(nonce: [u8; NONCE], user: &str, ring: &KeyRing, issued: Timestamp) -> Self {
        let (key, tag) = ring.sign(Purpose::Device, &message(issued, &nonce, user));
        Self { key, issued, nonce, tag }
    }

    fn is_for(&self, user: &str, ring: &KeyRing, now: Timestamp) -> bool {
        let message = message(self.issued, &self.nonce, user);
        now.since(self.issued) < LIFETIME && ring.verify(Purpose::Device, self.key, &message, &self.tag)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (nonce, tag) = rest.split_first_chunk()?;
        Some(Self {
            key: KeyId::from_bytes(*key),
            issued: Timestamp::from_millis(i64::from_be_bytes(*issued)),
            nonce: *nonce,
            tag: tag.try_into().ok()?,
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let issued = self.issued.as_millis().to_be_bytes();
        [self.key.as_bytes().as_slice(), &issued, &self.nonce, &self.tag].concat()
    }
}

/// The parts before the name have one length.
fn message(issued: Timestamp, nonce: &[u8], user: &str) -> Vec<u8> {
    [issued.as_millis().to_be_bytes().as_slice(), nonce, user.as_bytes()].concat()
}

/// What the first cookie of that name holds: whoever puts another before it takes a comfort away, no right.
fn marks(headers: &HeaderMap) -> Vec<Mark> {
    let lines =
        headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let value = lines
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(COOKIE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")));
    let bytes = value
        .filter(|value| value.len() <= LENGTH_LIMIT)
        .and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    bytes.unwrap_or_default().chunks(MARK).filter_map(Mark::read).collect()
}

/// As the accounts compare names.
fn folded(user: &str) -> String {
    user.trim().to_ascii_lowercase()
}

/// How long a device is known; each login there begins it anew.
const LIFETIME: Duration = Duration::from_hours(180 * 24);

/// Accounts on one device.
const MARKS: usize = 4;
const NONCE: usize = 16;
const TAG: usize = 32;
const MARK: usize = 4 + 8 + NONCE + TAG;
const LENGTH_LIMIT: usize = (MARKS * MARK * 4).div_ceil(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    fn sent_back(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=1; {pair}")).unwrap())])
    }

    #[test]
    fn a_device_is_known_to_those_who_signed_in_there_and_to_nobody_else() {
        let ring = KeyRing::generate(NOW);
        let cookie = remember(&HeaderMap::new(), &ring, &user("alice"), NOW).unwrap();
        let text = cookie.to_str().unwrap();
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=15552000"] {
            assert!(text.contains(attribute), "{attribute} in {text}");
        }
        let headers = sent_back(&cookie);
        let known = |name: &str, ring: &KeyRing, now| find(&headers, ring, name, now).is_some();
        assert!(known("alice", &ring, NOW) && known(" ALICE ", &ring, NOW));
        assert!(!known("bob", &ring, NOW) && !known("", &ring, NOW));
        assert!(known("alice", &ring.rotate(NOW), NOW), "the older key still verifies");
        assert!(!known("alice", &KeyRing::generate(NOW), NOW));
        assert!(!known("alice", &ring, NOW + LIFETIME));
    }

    #[test]
    fn four_people_share_a_device_and_the_one_who_came_first_is_forgotten() {
        let ring = KeyRing::generate(NOW);
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "c", "b", "d", "e"] {
            headers = sent_back(&remember(&headers, &ring, &user(name), NOW).unwrap());
        }
        let known = |name| find(&headers, &ring, name, NOW).is_some();
        assert_eq!(["a", "b", "c", "d", "e"].map(known), [false, true, true, true, true]);
    }

    #[test]
    fn nobody_can_tell_from_the_cookie_whose_device_it_is() {
        let ring = KeyRing::generate(NOW);
        let cookie = remember(&HeaderMap::new(), &ring, &user("alice"), NOW).unwrap();
        let value = cookie.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"alice"));
        let again = remember(&HeaderMap::new(), &ring, &user("alice"), NOW).unwrap();
        assert_ne!(cookie, again);
    }

    proptest! {
        #[test]
        fn what_we_did_not_write_is_no_device(value in "[A-Za-z0-9_-]{0,400}|[!-~&&[^;]]{0,100}") {
            let line = HeaderValue::try_from(format!("{COOKIE}={value}")).unwrap();
            let headers = HeaderMap::from_iter([(header::COOKIE, line)]);
            let found = find(&headers, &KeyRing::generate(NOW), "alice", NOW);
            prop_assert_eq!(found, None);
        }
    }
}
