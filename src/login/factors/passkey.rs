//! Passkeys (Web Authentication, level 3), as second factor and in the place of the password.
//!
//! The library checks challenge, origin, host, signature and counter, and that the person was there and was
//! verified; keeping its state for the browser that asked is the portal's matter. Invariants: a passkey always
//! verifies its person; a credential belongs to one user and one host; a question is answered once (ASVS 5.0,
//! 6.7.2), and an answer that is wrong writes nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use webauthn_rs::prelude::{
    AuthenticationResult, CredentialID, DiscoverableAuthentication, Passkey, PasskeyAuthentication,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder, WebauthnResult,
};

use super::{
    Answered, Change, EnrolError, FactorId, Factors, Held, Kind, NewPasskey, Once, Question, Row, context,
};
use crate::identity::UserId;
use crate::login::Cause;
use crate::telemetry::audit::EventKind;

/// The host on which a passkey is asked for.
#[derive(Debug)]
pub struct Site {
    webauthn: Webauthn,
    host: String,
}

impl Site {
    /// The host behind `authority`, host and port as the browser asked for; nothing for addresses, which
    /// have no passkeys.
    #[must_use]
    pub fn at(authority: &str) -> Option<Self> {
        let origin = Url::parse(&format!("https://{authority}")).ok()?;
        let host = origin.domain()?.to_owned();
        let webauthn = WebauthnBuilder::new(&host, &origin).ok()?.rp_name(&host).build().ok()?;
        Some(Self { webauthn, host })
    }

    fn holds(&self, row: &Row) -> bool {
        row.kind == Kind::Passkey && row.credential.as_ref().is_some_and(|(_, host)| *host == self.host)
    }
}

impl Factors {
    /// The question that makes a new passkey for `user`.
    pub async fn ask_new_passkey(&self, site: &Site, user: &UserId) -> Result<Question, EnrolError> {
        let held = self.store.of_user(user.clone()).await?;
        let there: Vec<CredentialID> =
            held.rows.iter().filter_map(|row| Some(row.credential.as_ref()?.0.clone())).collect();
        let (name, handle) = (user.as_str(), self.handle_for(user, &held)?);
        let begun = site.webauthn.start_passkey_registration(handle, name, name, Some(there));
        let (challenge, state) = begun.map_err(|error| EnrolError::Passkey(error.to_string()))?;
        let mut options = to_value(&challenge)?;
        // Without a name to look for, a browser finds only what the authenticator itself remembers.
        if let Some(Value::Object(selection)) = options.pointer_mut("/publicKey/authenticatorSelection") {
            selection.insert("residentKey".to_owned(), "preferred".into());
        }
        Ok(Question { options: options.to_string(), state: to_bytes(&(handle, state))? })
    }

    /// Enrols the passkey that a browser made; answers whether it is taken.
    pub async fn add_passkey(
        &self,
        site: &Site,
        user: &UserId,
        made: NewPasskey<'_>,
    ) -> Result<bool, EnrolError> {
        let Answered { state, question, answer, cause } = made.answered;
        let state = read::<(Uuid, PasskeyRegistration)>(state);
        let answer = read::<RegisterPublicKeyCredential>(answer.as_bytes());
        let (Some((handle, state)), Some(answer)) = (state, answer) else { return Ok(false) };
        let passkey = match site.webauthn.finish_passkey_registration(&answer, &state) {
            Ok(passkey) => passkey,
            Err(error) => {
                tracing::debug!(%error, "passkey not enrolled");
                return Ok(false);
            }
        };
        if !self.spend(question.hash, question.until).await? {
            return Ok(false);
        }
        let (id, credential) = (FactorId::generate()?, passkey.cred_id().clone());
        let kept = to_bytes(&Kept { handle, passkey })?;
        let sealed = self.vault.seal(&context(user, &id), kept).ok_or(EnrolError::Sealing)?;
        let row = Row {
            id,
            kind: Kind::Passkey,
            name: made.name.chars().filter(|character| !character.is_control()).take(NAME_LIMIT).collect(),
            sealed,
            credential: Some((credential, site.host.clone())),
            last_step: 0,
            created: self.clock.now(),
            last_used: None,
        };
        // SECURITY: a credential id that anybody has already is refused (level 3, section 7.1).
        let added = self.store.change(Change::Add(user.clone(), row)).await?;
        if added {
            self.note(EventKind::FactorAdded, user, Some("passkey"), cause);
        }
        Ok(added)
    }

