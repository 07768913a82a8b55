//! Password hashes: argon2id on threads of their own, behind a bounded queue.
//!
//! Which passwords may be chosen is `new_password`'s matter, where hashes are kept is `accounts`', and
//! what other programs made of passwords is in `stored`. Invariant: at most `threads` hashes are
//! computed at once, each on its own thread; what a client does meanwhile changes nothing of that.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwapOption;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;

use super::lanes::{Lanes, Sender};
use super::stored::{Foreign, StoredHash};
use crate::secret::Secret;

pub use super::lanes::Lane;

/// What a hash costs and how many are computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashingConfig {
    /// Hashes computed at once, each on a thread of its own.
    pub threads: usize,
    /// Hashes that may wait for a thread; with more, the answer is [`Busy`].
    pub queue: usize,
    /// Memory of one hash in KiB.
    pub memory: u32,
    /// Passes over that memory.
    pub passes: u32,
}

impl Default for HashingConfig {
    /// OWASP's first choice for argon2id (19 MiB, two passes, one lane) on half of the cores.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { threads: (cores / 2).max(1), queue: 64, memory: Params::DEFAULT_M_COST, passes: 2 }
    }
}

/// Computes and checks password hashes. Clones share the threads, which end with the last clone.
#[derive(Clone, Debug)]
pub struct Hasher {
    queue: Sender<Job>,
    work: Arc<Work>,
}

