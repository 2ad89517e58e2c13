//! Deterministic noise: a pure function of key and position. Integer arithmetic only, so that all machines generate the
//! same market.

/// The splitmix64 finalizer: distributes a number over all 64 bits.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Noise key of a named item under a seed.
#[must_use]
pub fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)))
}

/// The 64 random bits at a position.
#[must_use]
pub const fn value(key: u64, position: i64) -> u64 {
    mix(key ^ mix(position.cast_unsigned()))
}

/// Draws at most four random numbers from one 64-bit seed.
pub struct SeededRng(pub u64);

impl SeededRng {
    /// A number in `0..bound`; `bound` is at most 65,536.
    pub const fn below(&mut self, bound: u64) -> i64 {
        let drawn = ((self.0 & 0xFFFF) * bound) >> 16;
        self.0 >>= 16;
        drawn.cast_signed()
    }
}

/// Period in minutes and amplitude in millionths, from two years down to one minute.
const OCTAVES: [(i64, i64); 8] = [
    (1_048_576, 200_000),
    (131_072, 100_000),
    (16_384, 50_000),
    (2_048, 20_000),
    (256, 7_000),
    (32, 2_500),
    (4, 800),
    (1, 250),
];

/// Deviation from the base value at the start of `minute`, in billionths. Smooth: neighbouring minutes differ little.
#[must_use]
pub fn drift(key: u64, minute: i64) -> i64 {
    let mut octave_key = key;
    let mut sum = 0;
    for (period, amplitude) in OCTAVES {
        octave_key = mix(octave_key);
        let cell = minute.div_euclid(period);
        let from = lattice(octave_key, cell);
        let t = (minute.rem_euclid(period) << 16) / period;
        let value = if t == 0 {
            from
        } else {
            let eased = (t * t * (3 * 65_536 - 2 * t)) >> 32;
            from + (((lattice(octave_key, cell + 1) - from) * eased) >> 16)
        };
        sum += amplitude * value / 1_000;
    }
    sum
}

/// A random number in ±1,000,000.
const fn lattice(key: u64, cell: i64) -> i64 {
    (value(key, cell) % 2_000_001).cast_signed() - 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_smooth_bounded_and_depends_on_key() {
        let (one, other) = (key(1, "BTC"), key(2, "BTC"));
        let mut differs = false;
        for minute in 29_000_000..29_010_000 {
            let current = drift(one, minute);
            assert!(current.abs() < 400_000_000);
            assert!((drift(one, minute + 1) - current).abs() < 3_000_000, "at most 0.3 % per minute");
            differs |= current != drift(other, minute);
        }
        assert!(differs);
    }

    #[test]
    fn random_numbers_are_below_bound() {
        for position in 0..10_000 {
            let mut rng = SeededRng(value(7, position));
            assert!((0..6).contains(&rng.below(6)));
            assert!((0..60_000).contains(&rng.below(60_000)));
        }
    }
}
