//! Forms whose way was interrupted: kept sealed, for a while, for the person who sent them.
//!
//! They are kept in the memory of this process, whatever the session store: what somebody typed is nobody's
//! record, and leaves no trace on a disk. Invariants: memory is bounded, and the oldest make room; a form is
//! handed out to the browser and the user that sent it only; it is taken once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::unsync::Cache;
use sha2::{Digest, Sha256};

use super::csrf::Nonce;
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::keyring::{KeyRing, Sealing};

/// The forms that are kept.
#[derive(Debug)]
pub(super) struct Kept(Mutex<Inner>);

/// A form that somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptForm {
    /// Path and query.
    pub(super) target: String,
    /// The value of `Content-Type`.
    pub(super) content_type: String,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// Whose a form is: this user in this browser.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    /// The browser.
    pub(super) nonce: &'a Nonce,
    /// The user.
    pub(super) user: &'a UserId,
}

impl Owner<'_> {
    fn context(&self, id: &str) -> Vec<u8> {
        [self.nonce.as_bytes().as_slice(), id.as_bytes(), b"\n", self.user.as_str().as_bytes()].concat()
    }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner { entries: VecDeque::new(), bytes: 0, last_users: Cache::new(BROWSERS) }))
    }

    /// Notes who is signed in in a browser, for the day when their session has expired.
    pub(super) fn note_user(&self, nonce: &Nonce, user: &UserId) {
        self.inner().last_users.insert(browser(nonce), user.clone());
    }

    /// Who was signed in in a browser last, as far as this process knows.
    pub(super) fn last_user(&self, nonce: &Nonce) -> Option<UserId> {
        self.inner().last_users.get(&browser(nonce)).cloned()
    }

    /// Keeps a form; answers the name by which its owner asks for it. Nothing if it cannot be kept.
    pub(super) fn keep(
        &self,
        form: &KeptForm,
        owner: Owner<'_>,
        ring: &KeyRing,
        now: Timestamp,
    ) -> Option<String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        let id = URL_SAFE_NO_PAD.encode(bytes);
        let sealed = ring.seal(Sealing::Kept, &owner.context(&id), form.to_bytes())?;
        self.inner().add(Entry { id: id.clone(), sealed, expires: now + LIFETIME });
        Some(id)
    }

    /// The form of that name, if it is this owner's; it stays.
    pub(super) fn look(
        &self,
        id: &str,
        owner: Owner<'_>,
        ring: &KeyRing,
        now: Timestamp,
    ) -> Option<KeptForm> {
        let mut inner = self.inner();
        inner.forget_old(now);
        let entry = inner.entries.iter().find(|entry| entry.id == id)?;
        KeptForm::from_bytes(&ring.open(Sealing::Kept, &owner.context(id), &entry.sealed)?)
    }

    /// The same, which is gone then.
    pub(super) fn take(
        &self,
        id: &str,
        owner: Owner<'_>,
        ring: &KeyRing,
        now: Timestamp,
    ) -> Option<KeptForm> {
        let form = self.look(id, owner, ring, now)?;
        // SECURITY: of two who take it at once, one gets it.
        self.inner().remove(id).then_some(form)
    }

    /// A browser has another nonce: who was signed in there is the same.
    pub(super) fn renonce(&self, from: &Nonce, to: &Nonce) {
        if let Some(user) = self.last_user(from) {
            self.note_user(to, &user);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptForm {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.target.len() + self.content_type.len() + self.body.len() + 2);
        bytes.extend_from_slice(self.target.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(self.content_type.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
        let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
        let (target, content_type) = (text()?, text()?);
        Some(Self { target, content_type, body: parts.next()?.to_vec() })
    }
}

#[derive(Debug)]
struct Inner {
    /// The oldest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    last_users: Cache<[u8; 32], UserId>,
}

impl Inner {
    fn add(&mut self, entry: Entry) {
        self.bytes += entry.sealed.len();
        self.entries.push_back(entry);
        while self.bytes > SPACE || self.entries.len() > ENTRIES {
            self.drop_oldest();
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.entries.front().is_some_and(|entry| entry.expires <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(entry.sealed.len());
        }
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(place) = self.entries.iter().position(|entry| entry.id == id) else { return false };
        let removed = self.entries.remove(place);
        self.bytes = self.bytes.saturating_sub(removed.map_or(0, |entry| entry.sealed.len()));
        true
    }
}

#[derive(Debug)]
struct Entry {
    id: String,
    sealed: Vec<u8>,
    expires: Timestamp,
}

fn browser(nonce: &Nonce) -> [u8; 32] {
    Sha256::digest(nonce.as_bytes()).into()
}

/// How long somebody may take to sign in again.
const LIFETIME: Duration = Duration::from_mins(30);
/// Bytes for the forms of everybody.
const SPACE: usize = 32 * 1024 * 1024;
const ENTRIES: usize = 4096;
/// Browsers whose last user is known.
const BROWSERS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn form(size: usize) -> KeptForm {
        let content_type = "application/x-www-form-urlencoded".to_owned();
        KeptForm { target: "/a?b=c".to_owned(), content_type, body: vec![b'\n'; size] }
    }

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    #[test]
    fn a_form_is_for_its_owner_once_and_for_its_time() {
        let (kept, ring) = (Kept::new(), KeyRing::generate(NOW));
        let [mine, theirs] = [(), ()].map(|()| Nonce::generate().unwrap());
        let (alice, bob) = (user("alice"), user("bob"));
        let owner = Owner { nonce: &mine, user: &alice };
        let id = kept.keep(&form(5), owner, &ring, NOW).unwrap();
        for other in [Owner { nonce: &theirs, user: &alice }, Owner { nonce: &mine, user: &bob }] {
            assert_eq!(kept.take(&id, other, &ring, NOW), None);
        }
        assert_eq!(kept.take(&id, owner, &KeyRing::generate(NOW), NOW), None);
        assert_eq!(kept.look(&id, owner, &ring, NOW), Some(form(5)));
        assert_eq!(kept.take(&id, owner, &ring, NOW), Some(form(5)));
        assert_eq!(kept.take(&id, owner, &ring, NOW), None);
        let id = kept.keep(&form(5), owner, &ring, NOW).unwrap();
        assert_eq!(kept.look(&id, owner, &ring, NOW + LIFETIME), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let (kept, ring, nonce) = (Kept::new(), KeyRing::generate(NOW), Nonce::generate().unwrap());
        let alice = user("alice");
        let owner = Owner { nonce: &nonce, user: &alice };
        let size = SPACE / 4;
        let ids: Vec<String> = (0..6).map(|_| kept.keep(&form(size), owner, &ring, NOW).unwrap()).collect();
        let there: Vec<bool> = ids.iter().map(|id| kept.look(id, owner, &ring, NOW).is_some()).collect();
        assert_eq!(there, [false, false, false, true, true, true]);
        assert!(kept.inner().bytes <= SPACE);
    }

    #[test]
    fn a_browser_is_known_by_its_last_user_and_keeps_that_with_another_nonce() {
        let (kept, [old, new]) = (Kept::new(), [(), ()].map(|()| Nonce::generate().unwrap()));
        assert_eq!(kept.last_user(&old), None);
        kept.note_user(&old, &user("alice"));
        kept.renonce(&old, &new);
        assert_eq!(kept.last_user(&new), Some(user("alice")));
    }
}
