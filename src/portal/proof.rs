//! What a login proved, in the hands of a browser that has no session yet.
//!
//! Between the right password and the session lies a page that asks something; what was proved lies in
//! its form, since the gateway keeps nothing of somebody without a session. Invariants: nobody but the
//! gateway reads or writes a proof; it is worth nothing in another browser, nor after [`LIFETIME`], nor after
//! the account has another password.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::ReturnTo;
use super::csrf::Nonce;
use crate::clock::Timestamp;
use crate::identity::{AuthMethod, Identity};
use crate::login::PasswordMark;
use crate::session::keyring::{KeyRing, Sealing};
use crate::session::lifetime::Remember;
use crate::session::proofs::Proofs;

/// Who somebody proved to be, and what they asked for when they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Who.
    pub(super) identity: Identity,
    /// How.
    pub(super) method: AuthMethod,
    /// The password of the account when they did.
    pub(super) password: PasswordMark,
    /// What they showed, and when.
    pub(super) proofs: Proofs,
    /// Whether they want to stay signed in.
    pub(super) remember: Remember,
    /// Where they wanted to go.
    pub(super) next: ReturnTo,
    /// When they proved it; showing it again makes it no younger.
    pub(super) issued: Timestamp,
}

impl Proof {
    /// The value of a form's field for the browser that holds `nonce`; nothing if a form cannot hold it.
    pub(super) fn seal(&self, ring: &KeyRing, nonce: &Nonce) -> Option<String> {
        let content = Content {
            identity: self.identity.clone(),
            method: self.method,
            password: self.password,
            proofs: self.proofs,
            remembered: self.remember == Remember::Yes,
            next: self.next.as_str().to_owned(),
            issued: self.issued.as_millis(),
        };
        let text = serde_json::to_vec(&content).ok()?;
        let sealed = URL_SAFE_NO_PAD.encode(ring.seal(Sealing::Proof, nonce.as_bytes(), text)?);
        (sealed.len() <= LENGTH_LIMIT).then_some(sealed)
    }

    /// When it is worth nothing any more.
    pub(super) fn ends_at(&self) -> Timestamp {
        self.issued + LIFETIME
    }

    /// What [`Self::seal`] put into a form of the browser that holds `nonce`.
    pub(super) fn open(text: &str, ring: &KeyRing, nonce: &Nonce, now: Timestamp) -> Result<Self, Refused> {
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Untrusted)?;
        // SECURITY: the browser's nonce is part of what is sealed: a page that was copied opens nothing
        // anywhere else.
        let text = ring.open(Sealing::Proof, nonce.as_bytes(), &sealed).ok_or(Refused::Untrusted)?;
        let content: Content = serde_json::from_slice(&text).map_err(|_| Refused::Untrusted)?;
        let remember = if content.remembered { Remember::Yes } else { Remember::No };
        let Content { identity, method, password, proofs, next, issued, .. } = content;
        let (next, issued) = (ReturnTo::parse(&next), Timestamp::from_millis(issued));
        let proof = Self { identity, method, password, proofs, remember, next, issued };
        if now.since(issued) < LIFETIME { Ok(proof) } else { Err(Refused::Expired(Box::new(proof))) }
    }
}

/// Why a text proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not sealed by us, or for another browser.
    Untrusted,
    /// It proved this too long ago.
    Expired(Box<Proof>),
}

/// How long somebody may think about the page.
const LIFETIME: Duration = Duration::from_mins(5);

#[derive(Serialize, Deserialize)]
struct Content {
    identity: Identity,
    method: AuthMethod,
    password: PasswordMark,
    proofs: Proofs,
    remembered: bool,
    next: String,
    issued: i64,
}

/// Characters; a form of ours has 16 KiB for everything.
const LENGTH_LIMIT: usize = 12 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Factor, Group};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn proof() -> Proof {
        Proof {
            identity: Identity {
                user: "alice".try_into().unwrap(),
                groups: vec!["staff".try_into().unwrap()],
                name: Some("Zoë".to_owned()),
                email: None,
            },
            method: AuthMethod::Password,
            password: PasswordMark::of("a hash"),
            proofs: Proofs::default().with(Factor::Password, NOW),
            remember: Remember::Yes,
            next: ReturnTo::parse("/wiki?a=%2F b"),
            issued: NOW,
        }
    }

    #[test]
    fn a_proof_comes_back_as_it_was_within_its_time_and_not_a_moment_later() {
        let (ring, nonce) = (KeyRing::generate(NOW), Nonce::generate().unwrap());
        let sealed = proof().seal(&ring, &nonce).unwrap();
        assert!(!sealed.contains("alice"));
        let moment = Duration::from_millis(1);
        assert_eq!(Proof::open(&sealed, &ring, &nonce, NOW + LIFETIME - moment), Ok(proof()));
        let late = Proof::open(&sealed, &ring, &nonce, NOW + LIFETIME);
        assert_eq!(late, Err(Refused::Expired(Box::new(proof()))));
    }

    #[test]
    fn a_proof_of_another_browser_another_gateway_or_nobody_is_none() {
        let ring = KeyRing::generate(NOW);
        let [mine, theirs] = [(), ()].map(|()| Nonce::generate().unwrap());
        let sealed = proof().seal(&ring, &mine).unwrap();
        let refused = Err(Refused::Untrusted);
        assert_eq!(Proof::open(&sealed, &ring, &theirs, NOW), refused);
        assert_eq!(Proof::open(&sealed, &KeyRing::generate(NOW), &mine, NOW), refused);
        let cut = |length| sealed.chars().take(length).collect::<String>();
        for text in ["", "AAAA", "%", &cut(sealed.len() - 4), &cut(10)] {
            assert_eq!(Proof::open(text, &ring, &mine, NOW), refused, "{text}");
        }
    }

    #[test]
    fn a_proof_that_no_form_can_hold_is_none() {
        let (ring, nonce) = (KeyRing::generate(NOW), Nonce::generate().unwrap());
        let group = |number| Group::try_from(format!("{number:0128}")).unwrap();
        let mut proof = proof();
        proof.identity.groups = (0..50).map(group).collect();
        assert!(proof.seal(&ring, &nonce).is_some());
        proof.identity.groups = (0..100).map(group).collect();
        assert_eq!(proof.seal(&ring, &nonce), None);
    }
}