impl Hasher {
    /// Starts the threads.
    pub fn start(config: HashingConfig) -> io::Result<Self> {
        let work = Arc::new(Work::new(config)?);
        let lanes = Lanes::new(config.queue);
        // Before the threads, which go home when nobody sends any more.
        let queue = lanes.sender();
        for number in 0..config.threads.max(1) {
            let (work, lanes) = (Arc::clone(&work), lanes.clone());
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || serve(&work, &lanes))?;
        }
        Ok(Self { queue, work })
    }

    /// The PHC string of `password` under a new random salt.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, Busy> {
        let (answer, answered) = oneshot::channel();
        self.submit(Lane::Known, Job::Hash { password, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Whether `password` is the one behind `hash`, in any form that [`StoredHash`] knows.
    ///
    /// Without a hash there is nobody whose password it could be: the answer is "no" after the
    /// same work. The same holds for a password above [`PASSWORD_LIMIT`].
    pub async fn verify(&self, password: Secret<String>, hash: Option<String>) -> Result<bool, Busy> {
        self.verify_in(Lane::Anybody, password, hash).await
    }

    /// [`Self::verify`] for somebody who need not wait behind strangers, or who must.
    pub async fn verify_in(
        &self,
        lane: Lane,
        password: Secret<String>,
        hash: Option<String>,
    ) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        self.submit(lane, Job::Verify { password, hash, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Whether `hash` was computed in another way than a new one would be.
    #[must_use]
    pub fn needs_rehash(&self, hash: &str) -> bool {
        let Ok(StoredHash::Argon2(hash)) = StoredHash::parse(hash) else { return true };
        !self.work.is_like_ours(&hash)
    }

    /// One that has no threads, for tests of what "busy" leads to.
    #[cfg(test)]
    pub(crate) fn always_busy() -> Self {
        let work = Work::new(HashingConfig { memory: 64, ..HashingConfig::default() }).unwrap();
        Self { queue: Lanes::new(0).sender(), work: Arc::new(work) }
    }

    fn submit(&self, lane: Lane, job: Job) -> Result<(), Busy> {
        if self.queue.send(lane, job) { Ok(()) } else { Err(Busy) }
    }
}

/// All threads are computing and the queue is full: the client should come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked; try again in a moment")]
pub struct Busy;

/// A job without an asker any more is skipped; one that has begun is finished.
#[derive(Debug)]
enum Job {
    Hash { password: Secret<String>, answer: oneshot::Sender<String> },
    Verify { password: Secret<String>, hash: Option<String>, answer: oneshot::Sender<bool> },
}

#[derive(Debug)]
struct Work {
    argon2: Argon2<'static>,
    decoy: PasswordHash,
    /// Of the most laborious hash of another program that was met.
    foreign_decoy: ArcSwapOption<Foreign>,
}

impl Work {
    fn new(config: HashingConfig) -> io::Result<Self> {
        let params = Params::new(config.memory, config.passes, LANES, None).map_err(io::Error::other)?;
        let decoy = decoy(&params).map_err(io::Error::other)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self { argon2, decoy, foreign_decoy: ArcSwapOption::empty() })
    }

    fn run(&self, job: Job) {
        match job {
            Job::Hash { password, answer } if !answer.is_closed() => {
                if let Some(phc) = self.hash(&password) {
                    _ = answer.send(phc);
                }
            }
            Job::Verify { password, hash, answer } if !answer.is_closed() => {
                _ = answer.send(self.verify(&password, hash.as_deref()));
            }
            Job::Hash { .. } | Job::Verify { .. } => {}
        }
    }

    fn hash(&self, password: &Secret<String>) -> Option<String> {
        match self.argon2.hash_password(normalised(password).expose().as_bytes()) {
            Ok(hash) => Some(hash.to_string()),
            Err(error) => {
                tracing::error!(%error, "a password could not be hashed");
                None
            }
        }
    }

    // SECURITY: every way through costs exactly one argon2 run, so that time does not tell an
    // unknown user from a wrong password; and, once a hash of another program was met, the work of
    // such a one too.
    fn verify(&self, password: &Secret<String>, hash: Option<&str>) -> bool {
        let fits = password.expose().len() <= PASSWORD_LIMIT;
        let stored = if fits { hash.and_then(parsed).map(|stored| self.told_apart(stored)) } else { None };
        let typed = if fits { password.clone() } else { Secret::default() };
        let (own, foreign) = match &stored {
            Some(StoredHash::Argon2(own)) => (Some(&**own), None),
            Some(StoredHash::Foreign(foreign)) => (None, Some(foreign)),
            None => (None, None),
        };
        let candidate = normalised(&typed);
        let checked = self.argon2.verify_password(candidate.expose().as_bytes(), own.unwrap_or(&self.decoy));
        let typed = if foreign.is_some_and(Foreign::is_normalised) { candidate } else { typed };
        let is_foreign = self.verify_foreign(typed.expose().as_bytes(), foreign);
        (checked.is_ok() && own.is_some()) || is_foreign
    }

    /// SECURITY: argon2 of other parameters takes another time than the decoy: it is another program's.
    fn told_apart(&self, stored: StoredHash) -> StoredHash {
        match stored {
            StoredHash::Argon2(hash) if !self.is_like_ours(&hash) => {
                Foreign::of_argon2(&hash).map_or(StoredHash::Argon2(hash), StoredHash::Foreign)
            }
            stored => stored,
        }
    }

    fn is_like_ours(&self, hash: &PasswordHash) -> bool {
        let ours = &self.decoy;
        (hash.algorithm, hash.version, &hash.params) == (ours.algorithm, ours.version, &ours.params)
    }

    /// Other programs hashed what was typed, without another normal form.
    fn verify_foreign(&self, typed: &[u8], foreign: Option<&Foreign>) -> bool {
        let decoy = self.foreign_decoy.load_full();
        let is_covered =
            foreign.zip(decoy.as_ref()).is_some_and(|(foreign, decoy)| foreign.costs_like(decoy));
        if let Some(decoy) = decoy.as_ref().filter(|_| !is_covered) {
            black_box(decoy.verify(typed));
        }
        let Some(foreign) = foreign else { return false };
        if decoy.is_none_or(|decoy| !decoy.costs_at_least(foreign)) {
            self.foreign_decoy.store(Some(Arc::new(foreign.decoy())));
        }
        foreign.verify(typed)
    }
}

/// The greatest length of a password in bytes of UTF-8; bounds the work before hashing.
pub const PASSWORD_LIMIT: usize = 1024;

const LANES: u32 = 1;

/// Takes jobs until the last [`Hasher`] is gone.
fn serve(work: &Work, lanes: &Lanes<Job>) {
    while let Some(job) = lanes.next() {
        work.run(job);
    }
}

/// A hash that no password has, with the cost of a real one.
fn decoy(params: &Params) -> argon2::password_hash::Result<PasswordHash> {
    Ok(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(Salt::new(&[0x5a; Salt::RECOMMENDED_LENGTH])?),
        hash: Some(Output::new(&[0; Params::DEFAULT_OUTPUT_LEN])?),
    })
}

fn parsed(hash: &str) -> Option<StoredHash> {
    StoredHash::parse(hash)
        .inspect_err(|error| tracing::error!(%error, "a stored password hash cannot be used"))
        .ok()
}

/// Unicode normalisation form C (NIST SP 800-63B-4, 3.1.1.2): two keyboards that compose `é`
/// differently write one password.
fn normalised(password: &Secret<String>) -> Secret<String> {
    // Form C is at most three times as long, so no smaller copy is left behind by growing.
    let mut text = String::with_capacity(password.expose().len() * 3);
    text.extend(password.expose().nfc());
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::stored;

    const CHEAP: HashingConfig = HashingConfig { threads: 1, queue: 8, memory: 64, passes: 1 };

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_recognised_and_another_is_not() {
        let hasher = Hasher::start(CHEAP).unwrap();
        let phc = hasher.hash(secret("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
        assert!(hasher.verify(secret("correct horse"), Some(phc.clone())).await.unwrap());
        for wrong in ["Correct horse", "correct horse ", " correct horse", "correct hors", ""] {
            assert!(!hasher.verify(secret(wrong), Some(phc.clone())).await.unwrap(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_default_cost_is_the_one_owasp_recommends() {
        let hasher = Hasher::start(HashingConfig::default()).unwrap();
        let phc = hasher.hash(secret("x")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
    }

    #[tokio::test]
    async fn composed_and_decomposed_letters_are_one_password() {
        let hasher = Hasher::start(CHEAP).unwrap();
        let phc = hasher.hash(secret("caf\u{e9} \u{1d15e}")).await.unwrap();
        assert!(hasher.verify(secret("cafe\u{301} \u{1d157}\u{1d165}"), Some(phc)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_has_the_password_of_the_decoy() {
        let hasher = Hasher::start(CHEAP).unwrap();
        assert!(!hasher.verify(secret(""), None).await.unwrap());
        assert!(!hasher.verify(secret("x"), Some("not a hash".to_owned())).await.unwrap());
    }

    #[tokio::test]
    async fn a_password_is_never_cut_but_refused_when_too_long() {
        let hasher = Hasher::start(CHEAP).unwrap();
        let (longest, longer) = ("x".repeat(PASSWORD_LIMIT), "x".repeat(PASSWORD_LIMIT + 1));
        let phc = hasher.hash(secret(&longest)).await.unwrap();
        assert!(hasher.verify(secret(&longest), Some(phc.clone())).await.unwrap());
        assert!(!hasher.verify(secret(&longer), Some(phc)).await.unwrap());
        let phc = hasher.hash(secret(&longer)).await.unwrap();
        assert!(!hasher.verify(secret(&longer), Some(phc)).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_another_program_is_recognised_and_is_to_be_renewed() {
        let hasher = Hasher::start(CHEAP).unwrap();
        let hash = "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/".to_owned();
        assert!(hasher.verify(secret("correct horse \u{e9}"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(secret("wrong"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(secret("correct horse \u{e9}"), None).await.unwrap());
        assert!(hasher.needs_rehash(&hash));
    }

    #[test]
    fn argon2_of_other_parameters_costs_everybody_the_same_from_then_on() {
        let work = Work::new(CHEAP).unwrap();
        let costly = Work::new(HashingConfig { memory: 128, passes: 2, ..CHEAP }).unwrap();
        let [ours, theirs] = [&work, &costly].map(|work| work.hash(&secret("correct horse \u{e9}")).unwrap());
        for typed in ["correct horse \u{e9}", "correct horse e\u{301}"] {
            assert!(work.verify(&secret(typed), Some(&theirs)), "{typed}");
        }
        stored::work::take();
        let costs = [None, Some(ours.as_str()), Some(theirs.as_str()), Some("no hash")].map(|hash| {
            assert!(!work.verify(&secret("wrong"), hash));
            stored::work::take()
        });
        assert_eq!(costs, [3 * 128 * 2; 4]);
    }

    #[tokio::test]
    async fn a_known_device_overtakes_strangers_and_has_places_of_its_own() {
        let slow = HashingConfig { threads: 1, queue: 4, ..HashingConfig::default() };
        let hasher = Hasher::start(slow).unwrap();
        let strangers: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let hasher = hasher.clone();
                    async move { hasher.verify(secret("x"), None).await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(hasher.verify_in(Lane::Known, secret("x"), None).await, Ok(false));
        assert!(!strangers[3].is_finished(), "it came before the strangers");
        for stranger in strangers {
            assert_eq!(stranger.await.unwrap(), Ok(false));
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_at_once() {
        let slow = HashingConfig { threads: 1, queue: 1, ..HashingConfig::default() };
        let hasher = Hasher::start(slow).unwrap();
        let one = || hasher.verify(secret("x"), None);
        let answers: [_; 4] = tokio::join!(one(), one(), one(), one()).into();
        assert!(answers.contains(&Err(Busy)) && answers.contains(&Ok(false)), "{answers:?}");
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_to_be_renewed_and_still_verifies() {
        let before = Hasher::start(CHEAP).unwrap();
        let after = Hasher::start(HashingConfig { passes: 2, ..CHEAP }).unwrap();
        let phc = before.hash(secret("correct horse")).await.unwrap();
        assert!(!before.needs_rehash(&phc));
        assert!(after.needs_rehash(&phc));
        assert!(after.verify(secret("correct horse"), Some(phc)).await.unwrap());
    }
}
