//! The key ring as the place where the secrets of second factors are sealed.

use zeroize::Zeroizing;

use crate::login::factors::Vault;
use crate::session::engine::Engine;
use crate::session::keyring::Sealing;

/// Seals by the keys that the engine has at that moment.
#[derive(Clone, Debug)]
pub struct RingVault(Engine);

impl RingVault {
    /// By the keys of this engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self(engine)
    }
}

impl Vault for RingVault {
    fn seal(&self, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>> {
        self.0.ring().seal(Sealing::Factor, context, plain)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.ring().open(Sealing::Factor, context, sealed)
    }

    fn is_newest_of(&self, sealed: &[u8]) -> bool {
        self.0.ring().is_newest_of(sealed)
    }
}
