//! Decimals are text without trailing zeros, so that equal numbers are equal texts.

use rust_decimal::Decimal;
use sqlx::Decode;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteValueRef};

use crate::model::{parse_decimal, wire};
use crate::store::sql::StoredDecimal;

impl<'r> Decode<'r, Sqlite> for StoredDecimal {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<'r, Sqlite>>::decode(value)?;
        parse_decimal(text).map(Self).map_err(|error| format!("`{text}` is {error}").into())
    }
}

/// The stored form of a decimal.
pub(super) fn decimal_text(value: Decimal) -> String {
    let mut out = Vec::with_capacity(16);
    wire::decimal(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}
