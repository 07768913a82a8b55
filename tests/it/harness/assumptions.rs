//! The one place that knows the names of the library and the words of its log.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use vestibule::app;
use vestibule::clock::{Clock, ClockHand};
use vestibule::identity::{Group, UserId};
use vestibule::login::accounts::{Accounts, Profile};

use super::people::{Person, cheap_hash};
use super::{block_on, runtime};

/// A gateway in this process, with a clock that the test moves.
pub(crate) struct InProcess {
    gateway: Option<app::Gateway>,
    hand: ClockHand,
}

/// Where a gateway answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) https: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl InProcess {
    pub(crate) fn start(config: &Path) -> Result<Self, String> {
        let (clock, hand) = Clock::movable();
        let parts = app::Parts::load(config, clock.now()).map_err(|problems| problems.to_string())?;
        let gateway = block_on(app::Gateway::start(parts, clock)).map_err(|problems| problems.to_string())?;
        Ok(Self { gateway: Some(gateway), hand })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let gateway = self.running();
        Addresses {
            https: gateway.https_addresses()[0],
            http: gateway.http_addresses().first().copied(),
            admin: gateway.admin_address(),
        }
    }

    pub(crate) fn hand(&self) -> ClockHand {
        self.hand.clone()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.hand.advance(by);
    }

    /// What the reload says.
    pub(crate) fn reload(&self) -> Result<String, String> {
        let outcome = block_on(self.running().reload());
        outcome.map(|report| format!("{report:?}")).map_err(|problems| problems.to_string())
    }

    pub(crate) fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            runtime().block_on(gateway.stop());
        }
    }

    fn running(&self) -> &app::Gateway {
        self.gateway.as_ref().expect("a running gateway")
    }
}

/// Writes accounts into the database at `path`.
pub(crate) fn add_accounts(people: &[Person], path: &Path) {
    let hash = cheap_hash();
    block_on(async {
        let accounts = Accounts::open(path).await.expect("an account database");
        for person in people {
            let user = UserId::try_from(person.user.as_str()).expect("a user's name");
            let now = Clock::system().now();
            accounts.add(&user, hash.clone(), profile(person), now).await.expect("a new account");
        }
        accounts.close().await;
    });
}

fn profile(person: &Person) -> Profile {
    Profile {
        groups: person.groups.iter().map(|group| Group::try_from(group.as_str()).expect("a group")).collect(),
        name: person.name.clone(),
        email: person.email.clone(),
    }
}

/// The log line that names the addresses as `https`, `http` and `admin`.
pub(crate) const LISTENING: &str = "listening";

/// What every log line about a reload holds, whether it was taken over or refused.
pub(crate) const RELOAD: &str = "reload";

/// Kinds of event in the audit trail.
pub(crate) mod event {
    pub(crate) const LOGIN_SUCCESS: &str = "authn_login_success";
    pub(crate) const LOGIN_FAILURE: &str = "authn_login_fail";
    pub(crate) const LOGIN_THROTTLED: &str = "authn_login_fail_max";
    pub(crate) const FACTOR_SUCCESS: &str = "authn_factor_success";
    pub(crate) const FACTOR_FAILURE: &str = "authn_factor_fail";
    pub(crate) const ACCOUNT_RESET: &str = "authn_account_reset";
    pub(crate) const SESSION_CREATED: &str = "session_created";
    pub(crate) const SESSION_ENDED: &str = "session_ended";
    pub(crate) const SESSION_REVOKED: &str = "session_revoked";
    pub(crate) const SESSION_EXPIRED: &str = "session_expired";
    pub(crate) const SESSION_DESTROYED: &str = "session_destroyed";
    pub(crate) const RECORD_REFUSED: &str = "session_record_refused";
    pub(crate) const USE_AFTER_END: &str = "session_use_after_expire";
    pub(crate) const CSRF: &str = "malicious_csrf";
    pub(crate) const AUTHORIZATION_FAILED: &str = "authz_fail";
    pub(crate) const RELOAD_DONE: &str = "sys_reload";
    pub(crate) const RELOAD_REFUSED: &str = "sys_reload_fail";
    pub(crate) const STARTED: &str = "sys_startup";
    pub(crate) const STOPPED: &str = "sys_shutdown";
}
