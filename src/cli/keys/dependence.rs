//! Which sessions depend on which key, and when a key can go therefore.
//!
//! Invariant: what is not known is never taken for "no session".

use crate::admin::Question;
use crate::admin::client::AskError;
use crate::admin::question::KeyUse;
use crate::app::Errand;
use crate::cli::office::Office;
use crate::cli::place::wait;
use crate::cli::report::Failure;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::session::Lifetimes;
use crate::session::keyring::{Key, KeyId, KeyRing};

/// The sessions that depend on each key.
pub(super) struct Dependence {
    /// As the gateway or the store counts them, or why they cannot.
    pub(super) counted: Result<Vec<KeyUse>, String>,
    /// What a person should know of who counted.
    pub(super) remark: &'static str,
    lifetimes: Lifetimes,
}

/// When a key can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CanGo {
    /// It signs.
    Signer,
    /// At once: no session depends on it.
    Now,
    /// When the last session that depends on it has ended.
    After(String),
}

impl Dependence {
    /// Asks the running gateway, or the store.
    pub(super) fn ask(config: &Config) -> Result<Self, Failure> {
        wait(async {
            let office = Office::open(config, Errand::Look).await?;
            let answer = office.ask(Question::Keys).await;
            let remark = office.remark();
            office.close().await;
            let counted = match answer {
                Ok(counted) => Ok(counted),
                Err(AskError::Refused(lines)) => Err(lines.join("; ")),
                Err(error) => return Err(Failure::failed(error)),
            };
            Ok(Self { counted, remark, lifetimes: config.session.policy.lifetimes })
        })
    }

    /// How many live sessions depend on a key; nothing if that is not known.
    pub(super) fn sessions(&self, id: KeyId) -> Option<u64> {
        let counted = self.counted.as_ref().ok()?;
        Some(find(counted, id).map_or(0, |used| used.sessions))
    }

    /// When a key of the ring can go.
    pub(super) fn can_go(&self, ring: &KeyRing, id: KeyId, now: Timestamp) -> CanGo {
        if ring.signer().id() == id {
            return CanGo::Signer;
        }
        match &self.counted {
            Ok(counted) => find(counted, id)
                .filter(|used| used.sessions > 0)
                .map_or(CanGo::Now, |used| CanGo::After(used.until.clone())),
            Err(_) => self.by_lifetimes(ring, id, now),
        }
    }

    /// What speaks against removing a key.
    pub(super) fn refusal(&self, ring: &KeyRing, id: KeyId, now: Timestamp) -> Option<String> {
        let why = match &self.counted {
            Ok(counted) => return find(counted, id).filter(|used| used.sessions > 0).map(needed),
            Err(why) => why,
        };
        match self.by_lifetimes(ring, id, now) {
            CanGo::Now => None,
            CanGo::Signer => Some(format!("key {id} signs; {why}; `--force` removes it all the same")),
            CanGo::After(time) => Some(format!(
                "it is not known how many sessions depend on key {id} ({why}); none can after {time}; \
                 `--force` removes it now"
            )),
        }
    }

    /// A key signed nothing since the next one was made, and no session outlives the longest lifetime.
    fn by_lifetimes(&self, ring: &KeyRing, id: KeyId, now: Timestamp) -> CanGo {
        let Some(key) = ring.key(id) else { return CanGo::Now };
        let later = ring.keys().filter(|other| other.id() != id && other.created() >= key.created());
        let Some(replaced) = later.map(Key::created).min() else { return CanGo::Signer };
        let last = replaced + self.lifetimes.longest();
        if last <= now { CanGo::Now } else { CanGo::After(last.to_string()) }
    }
}

fn needed(used: &KeyUse) -> String {
    let KeyUse { key, sessions, until } = used;
    let (sessions, they_stay) = match sessions {
        1 => ("one session depends".to_owned(), "it stays"),
        many => (format!("{many} sessions depend"), "they stay"),
    };
    format!("{sessions} on key {key}, until {until} if {they_stay} unused; `--force` ends them now")
}

fn find(counted: &[KeyUse], id: KeyId) -> Option<&KeyUse> {
    counted.iter().find(|used| used.key == id.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        idle: Duration::from_mins(30),
        absolute: Duration::from_hours(12),
        remember: Duration::from_hours(24),
        renew_id: Duration::ZERO,
    };

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + Duration::from_hours(hour)
    }

    fn dependence(counted: Result<Vec<KeyUse>, String>) -> Dependence {
        Dependence { counted, remark: "", lifetimes: LIFETIMES }
    }

    fn ring() -> (KeyRing, KeyId) {
        let first = KeyRing::generate(at(0));
        let id = first.signer().id();
        (first.rotate(at(1)), id)
    }

    #[test]
    fn a_key_can_go_when_the_last_session_that_depends_on_it_has_ended() {
        let (ring, old) = ring();
        let used = KeyUse { key: old.to_string(), sessions: 2, until: at(3).to_string() };
        let some = dependence(Ok(vec![used]));
        assert_eq!(some.can_go(&ring, old, at(2)), CanGo::After(at(3).to_string()));
        assert!(some.refusal(&ring, old, at(2)).unwrap().starts_with("2 sessions depend on key "));
        let none = dependence(Ok(Vec::new()));
        assert_eq!(none.can_go(&ring, old, at(2)), CanGo::Now);
        assert_eq!(none.refusal(&ring, old, at(2)), None);
        assert_eq!(none.can_go(&ring, ring.signer().id(), at(2)), CanGo::Signer);
    }

    #[test]
    fn where_nobody_can_count_the_longest_lifetime_decides() {
        let (ring, old) = ring();
        let unknown = dependence(Err("this store keeps no index".to_owned()));
        assert_eq!(unknown.can_go(&ring, old, at(2)), CanGo::After(at(25).to_string()));
        let refusal = unknown.refusal(&ring, old, at(24)).unwrap();
        assert!(refusal.contains("this store keeps no index") && refusal.contains(&at(25).to_string()));
        assert_eq!(unknown.can_go(&ring, old, at(25)), CanGo::Now);
        assert_eq!(unknown.refusal(&ring, old, at(25)), None);
    }
}
