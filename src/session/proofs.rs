//! When the user of a session showed what they have: password, one-time code, passkey.
//!
//! What a route makes of it is the gateway's matter. Invariant: nothing but a proof makes a time here any
//! younger; neither activity nor a remembered login does.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::Factor;

/// When somebody showed each factor last, within one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proofs {
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passkey: Option<i64>,
}

impl Proofs {
    /// These, and `factor` shown at `at`.
    #[must_use]
    pub const fn with(mut self, factor: Factor, at: Timestamp) -> Self {
        let time = Some(at.as_millis());
        match factor {
            Factor::Password => self.password = time,
            Factor::Totp => self.totp = time,
            Factor::RecoveryCode => self.recovery_code = time,
            Factor::Passkey => self.passkey = time,
        }
        self
    }

    /// When `factor` was shown last.
    #[must_use]
    pub fn at(&self, factor: Factor) -> Option<Timestamp> {
        let time = match factor {
            Factor::Password => self.password,
            Factor::Totp => self.totp,
            Factor::RecoveryCode => self.recovery_code,
            Factor::Passkey => self.passkey,
        };
        time.map(Timestamp::from_millis)
    }

    /// When something that is no password was shown last.
    #[must_use]
    pub fn second(&self) -> Option<Timestamp> {
        let seconds = [Factor::Totp, Factor::RecoveryCode, Factor::Passkey];
        seconds.into_iter().filter_map(|factor| self.at(factor)).max()
    }

    /// When anything was shown last.
    #[must_use]
    pub fn latest(&self) -> Option<Timestamp> {
        self.second().max(self.at(Factor::Password))
    }

    /// Whether nothing was shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latest().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_second_factor_and_the_latest_counts() {
        let at = Timestamp::from_millis;
        let proofs = Proofs::default().with(Factor::Password, at(5));
        assert_eq!((proofs.second(), proofs.latest()), (None, Some(at(5))));
        let proofs = proofs.with(Factor::Totp, at(3)).with(Factor::RecoveryCode, at(4));
        assert_eq!((proofs.second(), proofs.latest()), (Some(at(4)), Some(at(5))));
        assert_eq!(proofs.with(Factor::Passkey, at(9)).latest(), Some(at(9)));
        assert!(Proofs::default().is_empty());
    }
}
