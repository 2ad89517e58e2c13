//! Reads the rows of all databases.

use std::str::FromStr;

use rust_decimal::Decimal;
use sqlx::{ColumnIndex, Decode, Row};

use crate::model::Timestamp;

/// A decimal number in the form in which a database stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredDecimal(pub Decimal);

/// Reads the columns of a row by index. Does not check their types, because statements and migrations fix them.
///
/// # Errors
/// All errors say which value is invalid, and why.
pub trait Columns {
    fn optional_integer(&self, column: usize) -> Result<Option<i64>, String>;
    fn optional_decimal(&self, column: usize) -> Result<Option<Decimal>, String>;
    fn optional_text(&self, column: usize) -> Result<Option<&str>, String>;
    fn bytes(&self, column: usize) -> Result<&[u8], String>;

    fn integer(&self, column: usize) -> Result<i64, String> {
        required(self.optional_integer(column)?, column)
    }

    fn decimal(&self, column: usize) -> Result<Decimal, String> {
        required(self.optional_decimal(column)?, column)
    }

    fn text(&self, column: usize) -> Result<&str, String> {
        required(self.optional_text(column)?, column)
    }

    fn timestamp(&self, column: usize) -> Result<Timestamp, String> {
        self.integer(column).map(Timestamp::from_millis)
    }

    fn optional_timestamp(&self, column: usize) -> Result<Option<Timestamp>, String> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_millis))
    }

    /// Parses a text.
    fn parsed<T: FromStr>(&self, column: usize) -> Result<T, String> {
        let text = self.text(column)?;
        text.parse().map_err(|_| format!("the value `{text}` is invalid"))
    }
}

impl<R: Row> Columns for R
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database>,
    for<'r> StoredDecimal: Decode<'r, R::Database>,
    for<'r> &'r str: Decode<'r, R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database>,
{
    fn optional_integer(&self, column: usize) -> Result<Option<i64>, String> {
        get(self, column)
    }

    fn optional_decimal(&self, column: usize) -> Result<Option<Decimal>, String> {
        get::<Option<StoredDecimal>, R>(self, column).map(|value| value.map(|decimal| decimal.0))
    }

    fn optional_text(&self, column: usize) -> Result<Option<&str>, String> {
        get(self, column)
    }

    fn bytes(&self, column: usize) -> Result<&[u8], String> {
        get(self, column)
    }
}

fn get<'r, T, R: Row>(row: &'r R, column: usize) -> Result<T, String>
where
    usize: ColumnIndex<R>,
    T: Decode<'r, R::Database>,
{
    row.try_get_unchecked(column).map_err(|error| error.to_string())
}

fn required<T>(value: Option<T>, column: usize) -> Result<T, String> {
    value.ok_or_else(|| format!("column {column} has no value"))
}
