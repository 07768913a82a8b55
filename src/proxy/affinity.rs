//! Which server a visitor belongs to, where an upstream is sticky.
//!
//! Rendezvous hashing: each pair of a visitor and a server has a score, and the best one wins. So every
//! worker and every gateway comes to the same answer without a table, and when a server goes, only its
//! own visitors move. Invariant: the scores depend on nothing that changes with a restart.

/// Somebody who is always to be served by the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(u64);

impl Affinity {
    /// For upstreams where it does not matter.
    pub const NOBODY: Self = Self(0);

    /// Somebody who is not known to come again.
    pub(super) const fn passing(number: usize) -> Self {
        Self(number as u64)
    }

    /// The one who is known by these bytes: a session or an address.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        // FNV-1a; what comes out is mixed well before it is used.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// A number below 100 that stays the same, to begin with some and not with all.
    pub(super) const fn lot(self) -> u64 {
        mix(self.0) % 100
    }

    /// How far the server `other` is from here; the nearest one is chosen. A server of twice the weight
    /// is the nearest to twice as many.
    pub(super) fn distance(self, other: Self, weight: u16) -> f64 {
        -self.draw(other).ln() / f64::from(weight.max(1))
    }

    /// A number above zero and at most one, the same for the same pair.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn draw(self, other: Self) -> f64 {
        ((mix(self.0 ^ mix(other.0)) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// The finaliser of `SplitMix64`: each bit in changes about half the bits out.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_stay_as_they_are_from_version_to_version() {
        let distance = Affinity::of(b"visitor").distance(Affinity::of(b"http://a:80"), 1);
        assert!(
            (distance - Affinity::of(b"visitor").distance(Affinity::of(b"http://a:80"), 1)).abs() < 1e-12
        );
        assert!(distance.is_finite() && distance >= 0.0);
        assert_eq!(Affinity::of(b"a"), Affinity(0xaf63_dc4c_8601_ec8c));
    }
}
