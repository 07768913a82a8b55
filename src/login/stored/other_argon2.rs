//! Argon2 hashes of other parameters than ours, as Django's are: the work that every attempt costs once one was
//! met.
//!
//! As [`super::decoys`] for the hashes of other programs: the most laborious one is the measure, and who has a
//! cheaper one, or none, does the rest of it. Invariant: the measure only grows.

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordVerifier, Version};

/// The most laborious parameters that were met.
#[derive(Debug, Default)]
pub struct OtherArgon2(ArcSwapOption<Params>);

impl OtherArgon2 {
    /// Notes a hash that an account may have, so that attempts cost as much from now on.
    pub fn meet(&self, hash: &PasswordHash) {
        let Ok(params) = Params::try_from(hash) else { return };
        self.0.rcu(|most| match most {
            Some(most) if work(most) >= work(&params) => Some(Arc::clone(most)),
            _ => Some(Arc::new(params.clone())),
        });
    }

    /// Whether `password` is the one behind `hash`, in the time that it takes for every hash and for none.
    #[must_use]
    pub fn verify(&self, argon2: &Argon2<'_>, password: &[u8], hash: Option<&PasswordHash>) -> bool {
        if let Some(hash) = hash {
            self.meet(hash);
        }
        let done = hash.and_then(|hash| Params::try_from(hash).ok()).map_or(0, |params| work(&params));
        let most = self.0.load_full();
        let lacking = most.and_then(|most| lacking(done, &most));
        if let Some(decoy) = lacking.and_then(|params| decoy(&params).ok()) {
            black_box(argon2.verify_password(password, &decoy).is_ok());
        }
        hash.is_some_and(|hash| argon2.verify_password(password, hash).is_ok())
    }
}

/// A hash that no password has, with the cost of a real one.
pub fn decoy(params: &Params) -> argon2::password_hash::Result<PasswordHash> {
    Ok(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(Salt::new(&[0x5a; Salt::RECOMMENDED_LENGTH])?),
        hash: Some(Output::new(&[0; Params::DEFAULT_OUTPUT_LEN])?),
    })
}

/// Kibibytes that are passed over; lanes share them, and are computed one after the other.
fn work(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

/// Parameters for the work that is not done yet; none if that is too little to show.
fn lacking(done: u64, most: &Params) -> Option<Params> {
    if done == 0 {
        return Some(most.clone());
    }
    let rest = work(most).checked_sub(done).filter(|rest| *rest >= LEAST)?;
    let passes = rest.div_ceil(u64::from(most.m_cost()));
    let (memory, passes) = (u32::try_from(rest / passes).ok()?, u32::try_from(passes).ok()?);
    Params::new(memory, passes, 1, None).ok()
}

/// In kibibytes: less than a tenth of a millisecond, and the least that argon2 takes.
const LEAST: u64 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_one_hash_lacks_to_another_makes_up_for_it(
            (less, more) in ((64..200_000_u32, 1..6_u32), (64..200_000_u32, 1..6_u32)),
        ) {
            let params = |(memory, passes)| Params::new(memory, passes, 1, None).unwrap();
            let (less, more) = (params(less), params(more));
            prop_assume!(work(&less) <= work(&more));
            let all = work(&less) + lacking(work(&less), &more).map_or(0, |params| work(&params));
            prop_assert!(all.abs_diff(work(&more)) <= LEAST, "{less:?} {more:?}");
        }
    }

    #[test]
    fn the_measure_only_grows_and_nobody_has_the_password_of_a_decoy() {
        let (others, argon2) = (OtherArgon2::default(), Argon2::default());
        for (memory, passes, expected) in [(64, 1, 64), (128, 2, 256), (64, 2, 256)] {
            let hash = decoy(&Params::new(memory, passes, 1, None).unwrap()).unwrap();
            assert!(!others.verify(&argon2, b"x", Some(&hash)));
            assert_eq!(others.0.load().as_ref().map(|params| work(params)), Some(expected));
        }
        assert!(!others.verify(&argon2, b"x", None));
    }
}
