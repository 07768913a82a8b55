//! Password hashes: argon2id on threads of their own, behind a bounded queue.
//!
//! Which passwords may be chosen is `new_password`'s matter, where hashes are kept is `accounts`', and
//! what other programs made of passwords is in `stored`. Invariant: at most `threads` hashes are
//! computed at once, each on its own thread; what a client does meanwhile changes nothing of that. Where
//! the processors are short, those threads give way to the workers.

use std::io;
use std::sync::Arc;
use std::thread;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;

use super::lanes::{Lanes, Sender};
use super::stored::StoredHash;
use super::stored::decoys::Decoys;
use super::stored::other_argon2::{OtherArgon2, decoy};
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

    /// Has every attempt cost as much as one at these hashes from now on.
    pub fn expect<'a>(&self, hashes: impl Iterator<Item = &'a str>) {
        for hash in hashes {
            match StoredHash::parse(hash) {
                Ok(StoredHash::Foreign(foreign)) => self.work.decoys.meet(&foreign),
                Ok(StoredHash::Argon2(own)) if !self.work.is_usual(&own) => self.work.others.meet(&own),
                _ => {}
            }
        }
    }

    /// Whether `hash` was computed in another way than a new one would be.
    #[must_use]
    pub fn needs_rehash(&self, hash: &str) -> bool {
        let Ok(StoredHash::Argon2(hash)) = StoredHash::parse(hash) else { return true };
        !self.work.is_usual(&hash)
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
    /// Of the hashes of other programs that were met.
    decoys: Decoys,
    /// Of hashes of our kind and another cost.
    others: OtherArgon2,
}

impl Work {
    fn new(config: HashingConfig) -> io::Result<Self> {
        let params = Params::new(config.memory, config.passes, LANES, None).map_err(io::Error::other)?;
        let decoy = decoy(&params).map_err(io::Error::other)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self { argon2, decoy, decoys: Decoys::default(), others: OtherArgon2::default() })
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
    // unknown user from a wrong password; and the work of each family of other hashes that was met.
    fn verify(&self, password: &Secret<String>, hash: Option<&str>) -> bool {
        let fits = password.expose().len() <= PASSWORD_LIMIT;
        let stored = if fits { hash.and_then(parsed) } else { None };
        let typed = if fits { password.clone() } else { Secret::default() };
        let (own, foreign) = match &stored {
            Some(StoredHash::Argon2(own)) => (Some(&**own), None),
            Some(StoredHash::Foreign(foreign)) => (None, Some(foreign)),
            None => (None, None),
        };
        let candidate = normalised(&typed);
        let candidate = candidate.expose().as_bytes();
        let (usual, other) =
            if own.is_some_and(|own| self.is_usual(own)) { (own, None) } else { (None, own) };
        let checked = self.argon2.verify_password(candidate, usual.unwrap_or(&self.decoy));
        let is_other = self.others.verify(&self.argon2, candidate, other);
        // Other programs hashed what was typed, without another normal form.
        let is_foreign = self.decoys.verify(typed.expose().as_bytes(), foreign);
        (checked.is_ok() && usual.is_some()) || is_other || is_foreign
    }

    /// Whether a hash was computed as a new one would be.
    fn is_usual(&self, hash: &PasswordHash) -> bool {
        let decoy = &self.decoy;
        (hash.algorithm, hash.version, &hash.params) == (decoy.algorithm, decoy.version, &decoy.params)
    }
}

/// The greatest length of a password in bytes of UTF-8; bounds the work before hashing.
pub const PASSWORD_LIMIT: usize = 1024;

const LANES: u32 = 1;

/// Takes jobs until the last [`Hasher`] is gone.
fn serve(work: &Work, lanes: &Lanes<Job>) {
    give_way();
    while let Some(job) = lanes.next() {
        work.run(job);
    }
}

/// Has this thread compute when the workers leave it time: whoever is signed in does not wait for logins.
fn give_way() {
    // On Linux this is of a thread (setpriority(2), C library/kernel differences); elsewhere all would slow down.
    #[cfg(target_os = "linux")]
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "password hashes are computed as urgently as requests are served");
    }
}

/// About half of what a thread gets that is not nice: who wants to sign in must not wait for ever, either.
const NICE: i32 = 3;

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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whoever_is_signed_in_does_not_wait_for_hashes() {
        let hasher = Hasher::start(CHEAP).unwrap();
        // By then the thread runs.
        hasher.verify(secret("x"), None).await.unwrap();
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        let stats: Vec<String> =
            threads.map(|thread| std::fs::read_to_string(thread.join("stat")).unwrap_or_default()).collect();
        let niceness =
            |stat: &String| stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_owned();
        let hashing: Vec<String> =
            stats.iter().filter(|stat| stat.contains("(hash-")).map(niceness).collect();
        assert!(!hashing.is_empty() && hashing.iter().all(|niceness| niceness == "3"), "{hashing:?}");
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
