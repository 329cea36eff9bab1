//! Random choices that can be repeated: the seed is printed, and taken from `PGWEIR_SEED`.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::process::show;

pub(crate) struct Seed(u64);

impl Seed {
    /// The seed of this run, printed so that a failure can be run again.
    pub(crate) fn of_run() -> Self {
        let given = std::env::var("PGWEIR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| rand::rng().random());
        show(&format!("PGWEIR_SEED={seed}"));
        Self(seed)
    }

    /// An own stream of choices for each actor, so that they do not depend on who runs first.
    pub(crate) fn actor(&self, number: u64) -> StdRng {
        StdRng::seed_from_u64(self.0 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// True once in `n` times.
pub(crate) fn one_in(random: &mut StdRng, n: u32) -> bool {
    random.random_range(0..n) == 0
}
