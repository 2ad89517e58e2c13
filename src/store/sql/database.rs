//! Statements that all databases understand.

use futures_util::stream::BoxStream;
use sqlx::query::Query;
use sqlx::{Database, Encode, Type};

use super::columns::Columns;
use crate::model::Timestamp;

/// A value for a placeholder (`$1`, `$2`, …) of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(value: Timestamp) -> Self {
        value.millis().into()
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Integer(value.map(Timestamp::millis))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

/// Runs statements on a connection.
pub trait SqlDatabase: Database<Row: Columns> {
    /// The rows of a statement, one after another.
    fn fetch<'c>(
        connection: &'c mut Self::Connection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> BoxStream<'c, Result<Self::Row, sqlx::Error>>;

    /// Runs a statement. Returns the number of affected rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// A statement with values.
pub fn bind<'q, D: Database>(statement: &'static str, values: &[Value<'_>]) -> Query<'q, D, D::Arguments>
where
    for<'t> Option<i64>: Encode<'t, D> + Type<D>,
    for<'t> Option<&'t str>: Encode<'t, D> + Type<D>,
    for<'t> &'t [u8]: Encode<'t, D> + Type<D>,
{
    values.iter().fold(sqlx::query(statement), |query, value| match *value {
        Value::Integer(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    })
}
