//! Which id a series has in the database.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::model::Series;

/// The ids of the series seen so far; as many as there are series in the store. An id is never taken back.
#[derive(Default)]
pub(super) struct SeriesIds(RwLock<HashMap<Series, i64>>);

impl SeriesIds {
    pub fn get(&self, series: &Series) -> Option<i64> {
        self.0.read().get(series).copied()
    }

    /// Forgets all: they are asked for again.
    pub fn forget(&self) {
        self.0.write().clear();
    }

    pub fn remember<'a>(&self, known: impl IntoIterator<Item = (&'a Series, i64)>) {
        let mut new = known.into_iter().filter(|(series, _)| self.get(series).is_none()).peekable();
        if new.peek().is_some() {
            let new: Vec<_> = new.map(|(series, id)| (series.clone(), id)).collect();
            self.0.write().extend(new);
        }
    }
}