    /// The question for a passkey of `user`; nothing if they have none here.
    pub async fn ask_passkey(&self, site: &Site, user: &UserId) -> Result<Option<Question>, EnrolError> {
        let held = self.store.of_user(user.clone()).await?;
        let here = held.rows.iter().filter(|row| site.holds(row));
        let passkeys: Vec<Passkey> =
            here.filter_map(|row| self.opened(user, row)).map(|kept| kept.passkey).collect();
        if passkeys.is_empty() {
            return Ok(None);
        }
        let begun = site.webauthn.start_passkey_authentication(&passkeys);
        let (challenge, state) = begun.map_err(|error| EnrolError::Passkey(error.to_string()))?;
        Ok(Some(Question { options: to_value(&challenge)?.to_string(), state: to_bytes(&state)? }))
    }

    /// The question for a passkey of anybody.
    pub fn ask_any_passkey(&self, site: &Site) -> Result<Question, EnrolError> {
        let begun = site.webauthn.start_discoverable_authentication();
        let (challenge, state) = begun.map_err(|error| EnrolError::Passkey(error.to_string()))?;
        let mut options = to_value(&challenge)?;
        if let Some(options) = options.as_object_mut() {
            // It is asked by a button, not while somebody types.
            options.remove("mediation");
        }
        Ok(Question { options: options.to_string(), state: to_bytes(&state)? })
    }

    /// Whether the answer is that of a passkey of `user`.
    pub async fn check_passkey(
        &self,
        site: &Site,
        user: &UserId,
        answered: Answered<'_>,
    ) -> Result<bool, EnrolError> {
        let Answered { state, question, answer, cause } = answered;
        let state = read::<PasskeyAuthentication>(state);
        let answer = read::<PublicKeyCredential>(answer.as_bytes());
        let (Some(state), Some(answer)) = (state, answer) else { return Ok(false) };
        let found = self.store.by_credential(answer.raw_id.clone()).await?;
        let found = found.filter(|(owner, row)| owner == user && site.holds(row));
        let Some((_, row)) = found else { return Ok(self.refuse_passkey(user, cause)) };
        let checked = site.webauthn.finish_passkey_authentication(&answer, &state);
        self.take((user, &row), question, checked, cause).await
    }

    /// Whose passkey gave the answer.
    pub async fn check_any_passkey(
        &self,
        site: &Site,
        answered: Answered<'_>,
    ) -> Result<Option<UserId>, EnrolError> {
        let Answered { state, question, answer, cause } = answered;
        let state = read::<DiscoverableAuthentication>(state);
        let answer = read::<PublicKeyCredential>(answer.as_bytes());
        let (Some(state), Some(answer)) = (state, answer) else { return Ok(None) };
        let found = self.store.by_credential(answer.raw_id.clone()).await?;
        let Some((user, row)) = found.filter(|(_, row)| site.holds(row)) else { return Ok(None) };
        // SECURITY: the handle that the authenticator keeps must name the same user (section 7.2, step 6).
        let is_theirs = |kept: &Kept| answer.get_user_unique_id() == Some(kept.handle.as_bytes());
        let Some(kept) = self.opened(&user, &row).filter(is_theirs) else {
            self.refuse_passkey(&user, cause);
            return Ok(None);
        };
        let checked = site.webauthn.finish_discoverable_authentication_v2(&answer, state, &kept.passkey);
        Ok(self.take((&user, &row), question, checked, cause).await?.then_some(user))
    }

