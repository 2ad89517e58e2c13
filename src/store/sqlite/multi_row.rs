//! Inserts many rows with few statements.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

/// A multi-row `INSERT` in a few sizes: each size is prepared once, and any number of rows needs few round trips.
pub(super) struct MultiRow(Vec<(usize, Arc<str>)>);

impl MultiRow {
    /// `head VALUES row, row, … tail`
    pub fn new(head: &str, row: &str, tail: &str) -> Self {
        let statement = |size: usize| format!("{head} VALUES {} {tail}", vec![row; size].join(","));
        Self([64, 16, 4, 1].into_iter().map(|size| (size, statement(size).into())).collect())
    }

    /// Splits `rows` into chunks of the available sizes, each with its statement.
    pub fn chunks<'a, T>(&'a self, mut rows: &'a [T]) -> impl Iterator<Item = (AssertSqlSafe<Arc<str>>, &'a [T])> {
        std::iter::from_fn(move || {
            let (size, statement) = self.0.iter().find(|(size, _)| *size <= rows.len())?;
            let (chunk, rest) = rows.split_at(*size);
            rows = rest;
            Some((AssertSqlSafe(Arc::clone(statement)), chunk))
        })
    }
}
