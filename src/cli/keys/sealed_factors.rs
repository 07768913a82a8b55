//! Which second factors depend on a key.
//!
//! A running gateway seals them anew as soon as another key signs; at rest nobody does. Invariant: a key that
//! the secret of a factor needs is not taken away unasked.

use crate::cli::place::wait;
use crate::cli::report::Failure;
use crate::config::{Config, people};
use crate::login::accounts::{Accounts, Place};
use crate::login::factors;
use crate::session::keyring::KeyId;

/// Refuses to let a key go that second factors depend on.
pub(super) fn refuse_loss(config: &Config, id: KeyId) -> Result<(), Failure> {
    match wait(count(config, id))? {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} second factors are sealed by `{id}`; run `vestibule reload`, or start the gateway, which seals \
             them by the key that signs, and try again"
        ))),
    }
}

async fn count(config: &Config, id: KeyId) -> Result<usize, Failure> {
    if matches!(&config.login.users, Place::Sqlite(file) if !file.exists()) {
        return Ok(0);
    }
    let directory = people::read(&config.login.users).map_err(Failure::usage)?;
    let accounts = Accounts::at(&config.login.users, directory).await.map_err(Failure::failed)?;
    let store = factors::store_of(&accounts, &config.login.factors).await.map_err(Failure::failed)?;
    let sealed = store.sealed().await.map_err(Failure::failed);
    accounts.close().await;
    let depends = |sealed: &[u8]| sealed.first_chunk::<4>() == Some(id.as_bytes());
    Ok(sealed?.iter().filter(|(_, _, sealed)| depends(sealed)).count())
}
