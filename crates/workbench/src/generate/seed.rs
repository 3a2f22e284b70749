//! Seeded random numbers: the same seed gives the same shop.

use fastrand::Rng;

/// Characters of an ID after its prefix. Four of them mark it as generated.
const RANDOM_CHARACTERS: usize = 20;

/// A number from which other, statistically independent numbers are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The root seed.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// The child seed with this number: a step of SplitMix64, so that adjacent numbers give unrelated seeds.
    pub(crate) fn derive(self, number: u64) -> Self {
        let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0.rotate_left(17).wrapping_add(number);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    /// A generator with this seed.
    pub(crate) fn rng(self) -> Rng {
        Rng::with_seed(self.0)
    }

    /// An ID in Stripe's format, different for each prefix and recognizable as generated.
    pub(crate) fn id(self, prefix: &str) -> String {
        let mut rng = prefix.bytes().fold(self, |seed, byte| seed.derive(byte.into())).rng();
        let random: String = std::iter::repeat_with(|| rng.alphanumeric()).take(RANDOM_CHARACTERS).collect();
        format!("{prefix}_Demo{random}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_stable_and_distinct() {
        let mut known = HashSet::new();
        for seed in 0..20 {
            for number in 0..50 {
                for prefix in ["evt", "pi", "ip"] {
                    assert!(known.insert(Seed::new(seed).derive(number).id(prefix)));
                }
            }
        }
        let id = Seed::new(1).derive(2).id("evt");
        assert_eq!(id, Seed::new(1).derive(2).id("evt"));
        assert!(id.starts_with("evt_Demo") && id.len() == 28, "{id}");
    }
}