    async fn take(
        &self,
        (user, row): (&UserId, &Row),
        question: Once,
        checked: WebauthnResult<AuthenticationResult>,
        cause: Cause<'_>,
    ) -> Result<bool, EnrolError> {
        let (Some(mut kept), Ok(result)) = (self.opened(user, row), checked) else {
            return Ok(self.refuse_passkey(user, cause));
        };
        // SECURITY: last, so that nobody makes the store write who shows nothing.
        if !self.spend(question.hash, question.until).await? {
            return Ok(self.refuse_passkey(user, cause));
        }
        kept.passkey.update_credential(&result);
        let context = context(user, &row.id);
        let sealed = self.vault.seal(&context, to_bytes(&kept)?).ok_or(EnrolError::Sealing)?;
        let (id, from, now) = (row.id.clone(), row.sealed.clone(), self.clock.now());
        // SECURITY: of two answers at once, one is taken: its counter is what the next must exceed.
        if !self.store.change(Change::Reseal { id, from, to: sealed, used: Some(now) }).await? {
            return Ok(self.refuse_passkey(user, cause));
        }
        self.note(EventKind::FactorAccepted, user, Some("passkey"), cause);
        Ok(true)
    }

    fn refuse_passkey(&self, user: &UserId, cause: Cause<'_>) -> bool {
        self.note(EventKind::FactorFailure, user, Some("passkey"), cause);
        false
    }

    fn opened(&self, user: &UserId, row: &Row) -> Option<Kept> {
        let plain = self.vault.open(&context(user, &row.id), &row.sealed)?;
        read(&plain).or_else(|| Some(Kept { handle: handle_of_name(user), passkey: read(&plain)? }))
    }

    /// The handle of the passkeys that the user has, or a new one.
    fn handle_for(&self, user: &UserId, held: &Held) -> Result<Uuid, getrandom::Error> {
        let passkeys = held.rows.iter().filter(|row| row.kind == Kind::Passkey);
        let mut handles = passkeys.filter_map(|row| Some(self.opened(user, row)?.handle));
        if let Some(handle) = handles.find(|handle| *handle != handle_of_name(user)) {
            return Ok(handle);
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Uuid::from_bytes(bytes))
    }
}

/// A passkey, and what its authenticator keeps in the place of a name: a random number, so that it tells nobody
/// anything (level 3, section 14.6.1).
#[derive(Serialize, Deserialize)]
struct Kept {
    handle: Uuid,
    passkey: Passkey,
}

/// The handle of passkeys from before handles were random. They stay good.
fn handle_of_name(user: &UserId) -> Uuid {
    let hash = Sha256::digest(
        [b"vestibule user\n".as_slice(), user.as_str().to_ascii_lowercase().as_bytes()].concat(),
    );
    Uuid::from_bytes(hash.first_chunk().copied().unwrap_or_default())
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, EnrolError> {
    serde_json::to_value(value).map_err(|error| EnrolError::Passkey(error.to_string()))
}

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, EnrolError> {
    serde_json::to_vec(value).map_err(|error| EnrolError::Passkey(error.to_string()))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// Characters of the name that a user gives a passkey.
const NAME_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::tests::{House, alice};
    use super::*;

    #[tokio::test]
    async fn no_authenticator_keeps_what_could_be_told_from_a_name() {
        let (house, site) = (House::new().await, Site::at("wiki.example.com").unwrap());
        let mut handles = Vec::new();
        for _ in 0..2 {
            let question = house.factors.ask_new_passkey(&site, &alice()).await.unwrap();
            let options: Value = serde_json::from_str(&question.options).unwrap();
            handles.push(options["publicKey"]["user"]["id"].as_str().unwrap().to_owned());
            let (handle, _): (Uuid, PasskeyRegistration) = read(&question.state).unwrap();
            assert_ne!(handle, handle_of_name(&alice()));
        }
        assert_ne!(handles[0], handles[1]);
    }
}
