//! Password hashes: argon2id on threads of their own, behind a bounded queue.
//!
//! Which passwords may be chosen is `new_password`'s matter, where hashes are kept is `accounts`'.
//! Invariant: at most `threads` hashes are computed at once, each on its own thread; what a client
//! does meanwhile changes nothing of that.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;

use crate::secret::Secret;

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
    queue: SyncSender<Job>,
    work: Arc<Work>,
}

impl Hasher {
    /// Starts the threads.
    pub fn start(config: HashingConfig) -> io::Result<Self> {
        let work = Arc::new(Work::new(config)?);
        let (queue, jobs) = sync_channel(config.queue);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..config.threads.max(1) {
            let (work, jobs) = (Arc::clone(&work), Arc::clone(&jobs));
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || serve(&work, &jobs))?;
        }
        Ok(Self { queue, work })
    }

    /// The PHC string of `password` under a new random salt.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, Busy> {
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Hash { password, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Whether `password` is the one behind `phc`.
    ///
    /// Without a `phc` there is nobody whose password it could be: the answer is "no" after the
    /// same work. The same holds for a password above [`PASSWORD_LIMIT`].
    pub async fn verify(&self, password: Secret<String>, phc: Option<String>) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Verify { password, phc, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Whether `phc` was computed with other parameters than a new hash would be.
    #[must_use]
    pub fn needs_rehash(&self, phc: &str) -> bool {
        let Ok(hash) = PasswordHash::new(phc) else { return true };
        let decoy = &self.work.decoy;
        (hash.algorithm, hash.version, &hash.params) != (decoy.algorithm, decoy.version, &decoy.params)
    }

    /// One that has no threads, for tests of what "busy" leads to.
    #[cfg(test)]
    pub(crate) fn always_busy() -> Self {
        let work = Work::new(HashingConfig { memory: 64, ..HashingConfig::default() }).unwrap();
        Self { queue: sync_channel(0).0, work: Arc::new(work) }
    }

    fn submit(&self, job: Job) -> Result<(), Busy> {
        self.queue.try_send(job).map_err(|refused| {
            if matches!(refused, TrySendError::Disconnected(_)) {
                tracing::error!("the threads that check passwords have ended");
            }
            Busy
        })
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
    Verify { password: Secret<String>, phc: Option<String>, answer: oneshot::Sender<bool> },
}

#[derive(Debug)]
struct Work {
    argon2: Argon2<'static>,
    decoy: PasswordHash,
}

impl Work {
    fn new(config: HashingConfig) -> io::Result<Self> {
        let params = Params::new(config.memory, config.passes, LANES, None).map_err(io::Error::other)?;
        let decoy = decoy(&params).map_err(io::Error::other)?;
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), decoy })
    }

    fn run(&self, job: Job) {
        match job {
            Job::Hash { password, answer } if !answer.is_closed() => {
                if let Some(phc) = self.hash(&password) {
                    _ = answer.send(phc);
                }
            }
            Job::Verify { password, phc, answer } if !answer.is_closed() => {
                _ = answer.send(self.verify(&password, phc.as_deref()));
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
    // unknown user from a wrong password.
    fn verify(&self, password: &Secret<String>, phc: Option<&str>) -> bool {
        let fits = password.expose().len() <= PASSWORD_LIMIT;
        let stored = if fits { phc.and_then(parsed) } else { None };
        let candidate = if fits { normalised(password) } else { Secret::default() };
        let hash = stored.as_ref().unwrap_or(&self.decoy);
        let same = self.argon2.verify_password(candidate.expose().as_bytes(), hash).is_ok();
        same && stored.is_some()
    }
}

/// The greatest length of a password in bytes of UTF-8; bounds the work before hashing.
pub const PASSWORD_LIMIT: usize = 1024;

const LANES: u32 = 1;

/// Takes jobs until the last [`Hasher`] is gone.
fn serve(work: &Work, jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting; the other threads wait for the lock instead.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
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

fn parsed(phc: &str) -> Option<PasswordHash> {
    PasswordHash::new(phc)
        .inspect_err(
            |error| tracing::error!(%error, "a stored password hash is damaged; set that password again"),
        )
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
