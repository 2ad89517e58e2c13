//! Chance that is a function: the same place always holds the same number. All in integers, so that every machine
//! makes the same market.

/// The splitmix64 finaliser: spreads a number over all 64 bits.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A key for everything that belongs to `name` under `seed`.
#[must_use]
pub fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)))
}

/// The number that lies at `place`.
#[must_use]
pub const fn at(key: u64, place: i64) -> u64 {
    mix(key ^ mix(place.cast_unsigned()))
}

/// Small numbers drawn from one large one, at most four.
pub struct Dice(pub u64);

impl Dice {
    /// A number in `0..sides`; `sides` is at most 65,536.
    pub const fn below(&mut self, sides: u64) -> i64 {
        let drawn = ((self.0 & 0xFFFF) * sides) >> 16;
        self.0 >>= 16;
        drawn.cast_signed()
    }
}

/// Period in minutes and amplitude in millionths: from waves of two years to a flicker of one minute.
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

/// How far from its level something is at the start of `minute`, in billionths. A smooth walk: what differs between two
/// neighbouring minutes is small.
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

/// A number in ±1,000,000.
const fn lattice(key: u64, cell: i64) -> i64 {
    (at(key, cell) % 2_000_001).cast_signed() - 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_smooth_bounded_and_its_own() {
        let (one, other) = (key(1, "BTC"), key(2, "BTC"));
        let mut differs = false;
        for minute in 29_000_000..29_010_000 {
            let here = drift(one, minute);
            assert!(here.abs() < 400_000_000);
            assert!((drift(one, minute + 1) - here).abs() < 3_000_000, "at most 0.3 % in a minute");
            differs |= here != drift(other, minute);
        }
        assert!(differs);
    }

    #[test]
    fn dice_stay_below_their_sides() {
        for place in 0..10_000 {
            let mut dice = Dice(at(7, place));
            assert!((0..6).contains(&dice.below(6)));
            assert!((0..60_000).contains(&dice.below(60_000)));
        }
    }
}
