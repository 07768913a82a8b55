//! No second factors: for accounts on a database server, beside which this version has no place for them.
//!
//! SECURITY: a file of this machine would not do. A gateway on another one would not know of the factor, and
//! let its owner in by the password alone. Invariant: nobody enrols a factor that some gateway ignores.

use super::store::{Answer, Change, FactorId, FactorStore, Held, Reset, Row};
use crate::identity::UserId;
use crate::login::accounts::AccountsError;

/// A store that holds nothing and takes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoFactors;

impl FactorStore for NoFactors {
    fn of_user(&self, _: UserId) -> Answer<'_, Held> {
        Box::pin(async { Ok(Held::default()) })
    }

    fn by_credential(&self, _: Vec<u8>) -> Answer<'_, Option<(UserId, Row)>> {
        Box::pin(async { Ok(None) })
    }

    fn reset(&self, _: [u8; 32]) -> Answer<'_, Option<Reset>> {
        Box::pin(async { Ok(None) })
    }

    fn sealed(&self) -> Answer<'_, Vec<(UserId, FactorId, Vec<u8>)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn change(&self, change: Change) -> Answer<'_, bool> {
        Box::pin(async move {
            match change {
                Change::Add(..) | Change::SetCodes(..) | Change::AddReset(..) => {
                    Err(AccountsError::NoFactors)
                }
                // What is counted, spent or removed was never there.
                _ => Ok(false),
            }
        })
    }
}
