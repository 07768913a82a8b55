//! Which second factors depend on a key.
//!
//! A running gateway seals them anew as soon as another key signs; at rest nobody does. Invariant: a key that
//! the secret of a factor needs is not taken away unasked.

use crate::cli::place::wait;
use crate::cli::report::Failure;
use crate::config::Config;
use crate::login::accounts::Accounts;
use crate::login::factors::{FactorStore, SqliteFactors};
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
    if !config.login.users.exists() {
        return Ok(0);
    }
    let accounts = Accounts::open(&config.login.users).await.map_err(Failure::failed)?;
    let sealed = SqliteFactors::beside(accounts.database()).sealed().await.map_err(Failure::failed);
    accounts.close().await;
    let depends = |sealed: &[u8]| sealed.first_chunk::<4>() == Some(id.as_bytes());
    Ok(sealed?.iter().filter(|(_, _, sealed)| depends(sealed)).count())
}
