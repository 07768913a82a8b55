//! The work that every attempt costs, whoever is meant, once hashes of other programs were met.
//!
//! Of each family of hashes the most laborious that was met sets the measure. An attempt does the work of
//! each family exactly once: that of the account's own hash and what it lacks to the measure, or that of a
//! decoy. So neither the family nor the cost of an account's hash shows in how long its answer takes, nor
//! whether there is an account. Invariant: the measures only grow.

use std::hint::black_box;

use arc_swap::ArcSwap;

use super::{Foreign, Scheme};

/// A decoy of the most laborious hash of each family that was met.
#[derive(Debug, Default)]
pub struct Decoys(ArcSwap<Vec<Foreign>>);

impl Decoys {
    /// Notes a hash that an account may have, so that attempts cost as much from now on.
    pub fn meet(&self, hash: &Foreign) {
        if self.is_covered(hash) || hash.scheme.family().is_none() {
            return;
        }
        self.0.rcu(|decoys| {
            let others = decoys.iter().filter(|decoy| decoy.scheme.family() != hash.scheme.family());
            // Another thread may have met a more laborious one meanwhile.
            let same = decoys.iter().find(|decoy| decoy.scheme.family() == hash.scheme.family());
            let measure = same.filter(|same| same.scheme.cost() >= hash.scheme.cost());
            let measure = measure.cloned().unwrap_or_else(|| hash.decoy());
            others.cloned().chain(std::iter::once(measure)).collect::<Vec<_>>()
        });
    }

    /// Whether `password` is the one behind `hash`, in the time that it takes for every hash and for none.
    #[must_use]
    pub fn verify(&self, password: &[u8], hash: Option<&Foreign>) -> bool {
        if let Some(hash) = hash {
            self.meet(hash);
        }
        for decoy in self.0.load().iter() {
            match hash.filter(|hash| hash.scheme.family() == decoy.scheme.family()) {
                Some(hash) => {
                    for lacking in hash.scheme.lacks_to(decoy.scheme) {
                        black_box(Foreign { scheme: lacking, ..decoy.clone() }.verify(password));
                    }
                }
                None => {
                    black_box(decoy.verify(password));
                }
            }
        }
        hash.is_some_and(|hash| hash.verify(password))
    }

    fn is_covered(&self, hash: &Foreign) -> bool {
        self.0.load().iter().any(|decoy| {
            decoy.scheme.family() == hash.scheme.family() && decoy.scheme.cost() >= hash.scheme.cost()
        })
    }
}

/// Hashes whose work is of one kind, so that one can make up what another lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Bcrypt,
    Md5Crypt,
    Sha256Crypt,
    Sha512Crypt,
    Pbkdf2(super::Kind),
    Scrypt,
}

impl Scheme {
    /// What kind of work it is; none if it is too little to show.
    pub(super) const fn family(self) -> Option<Family> {
        match self {
            Self::Bcrypt { .. } | Self::BcryptSha256 { .. } => Some(Family::Bcrypt),
            Self::Md5Crypt { .. } => Some(Family::Md5Crypt),
            Self::Sha256Crypt { .. } => Some(Family::Sha256Crypt),
            Self::Sha512Crypt { .. } => Some(Family::Sha512Crypt),
            Self::Pbkdf2 { kind, .. } => Some(Family::Pbkdf2(kind)),
            Self::Scrypt { .. } => Some(Family::Scrypt),
            Self::Digest(_) => None,
        }
    }

    /// The work that this one does less than a more laborious one of its family.
    fn lacks_to(self, measure: Self) -> Vec<Self> {
        match (self, measure) {
            (
                Self::Bcrypt { cost } | Self::BcryptSha256 { cost },
                Self::Bcrypt { cost: most } | Self::BcryptSha256 { cost: most },
            ) => {
                // Each step doubles the work: 2^5 and 2^5 and 2^6 are 2^7.
                (cost..most).map(|cost| Self::Bcrypt { cost }).collect()
            }
            (Self::Sha256Crypt { rounds }, Self::Sha256Crypt { rounds: most }) => {
                worth_it(most, rounds).map(|rounds| Self::Sha256Crypt { rounds }).collect()
            }
            (Self::Sha512Crypt { rounds }, Self::Sha512Crypt { rounds: most }) => {
                worth_it(most, rounds).map(|rounds| Self::Sha512Crypt { rounds }).collect()
            }
            (Self::Pbkdf2 { kind, rounds }, Self::Pbkdf2 { rounds: most, .. }) => {
                let rounds = most.saturating_sub(rounds);
                (rounds > 0).then_some(Self::Pbkdf2 { kind, rounds }).into_iter().collect()
            }
            (Self::Scrypt { .. }, Self::Scrypt { r, .. }) => scrypts(measure.cost() - self.cost(), r),
            _ => Vec::new(),
        }
    }
}

