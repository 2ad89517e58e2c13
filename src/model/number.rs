//! Exact decimal numbers as exchanges write them: `"0.35210000"`, `1163.8` or `1e-7`.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{self, Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The text is not a decimal number of at most 28 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 28 digits")]
pub struct BadNumber;

/// Exclusive bound of the magnitude of market data numbers, `10^20`. Real prices, amounts and volumes are far below it,
/// and the sum of 100 million such numbers still fits a [`Decimal`].
pub const NUMBER_BOUND: Decimal = Decimal::from_parts(0x6310_0000, 0x6BC7_5E2D, 0x5, false, 0);

/// Parses a decimal number exactly and removes trailing zeros: `"0.3520"` becomes `0.352`, with scale 3.
///
/// # Errors
/// [`BadNumber`] if the text is not a number, or has more digits than a [`Decimal`] holds.
pub fn parse_decimal(text: &str) -> Result<Decimal, BadNumber> {
    parse_short(text).unwrap_or_else(|| parse_long(text))
}

/// Parses a number of at most 18 digits without an exponent; `None` for any other text.
fn parse_short(text: &str) -> Option<Result<Decimal, BadNumber>> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes.first() {
        Some(b'-') => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    // 18 digits fit an i64 without an overflow check; `parse_long` handles longer numbers and exponents.
    if digits.len() > 18 || digits.is_empty() {
        return None;
    }
    let (mut mantissa, mut scale, mut point, mut zeros) = (0i64, 0u32, false, 0u32);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + i64::from(byte - b'0');
                if point {
                    scale += 1;
                    zeros = if byte == b'0' { zeros + 1 } else { 0 };
                }
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    if point && digits.len() == 1 {
        return Some(Err(BadNumber));
    }
    let mantissa = mantissa / POWERS[zeros as usize];
    Some(Ok(Decimal::new(if negative { -mantissa } else { mantissa }, scale - zeros)))
}

const POWERS: [i64; 18] = {
    let mut powers = [1; 18];
    let mut i = 1;
    while i < 18 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

#[cold]
fn parse_long(text: &str) -> Result<Decimal, BadNumber> {
    if text.len() > 64 || text.starts_with('+') || text.contains('_') {
        return Err(BadNumber);
    }
    let text = match text.split_once('.') {
        Some(_) if !text.contains(['e', 'E']) => text.trim_end_matches('0').trim_end_matches('.'),
        _ => text,
    };
    let number = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).map_err(|_| BadNumber)?;
    Ok(number.normalize())
}

/// A market data number. In JSON it is bare (`1163.8`) or quoted (`"1163.80"`); it is parsed from the literal without a
/// conversion through floating point. Its magnitude is below [`NUMBER_BOUND`], so sums and products by 100 cannot
/// overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub Decimal);

impl Number {
    /// Parses a market data number.
    ///
    /// # Errors
    /// [`BadNumber`] as for [`parse_decimal`], and if the magnitude is not below [`NUMBER_BOUND`].
    pub fn parse(text: &str) -> Result<Self, BadNumber> {
        // 18 digits are always below the bound.
        let number = parse_short(text).unwrap_or_else(|| {
            parse_long(text).and_then(|long| (long.abs() < NUMBER_BOUND).then_some(long).ok_or(BadNumber))
        });
        number.map(Self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Self::parse(text).map_err(|_| {
            let shown: String = raw.chars().take(40).collect();
            de::Error::custom(format_args!("`{shown}` is not a valid market data number"))
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::str::FromStr;

    #[test]
    fn keeps_digits_and_removes_trailing_zeros() {
        for (text, expected) in [
            ("0.35210000", "0.3521"),
            ("67012", "67012"),
            ("100", "100"),
            ("0.0", "0"),
            ("-1.50", "-1.5"),
            ("1e-7", "0.0000001"),
            ("1219000000.50000000000000", "1219000000.5"),
            ("123456789012345678901234567.8", "123456789012345678901234567.8"),
        ] {
            let number = parse_decimal(text).unwrap();
            assert_eq!(number.to_string(), expected, "{text}");
            assert_eq!(number.scale(), number.normalize().scale(), "{text}");
        }
    }

    #[test]
    fn rejects_text_that_is_not_a_number() {
        for text in
            ["", "-", ".", "abc", "1.2.3", "NaN", "null", "+1", "1_000", "1e400", "1234567890123456789012345678901"]
        {
            assert_eq!(parse_decimal(text), Err(BadNumber), "{text}");
        }
    }

    #[test]
    fn rejects_numbers_beyond_bound() {
        assert_eq!(NUMBER_BOUND.to_string(), "100000000000000000000");
        for text in ["99999999999999999999", "-99999999999999999999.5", "1e19", "0.0000000000000000000000000001"] {
            assert!(Number::parse(text).is_ok(), "{text}");
        }
        for text in ["100000000000000000000", "-1e20", "7.9e27", "79000000000000000000000000000", "1e400"] {
            assert_eq!(Number::parse(text), Err(BadNumber), "{text}");
        }
        let sum: Option<Decimal> = std::iter::repeat_n(Number::parse("99999999999999999999").unwrap().0, 1_000_000)
            .try_fold(Decimal::ZERO, Decimal::checked_add);
        assert!(sum.is_some());
    }

    #[test]
    fn deserializes_bare_and_quoted_numbers() {
        let numbers: Vec<Number> = serde_json::from_str(r#"["1.10",1.10,1E2]"#).unwrap();
        assert_eq!(numbers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.1", "1.1", "100"]);
        assert!(serde_json::from_str::<Number>("null").is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_rust_decimal(text in "-?[0-9]{1,15}(\\.[0-9]{1,12})?") {
            prop_assert_eq!(parse_decimal(&text).unwrap(), Decimal::from_str(&text).unwrap().normalize());
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse_decimal(&text);
        }
    }
}
