//! Decoder of the binary form of NUMERIC without allocations: a page of candles has thousands of values.

use rust_decimal::Decimal;
use sqlx::Decode;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgValueFormat, PgValueRef, Postgres};

use crate::store::sql::StoredDecimal;

/// Sign word of a negative number. 0 is positive; other values stand for NaN and the infinities.
const NEGATIVE: u16 = 0x4000;

/// Maximum number of base-10,000 digits that fit in an `i64`.
const MAX_DIGITS_IN_I64: usize = 4;

impl Decode<'_, Postgres> for StoredDecimal {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Ok(Self(<Decimal as Decode<'_, Postgres>>::decode(value)?));
        }
        let bytes = value.as_bytes()?;
        decode(bytes)
            .map(Self)
            .ok_or_else(|| format!("{bytes:02x?} is not a decimal number of at most 28 digits").into())
    }
}

/// Decodes the binary form: number of base-10,000 digits, weight of the first digit, sign, display scale, digits.
/// <https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/numeric.c>, `numeric_send`
fn decode(bytes: &[u8]) -> Option<Decimal> {
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign, display_scale) =
        (usize::from(word(0)), i32::from(i16::from_be_bytes([head[2], head[3]])), word(4), u32::from(word(6)));
    if digits.len() != count * 2 || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let words = digits.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
    let mantissa = if count <= MAX_DIGITS_IN_I64 {
        i128::from(words.fold(0_i64, |sum, digit| sum * 10_000 + i64::from(digit)))
    } else {
        words.map(i128::from).try_fold(0_i128, |sum, digit| sum.checked_mul(10_000)?.checked_add(digit))?
    };
    // Decimal places up to the last base-10,000 digit; negative for trailing zeros before the point.
    let decimal_places = 4 * (i32::try_from(count).ok()? - 1 - weight);
    let (mut mantissa, mut scale) = match u32::try_from(decimal_places) {
        Ok(scale) => (mantissa, scale),
        Err(_) => (mantissa.checked_mul(10_i128.checked_pow(decimal_places.unsigned_abs())?)?, 0),
    };
    // The last base-10,000 digit may have more decimal places than the number.
    while scale > display_scale && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    let mantissa = if sign == NEGATIVE { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(mantissa, if mantissa == 0 { 0 } else { scale }).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Encodes as `numeric_send` does.
    fn encode(value: Decimal) -> Vec<u8> {
        let text = value.abs().to_string();
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        let pad = |len: usize| (4 - len % 4) % 4;
        let all = format!("{}{whole}{part}{}", "0".repeat(pad(whole.len())), "0".repeat(pad(part.len())));
        let mut digits: Vec<u16> =
            all.as_bytes().chunks(4).map(|four| std::str::from_utf8(four).unwrap().parse().unwrap()).collect();
        let mut weight = i16::try_from(whole.len().div_ceil(4)).unwrap() - 1;
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let sign = if value.is_sign_negative() && !value.is_zero() { NEGATIVE } else { 0 };
        let mut out = u16::try_from(digits.len()).unwrap().to_be_bytes().to_vec();
        out.extend(if digits.is_empty() { 0 } else { weight }.to_be_bytes());
        out.extend(sign.to_be_bytes());
        out.extend(u16::try_from(value.scale()).unwrap().to_be_bytes());
        out.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        out
    }

    proptest! {
        #[test]
        fn round_trip(mantissa in any::<i64>(), high in 0_i64..4_000_000_000, long: bool, scale in 0_u32..29) {
            let mantissa = i128::from(mantissa) + if long { i128::from(high) << 63 } else { 0 };
            let value = Decimal::try_from_i128_with_scale(mantissa, scale).unwrap();
            prop_assert_eq!(decode(&encode(value)), Some(value));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn decodes_extreme_values() {
        for value in [Decimal::MAX, Decimal::MIN, Decimal::new(1, 28), Decimal::ZERO, Decimal::new(10_000, 0)] {
            assert_eq!(decode(&encode(value)), Some(value));
        }
        assert_eq!(decode(&[0, 0, 0, 0, 0xc0, 0, 0, 0]), None, "NaN");
    }
}