/// SHA-crypt knows no fewer rounds than a thousand, which take less than a millisecond.
fn worth_it(most: u32, rounds: u32) -> impl Iterator<Item = u32> {
    Some(most.saturating_sub(rounds)).filter(|rounds| *rounds >= 1_000).into_iter()
}

/// Runs of scrypt, the largest first, that together cost about as much.
fn scrypts(mut cost: u64, r: u32) -> Vec<Scheme> {
    let mut runs = Vec::new();
    while runs.len() < MOST_RUNS {
        // `Scheme::cost` counts 8 * N * r * p.
        let Some(log_n) = (cost / 8 / u64::from(r.max(1))).checked_ilog2().filter(|log_n| *log_n > 0) else {
            break;
        };
        let run = Scheme::Scrypt { log_n: u8::try_from(log_n).unwrap_or(u8::MAX), r, p: 1 };
        cost = cost.saturating_sub(run.cost());
        runs.push(run);
    }
    runs
}

/// What is left after so many halves is less than a sixteenth of the first.
const MOST_RUNS: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(schemes: &[Scheme]) -> u64 {
        schemes.iter().map(|scheme| scheme.cost()).sum()
    }

    fn foreign(scheme: Scheme) -> Foreign {
        Foreign { scheme, salt: vec![b'.'; 16], digest: vec![0; 32] }
    }

    #[test]
    fn the_measures_of_all_families_only_grow() {
        let decoys = Decoys::default();
        for (cost, expected) in [(4, 4), (6, 6), (5, 6)] {
            decoys.meet(&foreign(Scheme::Bcrypt { cost }));
            assert_eq!(decoys.0.load()[0].scheme, Scheme::Bcrypt { cost: expected });
        }
        decoys.meet(&foreign(Scheme::Sha512Crypt { rounds: 5_000 }));
        decoys.meet(&foreign(Scheme::BcryptSha256 { cost: 5 }));
        decoys.meet(&foreign(Scheme::Digest(super::super::Kind::Sha1)));
        assert_eq!(decoys.0.load().len(), 2);
    }

    proptest! {
        /// Within a twentieth, which is far below what a network lets through.
        #[test]
        fn what_one_hash_lacks_to_another_makes_up_for_it(
            (bcrypt, rounds, log_n, r) in ((4..16_u32, 4..16_u32), (1_000..900_000_u32, 1_000..900_000_u32), (10..15_u8, 10..15_u8), 1..16_u32),
        ) {
            let kind = super::super::Kind::Sha256;
            let ordered = |(a, b): (u32, u32)| (a.min(b), a.max(b));
            let ((low, high), (few, many)) = (ordered(bcrypt), ordered(rounds));
            let scrypt = |log_n| Scheme::Scrypt { log_n, r, p: 1 };
            for (less, more) in [
                (Scheme::Bcrypt { cost: low }, Scheme::BcryptSha256 { cost: high }),
                (Scheme::Pbkdf2 { kind, rounds: few }, Scheme::Pbkdf2 { kind, rounds: many }),
                (scrypt(log_n.0.min(log_n.1)), scrypt(log_n.0.max(log_n.1))),
            ] {
                let lacking = less.lacks_to(more);
                let all = less.cost() + work(&lacking);
                prop_assert!(all.abs_diff(more.cost()) <= more.cost() / 20, "{less:?} {lacking:?} {more:?}");
            }
            let (less, more) = (Scheme::Sha512Crypt { rounds: few }, Scheme::Sha512Crypt { rounds: many });
            prop_assert!((less.cost() + work(&less.lacks_to(more))).abs_diff(more.cost()) <= 3_000);
        }
    }
}
