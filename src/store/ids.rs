//! Database ids of series.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::model::Series;

/// Cache of series ids, bounded by the number of series in the store. The database does not change or reuse an id.
#[derive(Default)]
pub struct SeriesIds(RwLock<HashMap<Series, i64>>);

impl SeriesIds {
    pub fn get(&self, series: &Series) -> Option<i64> {
        self.0.read().get(series).copied()
    }

    /// Empties the cache; ids are read from the database again.
    pub fn clear(&self) {
        self.0.write().clear();
    }

    pub fn extend<'a>(&self, known: impl IntoIterator<Item = (&'a Series, i64)>) {
        let mut new = known.into_iter().filter(|(series, _)| self.get(series).is_none()).peekable();
        if new.peek().is_some() {
            let new: Vec<_> = new.map(|(series, id)| (series.clone(), id)).collect();
            self.0.write().extend(new);
        }
    }
}
